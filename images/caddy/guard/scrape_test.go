package guard

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// running is Caddy in this process, with a site and its metrics.
type running struct {
	t             *testing.T
	folder        string
	engine        string
	site, metrics string
}

const runningFile = `{
	admin off
	storage file_system {folder}/data
	local_certs
	skip_install_trust
	auto_https disable_redirects
	https_port {site}
	metrics
	servers 127.0.0.1:{site} {
		name public
		protocols h1
		strict_sni_host on
	}
	guard {
		lapi {engine}
		appsec {engine}
		key_file {folder}/key
		interval 1s
		hold open {hold} 1KB
	}
}
https://a.example.com:{site} {
	bind 127.0.0.1
	route {
		measure a.example.com
		bouncer
		inspect body 1KB open
		respond {answer}
	}
}
http://127.0.0.1:{metrics} {
	bind 127.0.0.1
	metrics /metrics
}
`

func runCaddy(t *testing.T) *running {
	_, address := newEngine(t)
	c := &running{t: t, folder: t.TempDir(), engine: address, site: freePort(t), metrics: freePort(t)}
	require.NoError(t, os.WriteFile(filepath.Join(c.folder, "key"), []byte(engineKey), 0o600))
	t.Cleanup(func() { assert.NoError(t, caddy.Stop()) })
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

// load loads the configuration, as `caddy reload --force` does.
func (c *running) load(hold, answer string) {
	c.t.Helper()
	text := strings.NewReplacer("{folder}", c.folder, "{engine}", c.engine, "{site}", c.site, "{metrics}", c.metrics, "{hold}", hold, "{answer}", answer).Replace(runningFile)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	require.NoError(c.t, err)
	require.NoError(c.t, caddy.Load(adapted, true))
	// The first certificate is made meanwhile.
	require.Eventually(c.t, func() bool {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+c.site, tlsOfTheSite)
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 20*time.Millisecond)
}

var tlsOfTheSite = &tls.Config{ServerName: "a.example.com", InsecureSkipVerify: true} //nolint:gosec // an authority of its own

// ask asks the site, by whatever name it has in the header.
func (c *running) ask(host string) int {
	c.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+c.site)
		},
		TLSClientConfig: tlsOfTheSite, DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "https://a.example.com/", nil)
	require.NoError(c.t, err)
	r.Host = host
	answer, err := client.Do(r)
	require.NoError(c.t, err)
	require.NoError(c.t, answer.Body.Close())
	return answer.StatusCode
}

// scrape returns what Prometheus would get.
func (c *running) scrape() string {
	c.t.Helper()
	answer, err := http.Get("http://127.0.0.1:" + c.metrics + "/metrics")
	require.NoError(c.t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, answer.Body.Close())
	require.Equal(c.t, http.StatusOK, answer.StatusCode, "%s", text)
	return string(text)
}

// Each reload makes another registry, and counts go on: also when the guard itself is configured
// anew, and what it shares is made anew with it.
func TestMetricsOverReloads(t *testing.T) {
	c := runCaddy(t)
	const passed, answered = `homelab_guard_inspections_total{stage="headers",verdict="pass"}`, `homelab_guard_response_duration_seconds_count{code="2xx",host="a.example.com",server="public"}`
	c.load("2KB", "one")
	begin := scraped(t, c.scrape())
	assert.Equal(t, 0.0, begin["homelab_guard_decisions"])
	assert.Positive(t, begin["homelab_guard_last_pull_timestamp_seconds"])
	assert.Positive(t, begin[`homelab_guard_lapi_pulls_total{result="ok"}`])
	assert.Contains(t, begin, `homelab_guard_held_body_bytes{pool="open"}`)
	for n, load := range []func(){func() {}, func() { c.load("2KB", "two") }, func() { c.load("4KB", "two") }, func() { c.load("4KB", "two") }} {
		load()
		require.Equal(t, http.StatusOK, c.ask("a.example.com"))
		now := scraped(t, c.scrape())
		assert.Equal(t, float64(n+1), now[passed]-begin[passed])
		assert.Equal(t, float64(n+1), now[answered]-begin[answered])
	}
}

// No name that a visitor invents makes a series, neither of the guard's nor of Caddy's.
func TestVisitorsMakeNoSeries(t *testing.T) {
	c := runCaddy(t)
	c.load("2KB", "one")
	require.Equal(t, http.StatusOK, c.ask("a.example.com"))
	c.scrape()
	before := strings.Count(c.scrape(), "\n")
	for n := range 20 {
		require.Equal(t, http.StatusOK, c.ask(fmt.Sprintf("A.example.com:junk%d", n)))
	}
	text := c.scrape()
	assert.False(t, strings.Contains(text, "junk"), "a visitor chose a label")
	assert.Equal(t, before, strings.Count(text, "\n"))
}
