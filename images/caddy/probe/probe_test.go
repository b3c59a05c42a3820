package probe

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// adminAPI serves a running configuration on a socket, as Caddy does.
func adminAPI(t *testing.T, status int, running string) string {
	t.Helper()
	// A socket's path has little room, less than some test directories need.
	dir, err := os.MkdirTemp("", "probe")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "admin.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "127.0.0.1" || r.URL.Path != "/config/" {
			http.Error(w, "unexpected request", http.StatusTeapot)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, running)
	}))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

const running = `{"apps":{"http":{"servers":{
	"public":{"routes":[
		{"match":[{"host":["a.example.com"]},{"host":["B.example.com"]}],"handle":[{"handler":"subroute","routes":[
			{"match":[{"host":["inner.example.com"]}],"handle":[{"handler":"vars"}]}]}]},
		{"match":[{"host":["*.example.com"]}],"handle":[{"handler":"vars"}]},
		{"match":[{"host":["empty.example.com"]}],"handle":[]},
		{"match":[{"not":[{"host":["negated.example.com"]}]}],"handle":[{"handler":"vars"}]},
		{"handle":[{"handler":"subroute","routes":[{"match":[{"host":["nested.example.com"]}],"handle":[{"handler":"vars"}]}]}]}
	]},
	"tailnet":{"routes":[{"match":[{"host":["c.example.com"]}],"handle":[{"handler":"vars"}]}]}
}}}}`

func TestLoadedHosts(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		running string
		server  string
		hosts   []string
		want    string
	}{
		"all loaded":                  {200, running, "", []string{"a.example.com", "b.example.com", "c.example.com", "nested.example.com"}, ""},
		"case does not matter":        {200, running, "", []string{"A.EXAMPLE.COM"}, ""},
		"missing ones, sorted":        {200, running, "", []string{"z.example.com", "a.example.com", "y.example.com"}, "no route is loaded for: y.example.com, z.example.com"},
		"wildcard is no route":        {200, running, "", []string{"*.example.org"}, "no route is loaded for: *.example.org"},
		"inside another host's route": {200, running, "", []string{"inner.example.com"}, "no route is loaded for: inner.example.com"},
		"route without handlers":      {200, running, "", []string{"empty.example.com"}, "no route is loaded for: empty.example.com"},
		"negated":                     {200, running, "", []string{"negated.example.com"}, "no route is loaded for: negated.example.com"},
		"on the named server":         {200, running, "tailnet", []string{"c.example.com"}, ""},
		"on the other server":         {200, running, "tailnet", []string{"a.example.com"}, "no route is loaded for: a.example.com"},
		"no such server":              {200, running, "private", []string{"a.example.com"}, `no server "private" is loaded`},
		"nothing loaded":              {200, "null", "", []string{"a.example.com"}, "no route is loaded for: a.example.com"},
		"not JSON":                    {200, "<html>", "", []string{"a.example.com"}, "reading the running configuration"},
		"refused":                     {403, "", "", []string{"a.example.com"}, "403 Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			err := LoadedHosts(t.Context(), adminAPI(t, c.status, c.running), c.server, c.hosts)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLoadedHostsWithoutCaddy(t *testing.T) {
	err := LoadedHosts(t.Context(), filepath.Join(t.TempDir(), "none.sock"), "", []string{"a.example.com"})
	require.ErrorContains(t, err, "reading the running configuration")
}

func TestHealthy(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   string
	}{
		"healthy":  {200, ""},
		"redirect": {302, "302 Found"},
		"failing":  {503, "503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
			}))
			t.Cleanup(server.Close)
			err := Healthy(t.Context(), server.URL)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		require.ErrorContains(t, Healthy(t.Context(), server.URL), "checking health")
	})
}
