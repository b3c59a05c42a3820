package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var jellyfinEnv = map[string]string{"JELLYFIN_DATA_DIR": "/config", "JELLYFIN_CACHE_DIR": "/cache"}

const client = `MediaBrowser Client="test", Device="test", DeviceId="test", Version="1"`

// healthy waits until Jellyfin's health check succeeds.
func healthy(r *running) {
	r.t.Helper()
	require.EventuallyWithT(r.t, func(c *assert.CollectT) {
		status, content := r.ask("GET", "/health", "")
		assert.Equal(c, 200, status)
		assert.Equal(c, "Healthy", content)
	}, 20*time.Second, 50*time.Millisecond)
}

// setUp does what homelab-jellyfin does.
func setUp(r *running) {
	r.t.Helper()
	healthy(r)
	r.answers(404, "POST", "/Startup/User", `{"Name":"admin","Password":"secret"}`)
	assert.Equal(r.t, "MyJellyfinUser", field(r.t, r.answers(200, "GET", "/Startup/User", ""), "Name"))
	r.answers(204, "POST", "/Startup/Configuration", `{"ServerName":"","UICulture":"en-US","MetadataCountryCode":"US","PreferredMetadataLanguage":"en"}`)
	r.answers(204, "POST", "/Startup/User", `{"Name":"admin","Password":"secret"}`)
	r.answers(204, "POST", "/Startup/RemoteAccess", `{"EnableRemoteAccess":true,"EnableAutomaticPortMapping":false}`)
	r.answers(204, "POST", "/Startup/Complete", "")
}

func TestJellyfin(t *testing.T) {
	m := newMachine(t)
	r := m.start(jellyfinEnv, "/jellyfin/jellyfin")
	assert.Equal(t, "Degraded", r.answers(200, "GET", "/health", ""), "it is starting")
	r.answers(503, "GET", "/Startup/User", "")
	assert.JSONEq(t, `{"StartupWizardCompleted":false}`, r.answers(200, "GET", "/System/Info/Public", ""))
	setUp(r)
	assert.Contains(t, r.answers(200, "GET", "/System/Info/Public", ""), `"StartupWizardCompleted":true`)
	r.answers(401, "GET", "/Startup/User", "")
	r.answers(404, "GET", "/nothing", "")
	r.answers(405, "POST", "/health", "")
	assert.Len(t, r.answers(200, "GET", "/web/main.jellyfin.bundle.js", ""), bundleSize)
	r.answers(401, "GET", "/Library/VirtualFolders", "")
	r.answers(401, "POST", "/Users/AuthenticateByName", `{"Username":"admin","Pw":"other"}`, "Authorization", client)
	session := field(t, r.answers(200, "POST", "/Users/AuthenticateByName", `{"Username":"admin","Pw":"secret"}`, "Authorization", client), "AccessToken")
	token := fmt.Sprintf("%s, Token=%q", client, session)
	films := filepath.Join(m.root, "films")
	require.NoError(t, os.Mkdir(films, 0o755))
	query := url.Values{"name": {"Films"}, "collectionType": {"movies"}, "paths": {films}}
	r.answers(204, "POST", "/Library/VirtualFolders?"+query.Encode(), `{"LibraryOptions":{}}`, "Authorization", token)
	r.answers(204, "POST", "/Auth/Keys?app=homelab", "", "Authorization", token)
	assert.Contains(t, r.out.String(), `Authentication request for "admin" has been denied`)
	assert.NotContains(t, r.out.String(), "secret")

	before := r.answers(200, "GET", "/Library/VirtualFolders", "", "Authorization", token)
	keys := r.answers(200, "GET", "/Auth/Keys", "", "Authorization", token)
	r.stop()
	again := m.start(jellyfinEnv, "/jellyfin/jellyfin")
	healthy(again)
	assert.Equal(t, before, again.answers(200, "GET", "/Library/VirtualFolders", "", "Authorization", token), "a restart loses nothing")
	assert.Equal(t, keys, again.answers(200, "GET", "/Auth/Keys", "", "Authorization", token))
	again.answers(401, "GET", "/Startup/User", "")
	isDatabase(m, "/config/data/jellyfin.db")
}

// isDatabase reports what a backup would not take for one.
func isDatabase(m *machine, path string) {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.root, path))
	require.NoError(m.t, err)
	assert.Equal(m.t, "SQLite format 3\x00", string(content[:16]))
}

func TestJellyfinNeedsItsImage(t *testing.T) {
	assert.Contains(t, newMachine(t).refused(nil, "/jellyfin/jellyfin"), "JELLYFIN_DATA_DIR is not set")
	assert.Contains(t, newMachine(t).refused(jellyfinEnv, "/jellyfin/jellyfin", "--datadir=/x"), "unknown arguments")
}

func TestJellyseerr(t *testing.T) {
	m := newMachine(t)
	films := m.start(jellyfinEnv, "/jellyfin/jellyfin")
	setUp(films)
	r := m.start(nil, "/usr/local/bin/standin", "jellyseerr")
	assert.JSONEq(t, `{"initialized":false,"mediaServerType":4}`, r.answers(200, "GET", "/api/v1/settings/public", ""))
	r.answers(404, "GET", "/api/v1/nothing", "")
	r.answers(403, "GET", "/api/v1/settings/main", "")
	r.answers(403, "GET", "/api/v1/settings/main", "", "X-Api-Key", "wrong")
	address, err := url.Parse(films.url)
	require.NoError(t, err)
	login := func(password string) string {
		return fmt.Sprintf(`{"username":"admin","password":%q,"email":"ops@example.com","serverType":2,"hostname":%q,"port":%s,"useSsl":false,"urlBase":""}`,
			password, address.Hostname(), address.Port())
	}
	r.answers(401, "POST", "/api/v1/auth/jellyfin", login("wrong"))
	r.answers(200, "POST", "/api/v1/auth/jellyfin", login("secret"))
	r.stop()
	again := m.start(nil, "/usr/local/bin/standin", "jellyseerr")
	assert.JSONEq(t, `{"initialized":false,"mediaServerType":2}`, again.answers(200, "GET", "/api/v1/settings/public", ""), "a restart loses nothing")
	again.answers(500, "POST", "/api/v1/auth/jellyfin", login("secret"))
	isDatabase(m, "/app/config/db/db.sqlite3")
}
