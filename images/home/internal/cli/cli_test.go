package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/home/internal/fake"
)

const rendered = "../../../../components/monitoring/internal/homepage/testdata/page.golden"

// output is a buffer that several goroutines use.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	code = Main(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Remote-User", "ada")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(body)
}

// addresses returns where the program says that it listens, once it does so at two addresses.
func addresses(t *testing.T, log *output) []string {
	t.Helper()
	var found []string
	require.Eventually(t, func() bool {
		found = nil
		for line := range strings.Lines(log.String()) {
			var entry struct{ Level, Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				found = append(found, "http://"+entry.Address)
			}
		}
		return len(found) == 2
	}, 20*time.Second, time.Millisecond)
	return found
}

func TestServe(t *testing.T) {
	f := fake.New(t)
	f.Healthy(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	log := &output{}
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, []string{"serve", "--page", f.Page(rendered), "--listen", "127.0.0.1:0", "--metrics", "localhost:0"}, io.Discard, log)
	}()
	var site, metrics string
	for _, address := range addresses(t, log) {
		if code, _, _ := run(t, "healthy", "--url", address+"/healthz"); code == ExitOK {
			site = address
		} else {
			metrics = address
		}
	}
	require.NotEmpty(t, site)
	require.NotEmpty(t, metrics)
	require.Eventually(t, func() bool { return strings.Contains(get(t, site+"/"), "All 2 services are up.") }, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, "404 page not found\n", get(t, site+"/metrics"), "visitors do not see them")
	text := get(t, metrics+"/metrics")
	for _, line := range []string{
		`homelab_home_requests_total{code="200"} `, `homelab_home_requests_total{code="404"} 1`, `homelab_home_asks_total{result="ok",source="prometheus"} 1`,
		`homelab_home_asks_total{result="error",source="alertmanager"} 0`, `homelab_home_last_success_timestamp_seconds{source="alertmanager"} 1.`,
		"process_resident_memory_bytes", "go_goroutines",
	} {
		assert.Contains(t, text, line)
	}
	assert.Equal(t, "404 page not found\n", get(t, metrics+"/"), "nothing else is there")
	cancel()
	assert.Equal(t, ExitOK, <-ended)
	for line := range strings.Lines(log.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "page.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"version": 1, "what": 2}`), 0o600))
	code, _, stderr := run(t, "serve", "--page", bad)
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, `unknown field "what"`)
	code, _, stderr = run(t, "serve", "--page", "/not/there")
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, "no such file")
	code, _, stderr = run(t, "serve", "--page", fake.New(t).Page(rendered), "--listen", "no such address")
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, "listening at no such address")
}

func TestHealthy(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("how it is\n"))
	}))
	code, stdout, _ := run(t, "healthy", "--url", server.URL)
	assert.Equal(t, ExitOK, code)
	assert.Equal(t, "how it is\n", stdout)
	status = http.StatusServiceUnavailable
	code, _, stderr := run(t, "healthy", "--url", server.URL)
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, "answers 503")
	server.Close()
	code, _, _ = run(t, "healthy", "--url", server.URL)
	assert.Equal(t, ExitProblem, code)
}

func TestCommandLine(t *testing.T) {
	code, stdout, _ := run(t, "--help")
	assert.Equal(t, ExitOK, code)
	assert.Contains(t, stdout, "homelab-home serve [flags]")
	code, _, stderr := run(t, "serve", "--help")
	assert.Equal(t, ExitOK, code)
	assert.Contains(t, stderr, `(default ":9798")`)
	for _, args := range [][]string{nil, {"dance"}, {"serve", "--color", "red"}, {"serve", "now"}, {"healthy", "--url"}} {
		code, _, stderr = run(t, args...)
		assert.Equal(t, ExitUsage, code, args)
		assert.NotEmpty(t, stderr)
	}
}
