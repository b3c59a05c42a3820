//go:build host

package host

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// These tests run Debian's qBittorrent 4.5.2 (WebAPI 2.8.19); the image has 5.2.4 (WebAPI 2.15.1).
// What differs, where it matters here:
//
//   - A login is answered 200 "Ok." or 200 "Fails." by 4.5, 204 or 401 by 5.2, whose cookie is
//     QBT_SID_PORT instead of SID. The tests accept both.
//   - A torrent is added with "paused" for 4.5, "stopped" since 5.0, and its states are called
//     likewise. The tests send both, as both ignore what they do not know.
//   - Without a password 4.5 takes adminadmin; 4.6.1 and later make one up at each start.
//   - API keys are there since 5.2 only.
//
// The keys of the configuration are the same in both.

// torrentMachine returns the namespace of a torrent client, with an address and a default route on
// eth0 as its container has, and the machine at the other end.
func torrentMachine(t *testing.T) (client, machine *netns.Namespace) {
	t.Helper()
	for name, space := range map[string]**netns.Namespace{"client": &client, "machine": &machine} {
		made, err := netns.New(name)
		require.NoError(t, err)
		t.Cleanup(func() { _ = made.Close() })
		*space = made
	}
	require.NoError(t, netns.Connect(machine, "outer", client, "eth0"))
	for _, command := range []string{"address add 172.30.98.1/24 dev outer", "link set outer up"} {
		require.NoError(t, machine.IP(command))
	}
	for _, command := range []string{"address add 172.30.98.5/24 dev eth0", "link set eth0 up", "route add default via 172.30.98.1"} {
		require.NoError(t, client.IP(command))
	}
	return client, machine
}

// The login is what was rendered, and no other; nobody is let in by another name of the host; and
// the file is what the program goes by.
func TestQBittorrentTakesItsConfiguration(t *testing.T) {
	client, machine := torrentMachine(t)
	q := startQBittorrent(t, client)
	const at = "http://172.30.98.5:" + torrentPort
	outside := from(machine)
	login := func(user, password string) (status int, answer string) {
		return sent(t, outside, at, "", "auth/login", url.Values{"username": {user}, "password": {password}})
	}
	for _, wrong := range [][2]string{{torrentUser, "adminadmin"}, {torrentUser, torrentPassword + "x"}, {"other", torrentPassword}} {
		status, answer := login(wrong[0], wrong[1])
		assert.True(t, status == http.StatusUnauthorized || answer == "Fails.", "%v: %d %s", wrong, status, answer)
	}
	status, _ := sent(t, outside, at, "", "torrents/info", nil)
	assert.Equal(t, http.StatusForbidden, status, "who is not logged in is let in")
	status, answer := login(torrentUser, torrentPassword)
	assert.True(t, status == http.StatusNoContent || answer == "Ok.", "%d %s", status, answer)

	// A name that only contains one of them passes as well, in all versions: the proxy, which knows
	// no such name, is in its way.
	for host, want := range map[string]bool{
		torrentHostname: true, "gluetun:" + torrentPort: true, "localhost": false, "evil.example": false, "172.30.98.6:" + torrentPort: false,
	} {
		status, answer := sent(t, outside, at, host, "auth/login", url.Values{"username": {torrentUser}, "password": {torrentPassword}})
		assert.Equal(t, want, status == http.StatusNoContent || answer == "Ok.", "%s: %d %s", host, status, answer)
	}

	var preferences map[string]any
	q.get("app/preferences", &preferences)
	for name, want := range map[string]any{
		"save_path": q.dir + "/complete", "temp_path": q.dir + "/incomplete", "temp_path_enabled": true, "auto_tmm_enabled": true, "queueing_enabled": true,
		"current_network_interface": "tun0", "upnp": false, "web_ui_upnp": false, "web_ui_csrf_protection_enabled": true, "web_ui_clickjacking_protection_enabled": true,
		"web_ui_host_header_validation_enabled": true, "bypass_auth_subnet_whitelist_enabled": false, "bypass_local_auth": true,
	} {
		assert.Equal(t, want, preferences[name], name)
	}
}

// Radarr makes its category and adds a torrent, which goes to the category's folder.
func TestQBittorrentTakesWhatRadarrSends(t *testing.T) {
	client, _ := torrentMachine(t)
	q := startQBittorrent(t, client)
	status, answer := q.post("torrents/createCategory", url.Values{"category": {"radarr"}})
	require.Equal(t, http.StatusOK, status, answer)
	status, _ = q.post("torrents/createCategory", url.Values{"category": {"radarr"}})
	assert.Equal(t, http.StatusConflict, status, "a category is made twice")
	hash := strings.Repeat("ab", 20)
	status, answer = q.post("torrents/add", url.Values{
		"urls": {"magnet:?xt=urn:btih:" + hash + "&dn=sample"}, "category": {"radarr"}, "paused": {"true"}, "stopped": {"true"},
	})
	require.Equal(t, http.StatusOK, status, answer)
	got := q.until(hash, "there", func(s torrentState) bool { return s.Hash == hash })
	assert.Equal(t, "radarr", got.Category)
	assert.Equal(t, filepath.Join(q.dir, "complete", "radarr"), filepath.Clean(got.SavePath))
	assert.True(t, got.Auto)
	assert.Contains(t, []string{"pausedDL", "stoppedDL"}, got.State)
}

// Without the tunnel's interface the torrent client sends nothing, though another has a route to
// everywhere and the torrent has trackers and peers; with it, all goes there. It does ask for names
// by whatever route there is, also without a torrent: Gluetun names a resolver on the loopback, and
// so does this test.
func TestQBittorrentIsMuteWithoutTheTunnel(t *testing.T) {
	client, machine := torrentMachine(t)
	past := captureAt(t, machine, "outer", client)
	q := startQBittorrent(t, client)
	const peer = "45.83.220.9:6881"
	hash := strings.Repeat("cd", 20)
	magnet := fmt.Sprintf("magnet:?xt=urn:btih:%s&tr=%s&tr=%s&x.pe=%s", hash,
		url.QueryEscape("http://9.9.9.9:80/announce"), url.QueryEscape("udp://1.1.1.1:6969/announce"), peer)
	status, answer := q.post("torrents/add", url.Values{"urls": {magnet}, "category": {"radarr"}})
	require.Equal(t, http.StatusOK, status, answer)
	active := func(s torrentState) bool { return s.State == "metaDL" }
	q.until(hash, "active", active)
	time.Sleep(5 * time.Second)
	assert.True(t, active(q.torrent(hash)))
	assert.Empty(t, past.upToNow(), "without tun0")

	require.NoError(t, netns.Connect(machine, "vpn", client, "tun0"))
	for _, command := range []string{"address add 10.8.0.1/24 dev vpn", "link set vpn up"} {
		require.NoError(t, machine.IP(command))
	}
	for _, command := range []string{"address add 10.8.0.2/24 dev tun0", "link set tun0 up", "route add default via 10.8.0.1 table 51820", "rule add table 51820 priority 101"} {
		require.NoError(t, client.IP(command))
	}
	through := captureAt(t, machine, "vpn", client)
	q.forwarded(0, "lo")
	q.forwarded(6881, "tun0")
	for _, command := range []string{"torrents/reannounce", "torrents/addPeers"} {
		q.post(command, url.Values{"hashes": {hash}, "peers": {peer}})
	}
	for _, what := range []string{"tcp 9.9.9.9:80", "udp 1.1.1.1:6969", "udp " + peer} {
		if !waitFor(60*time.Second, func() bool { return through.has(what) }) {
			require.Fail(t, "nothing goes by tun0", "%s is not in %v", what, through.seen())
		}
	}
	left := past.seen()
	assert.Empty(t, slices.Sorted(maps.Keys(left)), "with tun0")
	q.forwarded(0, "lo")
	time.Sleep(time.Second)
	require.NoError(t, client.IP("link set tun0 down"))
	require.NoError(t, client.IP("rule delete table 51820 priority 101"))
	q.post("torrents/reannounce", url.Values{"hashes": {hash}})
	time.Sleep(5 * time.Second)
	assert.Empty(t, past.upToNow(), "tun0 has gone")
}

// One of two seeds a file, and the other downloads it by its magnet link over the tunnel's
// interface, into the folder of its category.
func TestQBittorrentDownloads(t *testing.T) {
	downloader, machine := torrentMachine(t)
	seeder, err := netns.New("seeder")
	require.NoError(t, err)
	t.Cleanup(func() { _ = seeder.Close() })
	require.NoError(t, netns.Connect(seeder, "tun0", downloader, "tun0"))
	for space, address := range map[*netns.Namespace]string{seeder: "10.8.0.1", downloader: "10.8.0.2"} {
		require.NoError(t, space.IP("address add "+address+"/24 dev tun0"))
		require.NoError(t, space.IP("link set tun0 up"))
	}
	past := captureAt(t, machine, "outer", downloader)
	content := make([]byte, 3<<20+12345)
	_, err = rand.Read(content)
	require.NoError(t, err)
	torrent, hash := makeTorrent("film.mkv", content)

	s := startQBittorrent(t, seeder)
	s.forwarded(6881, "tun0")
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "film.mkv"), content, 0o600))
	s.seed(torrent, folder)
	s.until(hash, "seeding", func(s torrentState) bool { return s.Progress == 1 && strings.HasSuffix(s.State, "UP") })

	q := startQBittorrent(t, downloader)
	status, answer := q.post("torrents/createCategory", url.Values{"category": {"radarr"}})
	require.Equal(t, http.StatusOK, status, answer)
	status, answer = q.post("torrents/add", url.Values{
		"urls": {"magnet:?xt=urn:btih:" + hash + "&x.pe=10.8.0.1:6881"}, "category": {"radarr"}, "paused": {"false"}, "stopped": {"false"},
	})
	require.Equal(t, http.StatusOK, status, answer)
	q.until(hash, "complete", func(s torrentState) bool { return s.Progress == 1 && strings.HasSuffix(s.State, "UP") })
	var got []byte
	target := filepath.Join(q.dir, "complete", "radarr", "film.mkv")
	assert.True(t, waitFor(20*time.Second, func() bool {
		got, err = os.ReadFile(target)
		return err == nil && bytes.Equal(got, content)
	}), "the file is not in the category's folder: %v", err)
	left, err := filepath.Glob(filepath.Join(q.dir, "incomplete", "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.Empty(t, past.upToNow(), "past the tunnel")
}
