package wire

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
)

// post sends JSON as a person's browser or an app's own timer does, and returns the status.
func post(t *testing.T, address, key, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Api-Key", key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

const requestBody = `{"mediaType":"movie","mediaId":603,"title":"The.Matrix"}`

func (l *lab) request() int {
	l.t.Helper()
	return post(l.t, l.stack.Jellyseerr.URL()+"/api/v1/request", fake.JellyseerrKey, requestBody)
}

// TestDataFlow follows one request through all apps. They know of one another only what the pass
// stored in them.
func TestDataFlow(t *testing.T) {
	l := newLab(t)
	l.connect()
	stack := l.stack

	// A request in Jellyseerr goes to Radarr, which searches with the indexers that Prowlarr gave
	// it; Prowlarr asks Jackett; Radarr gives the result to qBittorrent with its category.
	require.Equal(t, http.StatusCreated, l.request())
	download := filepath.Join(stack.Dir, "downloads/complete/radarr/The.Matrix.1999.1080p.mkv")
	content, err := os.ReadFile(download)
	require.NoError(t, err, "qBittorrent downloads into the folder of Radarr's category")
	assert.Equal(t, "the content of The.Matrix.1999.1080p.mkv", string(content))

	// What is complete, Radarr copies to the box, under its own name.
	require.Equal(t, http.StatusCreated,
		post(t, stack.Radarr.URL()+"/api/v3/command", fake.RadarrKey, `{"name":"RefreshMonitoredDownloads"}`))
	imported, err := os.ReadFile(filepath.Join(stack.Dir,
		"box/movies/The.Matrix (1999) [tmdbid-603]/The.Matrix (1999).mkv"))
	require.NoError(t, err)
	assert.Equal(t, content, imported)
	assert.FileExists(t, download, "it is copied, and goes on seeding")

	// Radarr tells Jellyfin, which finds it in the library that the pass added.
	assert.Equal(t, []string{"Movies: The.Matrix (1999).mkv"}, stack.Jellyfin.Items())
	l.writesNothing()

	// What has been seeded for long enough, Radarr removes; the copy stays.
	require.NoError(t, stack.Radarr.Refresh())
	assert.FileExists(t, download)
	stack.QBittorrent.StopSeeding()
	require.NoError(t, stack.Radarr.Refresh())
	assert.NoFileExists(t, download)
	assert.FileExists(t, filepath.Join(stack.Dir, "box/movies/The.Matrix (1999) [tmdbid-603]/The.Matrix (1999).mkv"))
}

// TestDataFlowOfASeries goes by Sonarr.
func TestDataFlowOfASeries(t *testing.T) {
	l := newLab(t)
	l.connect()
	require.Equal(t, http.StatusCreated, post(t, l.stack.Jellyseerr.URL()+"/api/v1/request", fake.JellyseerrKey,
		`{"mediaType":"tv","mediaId":58811,"title":"Cosmos"}`))
	require.NoError(t, l.stack.Sonarr.Refresh())
	assert.FileExists(t, filepath.Join(l.stack.Dir, "downloads/complete/sonarr/Cosmos.S01E01.1080p.mkv"))
	assert.FileExists(t, filepath.Join(l.stack.Dir, "box/tv/Cosmos [tvdbid-58811]/Season 01/Cosmos - S01E01.mkv"))
	assert.Equal(t, []string{"Series: Cosmos - S01E01.mkv"}, l.stack.Jellyfin.Items())
}

// TestImportWaitsForTheLibrary has the library away when a download is complete.
func TestImportWaitsForTheLibrary(t *testing.T) {
	l := newLab(t)
	l.connect()
	box := filepath.Join(l.stack.Dir, "box")
	require.NoError(t, os.Rename(box, box+".away"))
	require.NoError(t, os.Mkdir(box, 0o755))
	require.Equal(t, http.StatusCreated, l.request())
	for range 2 {
		require.ErrorContains(t, l.stack.Radarr.Refresh(), "Root folder '"+box+"/movies' was not found")
	}
	left, err := os.ReadDir(box)
	require.NoError(t, err)
	assert.Empty(t, left, "nothing is written in the place of the library")
	assert.Empty(t, l.stack.Jellyfin.Items())
	require.NoError(t, os.Remove(box))
	require.NoError(t, os.Rename(box+".away", box))
	require.NoError(t, l.stack.Radarr.Refresh())
	assert.Equal(t, []string{"Movies: The.Matrix (1999).mkv"}, l.stack.Jellyfin.Items())
}

// TestJellyfinHearsOfImportsOnlyThroughTheNotification breaks one thing that the pass stored about it.
func TestJellyfinHearsOfImportsOnlyThroughTheNotification(t *testing.T) {
	for name, breakLink := range map[string]func(*fake.Stack){
		"key":     func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "apiKey", "wrong") },
		"revoked": func(s *fake.Stack) { s.Jellyfin.RevokeKey("radarr") },
		"host":    func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "host", "127.0.0.2") },
		"port":    func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "port", 1.0) },
		"TLS":     func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "useSsl", true) },
		"urlBase": func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "urlBase", "/jellyfin") },
		"event":   func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "onDownload", false) },
		"update":  func(s *fake.Stack) { s.Radarr.SetNotification("Jellyfin", "updateLibrary", false) },
		"mapped": func(s *fake.Stack) {
			s.Radarr.SetNotification("Jellyfin", "mapFrom", s.Dir)
			s.Radarr.SetNotification("Jellyfin", "mapTo", "/elsewhere")
		},
		"Jellyfin": func(s *fake.Stack) { s.Jellyfin.Twelve = true }, // and Radarr 6.0
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.connect()
			breakLink(l.stack)
			require.Equal(t, http.StatusCreated, l.request())
			require.Equal(t, http.StatusCreated, post(t, l.stack.Radarr.URL()+"/api/v3/command", fake.RadarrKey,
				`{"name":"RefreshMonitoredDownloads"}`))
			assert.FileExists(t, filepath.Join(l.stack.Dir,
				"box/movies/The.Matrix (1999) [tmdbid-603]/The.Matrix (1999).mkv"))
			assert.Empty(t, l.stack.Jellyfin.Items())
		})
	}
}

// TestDataFlowNeedsEveryLink breaks one thing that the pass stored, and sees the flow break.
func TestDataFlowNeedsEveryLink(t *testing.T) {
	for name, breakLink := range map[string]func(*fake.Stack){
		"key of Radarr in Jellyseerr": func(s *fake.Stack) { s.Radarr.SetKey("another") },
		"password in the download client": func(s *fake.Stack) {
			s.Radarr.SetClientField("qBittorrent", "password", "wrong")
		},
		"host of the download client": func(s *fake.Stack) {
			s.Radarr.SetClientField("qBittorrent", "host", "127.0.0.2")
		},
		"category of the download client": func(s *fake.Stack) {
			s.Radarr.SetClientField("qBittorrent", "movieCategory", "other")
		},
		"key of Jackett in Prowlarr":        func(s *fake.Stack) { s.Prowlarr.SetIndexerField("rarbg (Jackett)", "apiKey", "wrong") },
		"address of Jackett in Prowlarr":    func(s *fake.Stack) { s.Prowlarr.SetIndexerField("rarbg (Jackett)", "baseUrl", s.Jackett.URL()) },
		"interface of qBittorrent":          func(s *fake.Stack) { s.QBittorrent.SetPreference("current_network_interface", "eth0") },
		"folders of qBittorrent's category": func(s *fake.Stack) { s.QBittorrent.SetPreference("auto_tmm_enabled", false) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.connect()
			breakLink(l.stack)
			assert.NotEqual(t, http.StatusCreated, l.request())
		})
	}
}

// TestDataFlowWithNewKeys changes every key and password of the settings and the apps.
func TestDataFlowWithNewKeys(t *testing.T) {
	l := newLab(t)
	l.connect()
	for _, name := range []string{"radarr", "sonarr", "prowlarr"} {
		l.app(name)["apiKey"] = otherPassword
	}
	l.stack.Radarr.SetKey(otherPassword)
	l.stack.Sonarr.SetKey(otherPassword)
	l.stack.Prowlarr.SetKey(otherPassword)
	l.stack.QBittorrent.SetPassword(otherPassword)
	l.app("qbittorrent")["password"] = otherPassword
	report := l.connect()
	for _, app := range report.Apps {
		assert.Empty(t, app.Drift)
	}
	assert.Equal(t, http.StatusCreated, l.request())
	l.writesNothing()

	// Nothing but Prowlarr's own key: Radarr and Sonarr hold it, in the indexers that it gave them.
	l.app("prowlarr")["apiKey"] = fake.ProwlarrKey
	l.stack.Prowlarr.SetKey(fake.ProwlarrKey)
	l.connect()
	assert.Equal(t, http.StatusCreated, l.request())
	l.writesNothing()
}

// TestSettingThatChangesAgainAfterACutOffWrite must not take what the cut-off pass wrote for a change
// by hand.
func TestSettingThatChangesAgainAfterACutOffWrite(t *testing.T) {
	for n := 1; ; n++ {
		l := newLab(t)
		l.connect()
		set := func(profile, address string) {
			l.app("sonarr")["qualityProfile"] = profile
			l.app("jellyseerr")["applicationUrl"] = address
		}
		set("Any", "https://second.example.com")
		ctx, cancel := contextWithCancel(t)
		cut := &cutter{next: http.DefaultTransport, n: n, after: true, cancel: cancel}
		l.passWith(ctx, l.wirer(Options{Transport: cut}))
		set("HD-1080p", "https://third.example.com")
		for _, app := range l.connect().Apps {
			require.Empty(t, app.Drift, "request %d", n)
		}
		l.writesNothing()
		if cut.counted < n {
			return
		}
	}
}

// interrupted are passes that are cut off at each of their requests. Each prepares a lab.
func interrupted() map[string]func(*lab) {
	return map[string]func(*lab){
		"first": func(*lab) {},
		"changed settings": func(l *lab) {
			l.stack.Prowlarr.SetSiteDown("1337x", true)
			l.stack.Jackett.SetSiteDown("rarbg", true)
			l.connect()
			l.stack.Prowlarr.SetSiteDown("1337x", false)
			l.stack.Jackett.SetSiteDown("rarbg", false)
			l.stack.Jellyfin.RevokeKey("homelab")
			l.stack.Jellyfin.RevokeKey("radarr")
			l.stack.Jellyseerr.SetKey(otherPassword)
			l.stack.QBittorrent.SetPassword(otherPassword)
			l.app("qbittorrent")["password"] = otherPassword
			l.app("qbittorrent")["savePath"] = l.stack.Dir + "/downloads/elsewhere"
			l.app("radarr")["password"] = otherPassword
			l.app("sonarr")["qualityProfile"] = "Any"
			l.app("jellyseerr")["applicationUrl"] = "https://other.example.com"
		},
		"indexers that do not answer": func(l *lab) {
			l.app("prowlarr")["indexers"] = []any{"1337x", "thepiratebay", "nope"}
			l.app("jackett")["indexers"] = []any{"rarbg", "eztv"}
			l.stack.Prowlarr.SetSiteDown("1337x", true)
			l.stack.Jackett.SetSiteDown("eztv", true)
		},
		"fewer apps": func(l *lab) {
			l.connect()
			delete(l.plan, "jackett")
			delete(l.plan, "sonarr")
			delete(l.plan, "qbittorrent")
			l.app("prowlarr")["indexers"] = []any{"thepiratebay"}
		},
		"without Jellyfin": func(l *lab) {
			l.connect()
			delete(l.plan, "jellyfin")
			delete(l.plan, "jellyseerr")
		},
	}
}

// TestEveryInterruption cuts the program off at each of its requests, once before the app has it
// and once after the app has done it. The next pass must lead to what an uninterrupted one leads
// to, and the one after it must have nothing to do.
func TestEveryInterruption(t *testing.T) {
	for name, prepare := range interrupted() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := newLab(t)
			prepare(whole)
			whole.connect()
			want := whole.stack.Snapshot()
			whole.writesNothing()
			for _, after := range []bool{false, true} {
				total := 0
				for n := 1; total == 0; n++ {
					t.Run(fmt.Sprintf("after=%t/%d", after, n),
						func(t *testing.T) { total = interruptAt(t, prepare, n, after, want) })
					if t.Failed() {
						return
					}
				}
				t.Logf("%d interruptions", total)
				assert.Greater(t, total, 25, "the loop has seen a whole pass")
			}
		})
	}
}

// interruptAt cuts off at the n-th request, and returns n-1 if there is no such request, else 0.
func interruptAt(t *testing.T, prepare func(*lab), n int, after bool, want string) int {
	t.Helper()
	l := newLab(t)
	prepare(l)
	ctx, cancel := contextWithCancel(t)
	cut := &cutter{next: http.DefaultTransport, n: n, after: after, cancel: cancel}
	report := l.passWith(ctx, l.wirer(Options{Transport: cut}))
	if cut.counted < n {
		assert.False(t, report.Failed())
		return n - 1
	}
	assert.True(t, report.Failed())
	report = l.connect()
	for _, app := range report.Apps {
		assert.Empty(t, app.Drift, "what the cut-off pass wrote is not taken for a change by hand")
	}
	assert.Equal(t, want, l.stack.Snapshot())
	l.writesNothing()
	return 0
}
