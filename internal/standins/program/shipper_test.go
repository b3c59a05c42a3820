package main

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// frame is how Docker sends a piece of output.
func frame(text string) string {
	head := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head) + text
}

// printed is Docker with one container that has printed this.
func printed(t *testing.T, text string, asked *atomic.Int32) string {
	t.Helper()
	const id = "0123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/containers/json":
			fmt.Fprintf(w, `[{"Id":%q,"Names":["/caddy"]}]`, id)
		case "/containers/" + id + "/logs":
			assert.Equal(t, "1", r.URL.Query().Get("timestamps"))
			asked.Add(1)
			fmt.Fprint(w, frame(text))
		default:
			assert.Fail(t, "unexpected", r.URL.Path)
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// shippers are the commands of both, and where their files and what says that they are ready are.
var shippers = map[string]struct {
	golden, config, ready, state string
	command                      []string
}{
	"alloy": {"alloy", "/etc/alloy/config.alloy", "/-/ready", "/var/lib/alloy/data", []string{
		"/bin/alloy", "run", "--server.http.listen-addr=0.0.0.0:12345", "--storage.path=/var/lib/alloy/data", "--disable-reporting",
		"--server.http.enable-pprof=false", "--server.http.disable-support-bundle", "/etc/alloy/config.alloy",
	}},
	"promtail": {"promtail", "/etc/promtail/promtail.yaml", "/ready", "/var/lib/promtail", []string{"/usr/bin/promtail", "-config.file=/etc/promtail/promtail.yaml"}},
}

func TestShippers(t *testing.T) {
	for name, c := range shippers {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			kept := startLoki(m)
			at := time.Now().UTC().Truncate(time.Microsecond)
			var asked atomic.Int32
			docker := printed(t, at.Format(time.RFC3339Nano)+" a request with ?apikey=0123456789abcdef0123 in it\n", &asked)
			file := strings.NewReplacer("docker-api:2375", docker, "loki:3100", strings.TrimPrefix(kept.url, "http://")).Replace(golden(t, "shipper", c.golden))
			m.write(c.config, file)
			m.write("/logs/caddy/access.log", "{\"status\":200}\nhalf a li")
			require.NoError(t, os.MkdirAll(filepath.Join(m.root, c.state), 0o755))
			const caddy = "/loki/api/v1/query_range?query=%7Bservice%3D%22caddy%22%2Chost%3D%22homelab%22%2Clayer%3D%22gateway%22%7D"
			for round := range int32(2) { // the second sends nothing again
				r := m.start(nil, c.command...)
				r.answers(200, "GET", c.ready, "")
				r.answers(404, "GET", "/debug/pprof/", "")
				r.answers(200, "GET", "/metrics", "")
				require.EventuallyWithT(t, func(collect *assert.CollectT) {
					found := kept.answers(200, "GET", caddy, "")
					assert.Contains(collect, found, "a request with ?apikey=REDACTED in it")
					assert.Contains(collect, found, `{\"status\":200}`)
					assert.Greater(collect, asked.Load(), round)
				}, 10*time.Second, 50*time.Millisecond, "%s", r.out)
				time.Sleep(300 * time.Millisecond) // for what must not be sent
				r.stop()
			}
			assert.Contains(t, kept.answers(200, "GET", "/metrics", ""), `loki_distributor_lines_received_total{tenant="fake"} 2`)
			assert.NotContains(t, kept.answers(200, "GET", caddy, ""), "half")
		})
	}
}

func TestAlloyRefuses(t *testing.T) {
	m := newMachine(t)
	command := shippers["alloy"].command
	file := golden(t, "shipper", "alloy")
	for problem, change := range map[string][2]string{
		"no such component":         {`logging {`, "tracing {"},
		"has no discovery.docker.x": {`refresh_interval`, "x"},
		"has no stage.drop":         {`stage.structured_metadata`, "stage.drop"},
		"has not one group":         {`([^']+)`, "[^']+"},
		"config.alloy:3":            {`logging {`, `logging "`},
	} {
		m.write("/etc/alloy/config.alloy", strings.Replace(file, change[0], change[1], 1))
		assert.Contains(t, m.refused(nil, command...), problem)
	}
	assert.Contains(t, m.refused(nil, "/bin/alloy", "fmt", "x"), "does nothing else")
}
