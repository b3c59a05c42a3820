package fake

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// caller sends requests to one fake.
type caller struct {
	t      *testing.T
	base   string
	header http.Header
	client *http.Client
}

func newCaller(t *testing.T, base string, header ...string) *caller {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := &caller{t: t, base: base, header: http.Header{}, client: &http.Client{Jar: jar}}
	for i := 0; i+1 < len(header); i += 2 {
		c.header.Set(header[i], header[i+1])
	}
	return c
}

// send returns the status and the body.
func (c *caller) send(method, path, body string) (int, string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	request.Header = c.header.Clone()
	if request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.client.Do(request)
	require.NoError(c.t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, response.Body.Close())
	return response.StatusCode, string(content)
}

// is sends a request that must get a status and a body that contains a text.
func (c *caller) is(status int, contains, method, path, body string) {
	c.t.Helper()
	got, content := c.send(method, path, body)
	assert.Equal(c.t, status, got, "%s %s: %s", method, path, content)
	assert.Contains(c.t, content, contains, "%s %s", method, path)
}

func TestServarrIsStrict(t *testing.T) {
	s := New(t)
	radarr := newCaller(t, s.Radarr.URL(), "X-Api-Key", RadarrKey)
	newCaller(t, s.Radarr.URL(), "X-Api-Key", "wrong").is(401, "", "GET", "/api/v3/system/status", "")
	newCaller(t, s.Radarr.URL()).is(200, "OK", "GET", "/ping", "")

	root := fmt.Sprintf(`{"path":%q}`, s.Dir+"/box/movies")
	radarr.is(400, "does not exist", "POST", "/api/v3/rootfolder", `{"path":"/not/there"}`)
	radarr.is(400, "unknown field", "POST", "/api/v3/rootfolder", `{"path":"/tmp","name":"x"}`)
	radarr.is(201, "", "POST", "/api/v3/rootfolder", root)
	radarr.is(400, "already configured", "POST", "/api/v3/rootfolder", root)
	radarr.is(405, "", "PUT", "/api/v3/rootfolder", root)

	naming := `{"id":1,"renameMovies":true,"replaceIllegalCharacters":true,"colonReplacementFormat":%s,` +
		`"standardMovieFormat":"a","movieFolderFormat":"b","newerThanUs":"kept"}`
	radarr.is(400, "must be string", "PUT", "/api/v3/config/naming/1", fmt.Sprintf(naming, "4"))
	radarr.is(400, "not one of", "PUT", "/api/v3/config/naming/1", fmt.Sprintf(naming, `"clever"`))
	radarr.is(400, "missing", "PUT", "/api/v3/config/naming/1", `{"id":1,"renameMovies":true}`)
	before := len(s.Radarr.Writes())
	for range 2 {
		radarr.is(202, "smart", "PUT", "/api/v3/config/naming/1", fmt.Sprintf(naming, `"smart"`))
	}
	assert.Len(t, s.Radarr.Writes(), before+1, "what is equal is not written")

	host := `{"id":1,"bindAddress":"*","port":1,"authenticationMethod":%q,"authenticationRequired":"enabled","username":"a",` +
		`"password":"b","passwordConfirmation":%q,"backupInterval":7,"backupRetention":28,"branch":"master"}`
	radarr.is(400, "must be forms", "PUT", "/api/v3/config/host/1", fmt.Sprintf(host, "basic", "b"))
	radarr.is(400, "Must match", "PUT", "/api/v3/config/host/1", fmt.Sprintf(host, "forms", ""))
	radarr.is(202, "", "PUT", "/api/v3/config/host/1", fmt.Sprintf(host, "forms", "b"))
	radarr.is(200, mask, "GET", "/api/v3/config/host", "")
}

func TestProvidersAreStrict(t *testing.T) {
	s := New(t)
	radarr := newCaller(t, s.Radarr.URL(), "X-Api-Key", RadarrKey)
	client := func(name, implementation, host, password, port string) string {
		return fmt.Sprintf(`{"name":%q,"enable":true,"implementation":%q,"configContract":"QBittorrentSettings","tags":[],"fields":[`+
			`{"name":"host","value":%q},{"name":"port","value":%s},{"name":"useSsl","value":false},{"name":"urlBase","value":""},`+
			`{"name":"username","value":"admin"},{"name":"password","value":%q},{"name":"apiKey","value":""},`+
			`{"name":"movieCategory","value":"radarr"},{"name":"initialState","value":0},{"name":"sequentialOrder","value":false}]}`,
			name, implementation, host, port, password)
	}
	port := fmt.Sprint(s.QBittorrent.port())
	good := client("a", "QBittorrent", "127.0.0.1", QBittorrentPassword, port)
	const path = "/api/v3/downloadclient"
	for _, to := range []string{path, path + "/test"} {
		radarr.is(400, "no implementation", "POST", to, client("a", "Nope", "127.0.0.1", QBittorrentPassword, port))
		radarr.is(400, "must be int", "POST", to,
			client("a", "QBittorrent", "127.0.0.1", QBittorrentPassword, `"8080"`))
		radarr.is(400, "Unable to connect", "POST", to,
			client("a", "QBittorrent", "127.0.0.1", QBittorrentPassword, "1"))
		radarr.is(400, "Authentication Failure", "POST", to, client("a", "QBittorrent", "127.0.0.1", "wrong", port))
		radarr.is(400, "masked", "POST", to, client("a", "QBittorrent", "127.0.0.1", mask, port))
		radarr.is(400, "unknown field", "POST", to, strings.Replace(good, `"tags"`, `"colour":1,"tags"`, 1))
		radarr.is(400, "fields, not", "POST", to, strings.Replace(good, `{"name":"initialState","value":0},`, "", 1))
	}
	assert.Empty(t, s.Radarr.Writes())
	radarr.is(201, `"id":1`, "POST", path, good)
	radarr.is(400, "Should be unique", "POST", path, strings.Replace(good, `"a"`, `"A"`, 1))
	radarr.is(200, mask, "GET", path, "")
	_, list := radarr.send("GET", path, "")
	assert.NotContains(t, list, QBittorrentPassword)
	masked := strings.Replace(client("a", "QBittorrent", "127.0.0.1", mask, port), "{", `{"id":1,`, 1)
	radarr.is(200, "", "POST", path+"/test", masked)
	radarr.is(202, "", "PUT", path+"/1", masked)
	assert.Equal(t, QBittorrentPassword, text(s.Radarr.Client("a"), "password"), "asterisks keep what is stored")
	assert.Len(t, s.Radarr.Writes(), 1)
}

func TestProwlarrMustBeReachableFromTheApp(t *testing.T) {
	s := New(t)
	prowlarr := newCaller(t, s.Prowlarr.URL(), "X-Api-Key", ProwlarrKey)
	application := func(address, key string) string {
		return fmt.Sprintf(`{"name":"Radarr","implementation":"Radarr","configContract":"RadarrSettings","syncLevel":"fullSync","tags":[],`+
			`"fields":[{"name":"prowlarrUrl","value":%q},{"name":"baseUrl","value":%q},{"name":"apiKey","value":%q},`+
			`{"name":"syncCategories","value":[2000]}]}`, address, s.Radarr.URL(), key)
	}
	prowlarr.is(400, "Unable to connect to indexer", "POST", "/api/v1/applications",
		application("http://127.0.0.1:1", RadarrKey))
	prowlarr.is(400, "Unable to complete application test", "POST", "/api/v1/applications",
		application(s.Prowlarr.URL(), "wrong"))
	prowlarr.is(201, "", "POST", "/api/v1/applications", application(s.Prowlarr.URL(), RadarrKey))
}

func TestQBittorrentIsStrict(t *testing.T) {
	s := New(t)
	q := newCaller(t, s.QBittorrent.URL(), "Content-Type", "application/x-www-form-urlencoded")
	login := func(password string) string {
		return url.Values{"username": {User}, "password": {password}}.Encode()
	}
	q.is(403, "", "GET", "/api/v2/app/preferences", "")
	for range 4 {
		q.is(401, "", "POST", "/api/v2/auth/login", login("wrong"))
	}
	q.is(204, "", "POST", "/api/v2/auth/login", login(QBittorrentPassword))
	q.is(400, "no such preference", "POST", "/api/v2/app/setPreferences", url.Values{"json": {`{"nope":1}`}}.Encode())
	q.is(400, "no such preference", "POST", "/api/v2/app/setPreferences",
		url.Values{"json": {`{"upnp":"no"}`}}.Encode())
	q.is(404, "", "POST", "/api/v2/torrents/editCategory", "category=a&savePath=/b")
	q.is(200, "", "POST", "/api/v2/torrents/createCategory", "category=a&savePath=/b")
	q.is(409, "", "POST", "/api/v2/torrents/createCategory", "category=a&savePath=/b")
	q.is(400, "no torrent", "POST", "/api/v2/torrents/add", "urls=http://jackett/dl&category=a")
	for file, status := range map[string]int{
		"no torrent": 415, string(torrentOf("a")) + "x": 415, string(torrentOf("a")): 409,
	} {
		form := q.header.Get("Content-Type")
		q.header.Set("Content-Type", "multipart/form-data; boundary=b")
		q.is(status, "", "POST", "/api/v2/torrents/add", "--b\r\nContent-Disposition: form-data; name=\"torrents\"; filename=\"a\"\r\n\r\n"+
			file+"\r\n--b--\r\n")
		q.header.Set("Content-Type", form)
	}
	for range 5 {
		q.is(401, "", "POST", "/api/v2/auth/login", login("wrong"))
	}
	q.is(403, "banned", "POST", "/api/v2/auth/login", login(QBittorrentPassword))
}

func TestJellyfinIsStrict(t *testing.T) {
	s := New(t)
	const device = `MediaBrowser Client="a", Device="b", DeviceId="c", Version="d"`
	credentials := fmt.Sprintf(`{"Username":%q,"Pw":%q}`, User, JellyfinPassword)
	newCaller(t, s.Jellyfin.URL(), "X-Emby-Authorization", device).is(401, "", "POST",
		"/Users/AuthenticateByName", credentials)
	anonymous := newCaller(t, s.Jellyfin.URL(), "Authorization", device)
	anonymous.is(401, "", "GET", "/Library/VirtualFolders", "")
	anonymous.is(200, "jellyfin-session-0", "POST", "/Users/AuthenticateByName", credentials)
	newCaller(t, s.Jellyfin.URL(), "X-Emby-Token", "jellyfin-session-0").is(401, "", "GET",
		"/Library/VirtualFolders", "")
	j := newCaller(t, s.Jellyfin.URL(), "Authorization", device+`, Token="jellyfin-session-0"`)
	add := "/Library/VirtualFolders?name=Movies&collectionType=movies&paths="
	j.is(404, "does not exist", "POST", add+"/not/there", `{}`)
	j.is(204, "", "POST", add+url.QueryEscape(s.Dir), `{}`)
	j.is(204, "", "POST", add+url.QueryEscape(s.Dir), `{}`)
	j.is(200, "Movies2", "GET", "/Library/VirtualFolders", "")
	j.is(204, "", "POST", "/Auth/Keys?app=a", "")
	j.is(204, "", "POST", "/Auth/Keys?app=a", "")
	j.is(400, "", "POST", "/Auth/Keys", "")
	j.is(200, "jellyfin-api-key-a-2", "GET", "/Auth/Keys", "")
	j.is(200, User, "GET", "/Users/Me", "")
	j.is(204, "", "POST", "/Sessions/Logout", "")
	j.is(401, "", "GET", "/Library/VirtualFolders", "")

	// A key is an administrator, but no user.
	key := newCaller(t, s.Jellyfin.URL(), "Authorization", `MediaBrowser Token="jellyfin-api-key-a-1"`)
	key.is(200, "Movies2", "GET", "/Library/VirtualFolders", "")
	key.is(400, "", "GET", "/Users/Me", "")
	key.is(400, "", "POST", "/Users/AuthenticateByName", credentials)
	anonymous.is(401, "", "POST", "/Users/AuthenticateByName", fmt.Sprintf(`{"Username":%q,"Pw":"wrong"}`, User))
	key.is(404, "", "POST", "/Notifications/Admin", "{}")

	// Only where Radarr and Sonarr call it does it take the header of old, and Jellyfin 12 nowhere.
	old := newCaller(t, s.Jellyfin.URL(), "X-MediaBrowser-Token", "jellyfin-api-key-a-2")
	old.is(401, "", "GET", "/Library/VirtualFolders", "")
	old.is(401, "", "GET", "/Auth/Keys", "")
	old.is(200, "", "GET", "/System/Configuration", "")
	old.is(204, "", "POST", "/Library/Media/Updated", `{"Updates":[{"Path":"/a","UpdateType":"Created"}]}`)
	s.Jellyfin.Twelve = true
	old.is(401, "", "GET", "/System/Configuration", "")
	key.is(200, "", "GET", "/System/Configuration", "")
	s.Jellyfin.Twelve = false
	key.is(204, "", "DELETE", "/Auth/Keys/jellyfin-api-key-a-2", "")
	old.is(401, "", "GET", "/System/Configuration", "")
}

func TestNotificationsAreStrict(t *testing.T) {
	s := New(t)
	s.Jellyfin.AddKey("sonarr")
	sonarr := newCaller(t, s.Sonarr.URL(), "X-Api-Key", SonarrKey)
	_, schema := sonarr.send("GET", "/api/v3/notification/schema", "")
	assert.Contains(t, schema, `"MediaBrowserSettings"`)
	body := func(key, host, from string) string {
		return fmt.Sprintf(`{"name":"a","implementation":"MediaBrowser","configContract":"MediaBrowserSettings","tags":[],`+
			`"onGrab":false,"onDownload":true,"onUpgrade":true,"onImportComplete":false,"onRename":true,"onSeriesAdd":false,`+
			`"onSeriesDelete":true,"onEpisodeFileDelete":true,"onEpisodeFileDeleteForUpgrade":true,"onHealthIssue":false,`+
			`"includeHealthWarnings":false,"fields":[{"name":"host","value":%q},{"name":"port","value":%d},`+
			`{"name":"useSsl","value":false},{"name":"urlBase"},{"name":"apiKey","value":%q},{"name":"notify","value":false},`+
			`{"name":"updateLibrary","value":true},{"name":"mapFrom","value":%q},{"name":"mapTo","value":""}]}`,
			host, s.Jellyfin.port(), key, from)
	}
	good := body("jellyfin-api-key-sonarr-1", "127.0.0.1", "")
	const path = "/api/v3/notification"
	sonarr.is(400, "is invalid", "POST", path, body("wrong", "127.0.0.1", ""))
	sonarr.is(400, "masked", "POST", path, body(mask, "127.0.0.1", ""))
	sonarr.is(400, "Unable to send", "POST", path, body("jellyfin-api-key-sonarr-1", "127.0.0.2", ""))
	sonarr.is(400, "belong together", "POST", path, body("jellyfin-api-key-sonarr-1", "127.0.0.1", "/a"))
	sonarr.is(400, "unknown field", "POST", path, strings.Replace(good, `"onSeriesDelete"`, `"onMovieDelete"`, 1))
	sonarr.is(400, "is missing", "POST", path, strings.Replace(good, `"onRename":true,`, ``, 1))
	sonarr.is(400, "must be bool", "POST", path, strings.Replace(good, `"onRename":true`, `"onRename":"yes"`, 1))
	sonarr.is(201, "", "POST", path, good)
	_, list := sonarr.send("GET", path, "")
	assert.NotContains(t, list, "jellyfin-api-key")
	assert.Contains(t, list, mask)

	// Radarr 6.0 does not notice a wrong key.
	radarr := newCaller(t, s.Radarr.URL(), "X-Api-Key", RadarrKey)
	forRadarr := strings.NewReplacer("onSeriesAdd", "onMovieAdded", "onSeriesDelete", "onMovieDelete", "onEpisodeFile",
		"onMovieFile", `"onImportComplete":false,`, "")
	radarr.is(400, "Unable to send", "POST", path, forRadarr.Replace(body("wrong", "127.0.0.2", "")))
	radarr.is(201, "", "POST", path, forRadarr.Replace(body("wrong", "127.0.0.1", "")))
}

func TestJellyseerrIsStrict(t *testing.T) {
	s := New(t)
	j := newCaller(t, s.Jellyseerr.URL()+"/api/v1", "X-Api-Key", JellyseerrKey)
	login := func(more string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q,"serverType":2%s}`, User, JellyfinPassword, more)
	}
	host := fmt.Sprintf(`,"hostname":"127.0.0.1","port":%d,"useSsl":false,"urlBase":""`, s.Jellyfin.port())
	j.is(200, `"initialized":false`, "GET", "/settings/public", "")
	j.is(403, "", "GET", "/settings/main", "")
	session := newCaller(t, s.Jellyseerr.URL()+"/api/v1")
	session.is(403, "", "GET", "/settings/main", "")
	j.is(500, "No hostname", "POST", "/auth/jellyfin", login(""))
	j.is(400, "unknown field", "POST", "/auth/jellyfin", login(`,"host":"a"`))
	session.is(200, `"permissions":2`, "POST", "/auth/jellyfin", login(host))
	session.is(200, JellyseerrKey, "GET", "/settings/main", "")
	j.is(401, "INVALID_CREDENTIALS", "POST", "/auth/jellyfin", strings.Replace(login(""), JellyfinPassword, "wrong", 1))
	newCaller(t, s.Jellyseerr.URL()+"/api/v1", "X-Api-Key", "wrong").is(403, "", "GET", "/settings/main", "")
	j.is(500, "already configured", "POST", "/auth/jellyfin", login(host))
	j.is(200, "", "GET", "/settings/main", "")
	j.is(400, "unknown field apiKey", "POST", "/settings/main", `{"apiKey":"a"}`)
	j.is(400, "is missing", "POST", "/settings/radarr", `{"name":"Radarr"}`)
	j.is(400, "unknown field id", "PUT", "/settings/radarr/0", `{"id":0}`)
	j.is(500, "Failed to connect", "POST", "/settings/radarr/test",
		fmt.Sprintf(`{"hostname":"127.0.0.1","port":%d,"apiKey":"wrong","useSsl":false}`, s.Radarr.port()))
	j.is(500, "set-up has not ended", "POST", "/request", `{"mediaType":"movie","mediaId":1,"title":"a"}`)

	s.Jellyfin.AddLibrary("Movies", "movies", s.Dir)
	s.Jellyfin.AddLibrary("Series", "tvshows", s.Dir)
	s.Jellyseerr.Legacy = true
	j.is(200, "", "GET", "/settings/jellyfin/library?sync=true&enable=id-Movies,id-Series", "")
	assert.Equal(t, []string{"Movies", "Series"}, s.Jellyseerr.Enabled())
	j.is(200, "", "GET", "/settings/jellyfin/library", "")
	assert.Empty(t, s.Jellyseerr.Enabled(), "a call that enables none disables all")
}

func TestJellyseerrOfSomebodyElse(t *testing.T) {
	for _, letsIn := range []bool{true, false} {
		s := New(t)
		s.Jellyseerr.SetUpBySomebody("127.0.0.1", s.Jellyfin.port(), letsIn)
		session := newCaller(t, s.Jellyseerr.URL()+"/api/v1")
		login := fmt.Sprintf(`{"username":%q,"password":%q,"serverType":2}`, User, JellyfinPassword)
		if letsIn {
			session.is(200, `"permissions":32`, "POST", "/auth/jellyfin", login)
		} else {
			session.is(403, "Access denied", "POST", "/auth/jellyfin", login)
		}
		session.is(403, "", "GET", "/settings/main", "")
	}
}

func TestJackettIsStrict(t *testing.T) {
	s := New(t)
	j := newCaller(t, s.Jackett.URL())
	j.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	j.is(302, "", "GET", "/api/v2.0/indexers", "")
	j.header.Set("Content-Type", "application/x-www-form-urlencoded")
	j.is(302, "", "POST", "/UI/Dashboard", "password=wrong")
	j.is(302, "", "GET", "/api/v2.0/indexers", "")
	j.is(302, "", "POST", "/UI/Dashboard", "password="+JackettPassword)
	j.is(200, "rarbg", "GET", "/api/v2.0/indexers", "")
	j.header.Set("Content-Type", "application/json")
	j.is(500, "not complete", "POST", "/api/v2.0/indexers/rarbg/Config", `[]`)
	torznab := "/api/v2.0/indexers/rarbg/results/torznab/api?t=caps&apikey="
	j.is(401, "Invalid API Key", "GET", torznab+"wrong", "")
	j.is(400, "not configured", "GET", torznab+JackettKey, "")
	_, config := j.send("GET", "/api/v2.0/indexers/rarbg/Config", "")
	j.is(204, "", "POST", "/api/v2.0/indexers/rarbg/Config", config)
	j.is(200, "caps", "GET", torznab+JackettKey, "")
}

// What a search finds leads to Prowlarr, and through it to Jackett.
func TestDownloadLinks(t *testing.T) {
	s := New(t)
	s.Jackett.Configure("rarbg")
	p := newCaller(t, s.Prowlarr.URL(), "X-Api-Key", ProwlarrKey)
	indexer := schemaEntry("Torznab", object{"name": "rarbg", "definitionName": "Torznab", "enable": true, "redirect": false,
		"priority": 25, "appProfileId": 1, "protocol": "torrent"},
		"baseUrl", s.Jackett.URL()+"/api/v2.0/indexers/rarbg/results/torznab/", "apiPath", "/api", "apiKey", JackettKey, "additionalParameters", "")
	body, err := json.Marshal(indexer)
	require.NoError(t, err)
	p.is(201, "", "POST", "/api/v1/indexer", string(body))
	p.is(401, "", "GET", "/1/api?t=search&q=x&apikey=wrong", "")
	p.is(404, "", "GET", "/2/api?t=search&q=x&apikey="+ProwlarrKey, "")
	_, found := p.send("GET", "/1/api?t=search&q=x&apikey="+ProwlarrKey, "")
	var results rss
	require.NoError(t, xml.Unmarshal([]byte(found), &results))
	require.Len(t, results.Items, 2)
	link := strings.TrimPrefix(results.Items[1].Link, s.Prowlarr.URL())
	require.Contains(t, link, "/1/download?", "the app needs no way to Jackett")
	assert.NotContains(t, link, JackettKey)
	p.is(200, string(torrentOf("The.Matrix.1999.1080p.mkv")), "GET", link, "")
	p.is(401, "", "GET", strings.Replace(link, ProwlarrKey, "wrong", 1), "")
	p.is(400, "Invalid", "GET", "/1/download?file=x&apikey="+ProwlarrKey, "")
}

func TestStart(t *testing.T) {
	var log []string
	note := func(line string) { log = append(log, line) }
	for _, name := range []string{"radarr", "sonarr", "prowlarr", "jackett", "jellyfin", "jellyseerr"} {
		app, err := Start(name, Settings{Key: "a-key", Password: "a-password"}, note)
		require.NoError(t, err)
		assert.Equal(t, name == "radarr" || name == "sonarr", app.Refresh != nil)
		server := httptest.NewServer(app)
		path := map[string]string{"radarr": "/api/v3/tag", "sonarr": "/api/v3/tag", "prowlarr": "/api/v1/appprofile",
			"jackett":  "/api/v2.0/indexers/all/results/torznab?t=indexers&apikey=a-key",
			"jellyfin": "/health", "jellyseerr": "/api/v1/settings/public"}[name]
		newCaller(t, server.URL, "X-Api-Key", "a-key").is(200, "", "GET", path, "")
		server.Close()
	}
	assert.Contains(t, log, "jackett GET /api/v2.0/indexers/all/results/torznab?t=indexers")
	_, err := Start("qbittorrent", Settings{}, note)
	assert.EqualError(t, err, `there is no fake of "qbittorrent"`)
}
