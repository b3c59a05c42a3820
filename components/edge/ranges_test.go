package edge

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutWorkers(t *testing.T) {
	got, err := withoutWorkers([]string{"173.245.48.0/20", "2a06:98c0::/29", "2c0f:f248::/32"})
	require.NoError(t, err)
	assert.Equal(t, "173.245.48.0/20", got[0])
	assert.Equal(t, "2c0f:f248::/32", got[len(got)-1])
	parts := got[1 : len(got)-1]
	assert.Len(t, parts, 48-29, "one for each bit between the two lengths")
	contains := func(address string) (n int) {
		for _, part := range parts {
			if netip.MustParsePrefix(part).Contains(netip.MustParseAddr(address)) {
				n++
			}
		}
		return n
	}
	for _, address := range []string{"2a06:98c0::", "2a06:98c0:35ff:ffff::1", "2a06:98c0:3601::", "2a06:98c7:ffff::1", "2a06:98c4::1"} {
		assert.Equal(t, 1, contains(address), address)
	}
	for _, address := range []string{"2a06:98c0:3600::", "2a06:98c0:3600::103", "2a06:98c0:3600:ffff:ffff:ffff:ffff:ffff", "2a06:98c8::", "2a06:98bf::1"} {
		assert.Equal(t, 0, contains(address), address)
	}
	for _, part := range parts {
		p := netip.MustParsePrefix(part)
		assert.Equal(t, p, p.Masked())
	}
}

func TestWithoutWorkersAtTheEdges(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"2a06:98c0:3600::/48"}, nil},
		{[]string{"2a06:98c0:3600:1::/64"}, nil},
		{[]string{"2a06:98c0:3600::/47"}, []string{"2a06:98c0:3601::/48"}},
		{[]string{"2a06:98c0:3601::/48"}, []string{"2a06:98c0:3601::/48"}},
		{nil, nil},
	} {
		got, err := withoutWorkers(c.in)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	_, err := withoutWorkers([]string{"Cloudflare"})
	require.ErrorContains(t, err, `"Cloudflare"`)
}
