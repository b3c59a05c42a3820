package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func address(last byte) netip.Addr { return netip.AddrFrom4([4]byte{172, 30, 1, last}) }

func TestContainersFilter(t *testing.T) {
	rendered, err := renderContainers()
	require.NoError(t, err)
	golden(t, "containers.nft", rendered)
}

// The file is the same whatever the order of the declarations.
func TestReach(t *testing.T) {
	edges := []Edge{{address(5), address(4), 9091}, {address(5), address(2), 8080}, {address(5), address(2), 7422}, {address(5), address(4), 9091}}
	rendered, err := renderReach(Reach{Container: "caddy", Edges: edges, Internet: []netip.Addr{address(5)}})
	require.NoError(t, err)
	golden(t, "reach.nft", rendered)
	again, err := renderReach(Reach{Container: "caddy", Edges: []Edge{edges[2], edges[1], edges[0]}, Internet: []netip.Addr{address(5)}})
	require.NoError(t, err)
	assert.Equal(t, rendered, again)

	none, err := renderReach(Reach{Container: "quiet"})
	require.NoError(t, err)
	assert.Equal(t, "# What quiet may reach.\n", none)
}

// A word more in these files would be a rule.
func TestReachThatIsRefused(t *testing.T) {
	public, six := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("fd00::1")
	for want, r := range map[string]Reach{
		"is not the name of a container":     {Container: "x.nft\nadd rule"},
		"is not between private IPv4":        {Container: "x", Edges: []Edge{{address(2), public, 80}}},
		"edge from fd00::1":                  {Container: "x", Edges: []Edge{{six, address(2), 80}}},
		"leads nowhere":                      {Container: "x", Edges: []Edge{{address(2), address(2), 80}}},
		"0 is not a port":                    {Container: "x", Edges: []Edge{{address(2), address(3), 0}}},
		"70000 is not a port":                {Container: "x", Edges: []Edge{{address(2), address(3), 70000}}},
		"9.9.9.9 is not a private":           {Container: "x", Internet: []netip.Addr{public}},
		"invalid IP is not a private":        {Container: "x", Internet: []netip.Addr{{}}},
		"edge from invalid IP to invalid IP": {Container: "x", Edges: []Edge{{Port: 1}}},
	} {
		_, err := renderReach(r)
		require.ErrorContains(t, err, want)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run: go test ./components/host -update")
	assert.Equal(t, string(want), got)
}
