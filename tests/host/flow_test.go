//go:build host

package host

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFromARequestToTheLibrary follows a film from the request to the library, and then an episode
// while the library is away, through what the deployment has made: its plan, the program that
// connects the apps, its networks and packet filter, qBittorrent with its file, behind the tunnel,
// and the mount of the box. The APIs of the other six apps are stand-ins, which know of each other
// only what that program has stored in them.
func TestFromARequestToTheLibrary(t *testing.T) {
	needsFUSE(t)
	f := newFlow(t)
	film, episode := newRelease(t, "The.Matrix.1999.1080p"), newRelease(t, "Cosmos.S01E01.1080p")
	f.tunnelUp()
	f.seeds(film, episode)
	f.startApps(map[string][]byte{film.title: film.torrent, episode.title: episode.torrent})
	f.startClient()
	if !t.Run("the wiring connects the apps", f.isWired) {
		return
	}
	person := f.login(t)
	if !t.Run("a film, step by step", func(t *testing.T) { f.filmArrives(t, person, film) }) {
		return
	}
	t.Run("a second pass of the wiring writes nothing", f.nothingToWire)
	t.Run("an episode waits for the library", func(t *testing.T) { f.episodeWaits(t, person, episode) })
	t.Run("what has been seeded is removed, and stays in the library", func(t *testing.T) { f.removed(t, film) })
	assert.Equal(t, []string{wayTo(vpnServer)}, slices.Sorted(maps.Keys(f.outer.upToNow())), "something left the machine beside the tunnel")
}

// isWired has the deployment's program connect the apps. The port that the provider forwards is one
// of the settings that it makes.
func (f *flow) isWired(t *testing.T) {
	apps := f.wire()
	for name, app := range apps {
		assert.Empty(t, app.Problems, name)
		assert.Empty(t, app.Warnings, name)
		assert.NotEmpty(t, app.Changes, name)
	}
	assert.Contains(t, apps["qbittorrent"].Changes, "category radarr added")
	assert.Contains(t, apps["prowlarr"].Changes, "indexer rarbg (Jackett) added")
	var preferences map[string]any
	f.client.get("app/preferences", &preferences)
	for name, want := range map[string]any{"listen_port": float64(forwardedPort), "current_network_interface": "tun0", "save_path": "/downloads/complete"} {
		assert.Equal(t, want, preferences[name], name)
	}
}

// login logs a person in to Jellyseerr.
func (f *flow) login(t *testing.T) *http.Client {
	t.Helper()
	person := from(f.containers["caddy"].Namespace)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	person.Jar = jar
	require.Equal(t, http.StatusOK, f.ask(person, http.MethodPost, "jellyseerr", "/api/v1/auth/jellyfin", nil,
		map[string]any{"username": f.plan["jellyfin"]["user"], "password": f.plan["jellyfin"]["password"]}, nil))
	return person
}

// watches returns the paths of what a person finds in Jellyfin.
func (f *flow) watches(t *testing.T) []string {
	t.Helper()
	const device = `MediaBrowser Client="Test", Device="Test", DeviceId="test", Version="1"`
	var session struct{ AccessToken string }
	f.ask(from(f.containers["caddy"].Namespace), http.MethodPost, "jellyfin", "/Users/AuthenticateByName", map[string]string{"Authorization": device},
		map[string]any{"Username": f.plan["jellyfin"]["user"], "Pw": f.plan["jellyfin"]["password"]}, &session)
	var found struct{ Items []struct{ Path string } }
	f.ask(from(f.containers["caddy"].Namespace), http.MethodGet, "jellyfin", "/Items?recursive=true",
		map[string]string{"Authorization": device + `, Token="` + session.AccessToken + `"`}, nil, &found)
	var paths []string
	for _, item := range found.Items {
		paths = append(paths, item.Path)
	}
	slices.Sort(paths)
	return paths
}

const (
	filmInLibrary    = "movies/The.Matrix (1999) [tmdbid-603]/The.Matrix (1999).mkv"
	episodeInLibrary = "tv/Cosmos [tvdbid-58811]/Season 01/Cosmos - S01E01.mkv"
)

func (f *flow) filmArrives(t *testing.T, person *http.Client, film *release) {
	at := len(f.lines(0))
	require.Empty(t, f.watches(t))
	require.Equal(t, http.StatusCreated, f.ask(person, http.MethodPost, "jellyseerr", "/api/v1/request", nil,
		map[string]any{"mediaType": "movie", "mediaId": 603, "title": "The.Matrix"}, nil))

	// Jellyseerr asks Radarr, which searches at Prowlarr, which searches at Jackett; the torrent
	// comes back the same way, and Radarr gives it to qBittorrent.
	for _, step := range []string{
		"jellyseerr POST /api/v1/request",
		"radarr POST /api/v3/movie",
		"prowlarr GET /1/api?t=search",
		"jackett GET /api/v2.0/indexers/rarbg/results/torznab/api?t=search",
		"prowlarr GET /1/download",
		"jackett GET /dl/rarbg/",
	} {
		at = f.logs(at, step)
	}
	got := f.client.until(film.hash, "there", func(s torrentState) bool { return s.Hash == film.hash })
	assert.Equal(t, "radarr", got.Category)
	assert.Equal(t, "/downloads/complete/radarr", filepath.Clean(got.SavePath))

	// qBittorrent finds the seeder, and is found by it, through the tunnel alone.
	got = f.client.until(film.hash, "complete", func(s torrentState) bool { return s.Progress == 1 && strings.HasSuffix(s.State, "UP") })
	assert.Equal(t, []netip.AddrPort{netip.MustParseAddrPort(seederAt + ":6881"), netip.AddrPortFrom(netip.MustParseAddr(vpnServer), forwardedPort)},
		f.announces(film.hash), "who announces the film, as the tracker sees it")
	assert.NoError(t, f.connectsIn(film), "nobody can connect by the forwarded port")

	// Radarr copies it to the box and tells Jellyfin.
	at = f.logs(at, "radarr imported into /media/storagebox/"+filepath.Dir(filmInLibrary))
	f.logs(at, "jellyfin POST /Library/Media/Updated")
	assert.Equal(t, []string{"/media/storagebox/" + filmInLibrary}, f.watches(t))
	f.library.arrives(filmInLibrary, int64(len(film.content)))
	f.holds(t, f.library.data+"/"+filmInLibrary, film)
	f.holds(t, f.folder+"/downloads/complete/radarr/"+film.file(), film)
	assert.True(t, strings.HasSuffix(f.client.torrent(film.hash).State, "UP"), "it goes on seeding")
}

func (f *flow) holds(t *testing.T, path string, r *release) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, slices.Equal(r.content, content), "%s is not what was seeded", path)
}

func (f *flow) nothingToWire(t *testing.T) {
	at := len(f.lines(0))
	var before, after map[string]any
	f.client.get("app/preferences", &before)
	for name, app := range f.wire() {
		assert.Empty(t, append(append(app.Changes, app.Drift...), append(app.Warnings, app.Problems...)...), name)
	}
	for _, line := range f.lines(at) {
		assert.NotContains(t, line, " wrote by ")
	}
	f.client.get("app/preferences", &after)
	assert.Equal(t, before, after)
}

// episodeWaits lets an episode be complete while the box's mount is away: it is not imported,
// nothing is written in the library's place, and nothing is lost. Once the library is back, it is.
func (f *flow) episodeWaits(t *testing.T, person *http.Client, episode *release) {
	f.libraryGoes()
	require.NoDirExists(t, f.library.gate())
	at := len(f.lines(0))
	require.Equal(t, http.StatusCreated, f.ask(person, http.MethodPost, "jellyseerr", "/api/v1/request", nil,
		map[string]any{"mediaType": "tv", "mediaId": 58811, "title": "Cosmos"}, nil))
	f.logs(at, "sonarr POST /api/v3/series")
	got := f.client.until(episode.hash, "complete", func(s torrentState) bool { return s.Progress == 1 && strings.HasSuffix(s.State, "UP") })
	assert.Equal(t, "sonarr", got.Category)
	for range 2 { // it is tried again
		at = f.logs(at, "sonarr did not import: Root folder '/media/storagebox/tv' was not found.")
	}
	left, err := os.ReadDir(f.library.point)
	require.NoError(t, err)
	assert.Empty(t, left, "the system's disk was taken for the library")
	f.holds(t, f.folder+"/downloads/complete/sonarr/"+episode.file(), episode)
	assert.FileExists(t, f.library.data+"/"+filmInLibrary)
	assert.NoFileExists(t, f.library.data+"/"+episodeInLibrary)
	assert.Equal(t, []string{"/media/storagebox/" + filmInLibrary}, f.watches(t), "the library was emptied")

	f.libraryComes()
	at = f.logs(at, "sonarr imported into /media/storagebox/tv/Cosmos [tvdbid-58811]")
	f.logs(at, "jellyfin POST /Library/Media/Updated")
	f.library.arrives(episodeInLibrary, int64(len(episode.content)))
	f.holds(t, f.library.data+"/"+episodeInLibrary, episode)
	assert.Equal(t, []string{"/media/storagebox/" + filmInLibrary, "/media/storagebox/" + episodeInLibrary}, f.watches(t))
}

// removed ends the seeding of the film, which Radarr then removes from qBittorrent and its disk.
func (f *flow) removed(t *testing.T, film *release) {
	at := len(f.lines(0))
	status, answer := f.client.post("torrents/setShareLimits", map[string][]string{
		"hashes": {film.hash}, "ratioLimit": {"0"}, "seedingTimeLimit": {"-2"}, "inactiveSeedingTimeLimit": {"-2"},
	})
	require.Equal(t, http.StatusOK, status, answer)
	f.logs(at, fmt.Sprintf("radarr removed %s from the download client", film.file()))
	require.Eventually(t, func() bool {
		_, err := os.Stat(f.folder + "/downloads/complete/radarr/" + film.file())
		return os.IsNotExist(err) && f.client.torrent(film.hash).Hash == ""
	}, 20*time.Second, 100*time.Millisecond, "it is still there")
	f.holds(t, f.library.data+"/"+filmInLibrary, film)
}
