package fake

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMeasurementsAreStrict(t *testing.T) {
	s := New(t)
	radarr := newCaller(t, s.Radarr.URL()+"/api/v3", "X-Api-Key", RadarrKey)
	for _, path := range []string{"/health", "/queue/details", "/wanted/missing?page=1&pageSize=1&monitored=true"} {
		newCaller(t, s.Radarr.URL()+"/api/v3").is(401, "", "GET", path, "")
		radarr.is(200, "", "GET", path, "")
		radarr.is(405, "", "POST", path, "{}")
	}
	radarr.is(400, "no such parameter", "GET", "/health?page=1", "")
	radarr.is(400, "no such parameter", "GET", "/queue/details?includeSeries=true", "")
	radarr.is(400, "not valid", "GET", "/wanted/missing?page=1&pageSize=0&monitored=true", "")
	radarr.is(400, "not valid", "GET", "/wanted/missing?page=1&pageSize=1", "")
	s.Radarr.SetMissing(3)
	radarr.is(200, `"totalRecords":3`, "GET", "/wanted/missing?page=4&pageSize=1&monitored=true", "")
	s.Radarr.SetQueue("error", "")
	radarr.is(200, `"trackedDownloadStatus":"error"`, "GET", "/queue/details", "")
	newCaller(t, s.Sonarr.URL()+"/api/v3", "X-Api-Key", SonarrKey).is(200, "[]", "GET", "/queue/details", "")

	newCaller(t, s.Prowlarr.URL()).is(401, "", "GET", "/api/v1/indexerstatus", "")
	prowlarr := newCaller(t, s.Prowlarr.URL()+"/api/v1", "X-Api-Key", ProwlarrKey)
	s.Prowlarr.AddIndexer("one")
	s.Prowlarr.Block("one")
	prowlarr.is(200, `"indexerId":1`, "GET", "/indexerstatus", "")
	prowlarr.is(400, "no such parameter", "GET", "/indexerstatus?id=1", "")

	jackett := newCaller(t, s.Jackett.URL()+"/api/v2.0/indexers")
	s.Jackett.Configure("rarbg")
	list := "/all/results/torznab?t=indexers&apikey=" + JackettKey
	jackett.is(401, "", "GET", "/all/results/torznab?t=indexers&apikey=wrong", "")
	jackett.is(400, "does not support", "GET", strings.Replace(list, "all", "rarbg", 1), "")
	jackett.is(200, `id="rarbg" configured="true"`, "GET", list, "")
	_, only := jackett.send("GET", list+"&configured=false", "")
	assert.NotContains(t, only, "rarbg")
	assert.Contains(t, only, `configured="false"`)
}

func TestMeasurementsOfWhoLogsIn(t *testing.T) {
	s := New(t)
	q := newCaller(t, s.QBittorrent.URL()+"/api/v2", "Content-Type", "application/x-www-form-urlencoded")
	q.is(403, "", "GET", "/transfer/info", "")
	q.is(204, "", "POST", "/auth/login", url.Values{"username": {User}, "password": {QBittorrentPassword}}.Encode())
	q.is(200, `"connection_status":"firewalled"`, "GET", "/transfer/info", "")
	s.QBittorrent.EndSessions()
	q.is(403, "", "GET", "/transfer/info", "")

	s.Jellyfin.AddKey("a")
	s.Jellyfin.SetClients(2, 1)
	newCaller(t, s.Jellyfin.URL()).is(401, "", "GET", "/Sessions?activeWithinSeconds=60", "")
	newCaller(t, s.Jellyfin.URL(), "X-Emby-Token", "jellyfin-api-key-a-1").is(401, "", "GET", "/Items/Counts", "")
	j := newCaller(t, s.Jellyfin.URL(), "Authorization", `MediaBrowser Token="jellyfin-api-key-a-1"`)
	j.is(400, "", "GET", "/Sessions?activeWithinSeconds=soon", "")
	j.is(400, "no such parameter", "GET", "/Items/Counts?userId=1", "")
	_, sessions := j.send("GET", "/Sessions?activeWithinSeconds=60", "")
	assert.Equal(t, 2, strings.Count(sessions, `"Id"`))
	assert.Equal(t, 1, strings.Count(sessions, "NowPlayingItem"))

	seerr := newCaller(t, s.Jellyseerr.URL()+"/api/v1", "X-Api-Key", JellyseerrKey)
	seerr.is(403, "", "GET", "/request/count", "")
	s.Jellyseerr.SetUpBySomebody("127.0.0.1", 1, false)
	s.Jellyseerr.AddRequests("pending", "available")
	seerr.is(200, `"approved":1`, "GET", "/request/count", "")
	seerr.is(400, "no such parameter", "GET", "/request/count?take=1", "")
}

func TestFaults(t *testing.T) {
	s := New(t)
	radarr := newCaller(t, s.Radarr.URL())
	s.Radarr.Break("/ping", http.StatusTeapot, "short and stout")
	radarr.is(418, "short and stout", "GET", "/ping", "")
	s.Radarr.Break("", 500, "")
	radarr.is(500, "", "GET", "/", "")
	s.Radarr.Break("", 0, "")
	s.Radarr.Break("/ping", 0, "")
	radarr.is(200, "OK", "GET", "/ping", "")
	s.Radarr.SetHanging(true)
	client := &http.Client{Timeout: 50 * time.Millisecond}
	_, err := client.Get(s.Radarr.URL() + "/ping") //nolint:noctx // it has a timeout
	require.ErrorContains(t, err, "Timeout")
	s.Radarr.SetHanging(false)
	radarr.is(200, "OK", "GET", "/ping", "")
}
