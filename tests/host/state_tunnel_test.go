//go:build host

package host

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tunnelled adds a tunnel and a client behind it, each in a network of its own.
func (e *engine) tunnelled() {
	e.t.Helper()
	for name, mounts := range map[string][]string{"gluetun": nil, "qbittorrent": {"tunnel-gluetun"}} {
		require.NoError(e.t, os.MkdirAll(e.dir+"/containers/"+name, 0o755))
		binds := ""
		for _, gate := range append(mounts, "4-services") {
			binds += e.dir + "/run/gates/" + gate + "\n"
		}
		e.put("containers/"+name+"/mounts", binds, 0o644)
		e.becomes(name, "exited", "Exited (137) 1 minute ago")
	}
	e.put("containers/gluetun/tunnel", "", 0o644)
	e.put("containers/qbittorrent/joins", "gluetun\n", 0o644)
	e.in("gluetun", "101")
	e.in("qbittorrent", "101")
}

// in puts a container's first process, by its number, into a network of its own.
func (e *engine) in(name, pid string) {
	e.t.Helper()
	e.put("containers/"+name+"/pid", pid+"\n", 0o644)
	require.NoError(e.t, os.MkdirAll(e.dir+"/proc/"+pid+"/ns", 0o755))
	e.put("proc/"+pid+"/ns/net", "", 0o644)
}

// What is behind a tunnel starts once the tunnel is healthy, is shut out while it is not, and is
// started again when the tunnel did and left it in a network that leads nowhere.
func TestWhatIsBehindATunnelFollowsIt(t *testing.T) {
	e := newEngine(t)
	e.library()
	e.tunnelled()
	e.healthy(e.names...)
	e.runs("HOMELAB_PROC=" + e.dir + "/proc")
	e.shows("6 of 8 containers healthy: gluetun starting, qbittorrent waits for tunnel-gluetun")
	assert.Equal(t, []string{"gluetun"}, e.settles())
	e.healthy("gluetun")
	assert.Equal(t, []string{"qbittorrent"}, e.settles())
	e.healthy("qbittorrent")
	e.shows("8 of 8 containers healthy")
	e.settles()
	assert.Empty(t, e.read("restarts"), "both are in one network")

	e.becomes("gluetun", "running", "Up 2 seconds (health: starting)")
	e.in("gluetun", "202")
	e.settles()
	assert.NoDirExists(t, e.dir+"/run/gates/tunnel-gluetun")
	assert.Empty(t, e.read("restarts"), "the tunnel is not up yet")
	e.healthy("gluetun")
	require.Eventually(t, func() bool { return e.read("restarts") != "" }, 20*time.Second, 20*time.Millisecond)
	e.healthy("qbittorrent")
	e.shows("8 of 8 containers healthy")
	e.settles()
	assert.DirExists(t, e.dir+"/run/gates/tunnel-gluetun")
	assert.Contains(t, e.read("journal"), "qbittorrent is in a network that gluetun has left: starting it again")
	assert.Equal(t, "qbittorrent\n", e.read("restarts"), "it follows once")

	// A tunnel that is gone leaves no gate behind.
	require.NoError(t, os.RemoveAll(e.dir+"/containers/gluetun"))
	e.shows("7 of 7 containers healthy")
	assert.NoDirExists(t, e.dir+"/run/gates/tunnel-gluetun")
}
