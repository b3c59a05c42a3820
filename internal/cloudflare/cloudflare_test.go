package cloudflare

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

func TestAVisitorCannotSayWhoHeIs(t *testing.T) {
	h := http.Header{
		"cf-connecting-ip": {"127.0.0.1"}, "CF-Connecting-IP": {"127.0.0.2"}, "X-Forwarded-For": {"10.0.0.1", "10.0.0.2"}, "Cookie": {"a=b"},
		"Cf-Visitor": {"x"}, "Cf-Ray": {"x"}, "Cdn-Loop": {"x"}, "CF-Ray": {"x"},
	}
	Stamp(h, "203.0.113.201", "https", Ray)
	assert.Equal(t, http.Header{
		"CF-Connecting-IP": {"203.0.113.201"}, "X-Forwarded-For": {"10.0.0.1, 10.0.0.2, 203.0.113.201"}, "X-Forwarded-Proto": {"https"},
		"CF-Ray": {Ray}, "CF-Visitor": {`{"scheme":"https"}`}, "Cdn-Loop": {"cloudflare; loops=1"}, "Cookie": {"a=b"},
	}, h)
	h = http.Header{"X-Forwarded-Proto": {"http"}, "Cf-Connecting-Ip": {"127.0.0.1"}}
	Stamp(h, "", "https", Ray)
	assert.Equal(t, []string{"http"}, h["X-Forwarded-Proto"], "what a visitor writes there passes")
	assert.NotContains(t, h, "CF-Connecting-IP")
	assert.NotContains(t, h, "Cf-Connecting-Ip")
}

// The firewall lets Cloudflare's ranges in: the rehearsal's Cloudflare is in them.
func TestTheRehearsalsAddressesAreCloudflares(t *testing.T) {
	for _, a := range []netip.Addr{rehearsal.EdgeIPv4, rehearsal.EdgeIPv6, rehearsal.EdgeOriginIPv4, rehearsal.EdgeOriginIPv6} {
		in := 0
		for _, text := range append(IPv4(), IPv6()...) {
			p, err := netip.ParsePrefix(text)
			require.NoError(t, err)
			assert.Equal(t, p.Masked(), p)
			if p.Contains(a) {
				in++
			}
		}
		assert.Equal(t, 1, in, a)
	}
}
