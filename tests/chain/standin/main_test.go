package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/standins/document"
)

const goldens = "../../../components/gateway/internal/authelia/testdata"

// buffer is written by the program while the test reads it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

type setup struct {
	dir, portal, metrics string
	redis                *miniredis.Miniredis
}

func prepare(t *testing.T) setup {
	t.Helper()
	s := setup{dir: t.TempDir(), portal: freePort(t), metrics: freePort(t), redis: miniredis.RunT(t)}
	s.redis.RequireAuth("store")
	golden, err := os.ReadFile(filepath.Join(goldens, "production.golden"))
	require.NoError(t, err)
	users, err := os.ReadFile(filepath.Join(goldens, "users.golden"))
	require.NoError(t, err)
	text := strings.NewReplacer(
		"level: warn", "level: info", // the deployment's portal does not say that it started
		"/config/", s.dir+"/", "/data/", s.dir+"/", "/var/log/authelia/", s.dir+"/",
		"0.0.0.0:9091", s.portal, "0.0.0.0:9959", s.metrics,
		"host: authelia-store", "host: "+s.redis.Host(), "port: 6379", "port: "+s.redis.Port(),
	).Replace(string(golden))
	for name, content := range map[string]string{
		"configuration.yml": text, "users_database.yml": string(users), "session": "secret", "store": "store\n", "storage": "a key of more than twenty characters",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
	}
	return s
}

func (s setup) path(name string) string { return filepath.Join(s.dir, name) }

func (s setup) environ() []string {
	return []string{
		"AUTHELIA_SESSION_SECRET_FILE=" + s.path("session"), "AUTHELIA_SESSION_REDIS_PASSWORD_FILE=" + s.path("store"),
		"AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE=" + s.path("storage"),
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestRunsUntilToldToStop(t *testing.T) {
	s := prepare(t)
	out := &buffer{}
	ended := make(chan error, 1)
	go func() {
		ended <- run(context.Background(), []string{"--config", s.path("configuration.yml")}, s.environ(), out)
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "Startup complete") }, 30*time.Second, 20*time.Millisecond)
	status, body := get(t, "http://"+s.portal+"/api/health")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"status":"OK"}`, body)
	status, body = get(t, "http://"+s.metrics+"/metrics")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, `authelia_request{code="200",method="GET"} 1`)
	status, _ = get(t, "http://"+s.metrics+"/")
	assert.Equal(t, http.StatusNotFound, status)

	info, err := os.Stat(s.path("authelia.log"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { info, err := os.Stat(s.path("authelia.log")); return err == nil && info.Size() == 0 }, 30*time.Second, 20*time.Millisecond)

	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "it did not stop")
	}
	log, err := os.ReadFile(s.path("authelia.log"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "Shutdown complete")
	status, _ = get(t, "http://"+s.portal+"/api/health")
	assert.Zero(t, status)
}

func TestStartupFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, setup)
		want   string
	}{
		"store away":     {func(_ *testing.T, s setup) { s.redis.Close() }, "error initializing session backend"},
		"wrong password": {func(t *testing.T, s setup) { require.NoError(t, os.WriteFile(s.path("store"), []byte("wrong"), 0o600)) }, "WRONGPASS"},
		"another key's file": {func(t *testing.T, s setup) {
			file, err := document.Open(s.path("db.sqlite3"))
			require.NoError(t, err)
			require.NoError(t, file.Write(make([]byte, 100)))
			require.NoError(t, file.Close())
		}, "encryption key"},
		"no database": {func(t *testing.T, s setup) {
			require.NoError(t, os.WriteFile(s.path("db.sqlite3"), make([]byte, 100), 0o600))
		}, "file is not a database"},
		"no users": {func(t *testing.T, s setup) { require.NoError(t, os.Remove(s.path("users_database.yml"))) }, "authentication database"},
		"bad configuration": {func(t *testing.T, s setup) {
			require.NoError(t, os.WriteFile(s.path("configuration.yml"), []byte("theme: pink\n"), 0o600))
		},
			"can't continue due to the errors loading the configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			s := prepare(t)
			c.change(t, s)
			require.ErrorContains(t, run(context.Background(), []string{"--config", s.path("configuration.yml")}, s.environ(), io.Discard), c.want)
		})
	}
}

func TestCommands(t *testing.T) {
	s := prepare(t)
	path := s.path("configuration.yml")
	for _, args := range [][]string{
		{"config", "validate", "--config", path}, {"validate-config", "--config", path}, {"--config", path, "config", "validate"}, {"-c", path, "config"},
	} {
		var out bytes.Buffer
		require.NoError(t, run(context.Background(), args, s.environ(), &out), args)
		assert.Contains(t, out.String(), "without errors")
	}
	require.ErrorContains(t, run(context.Background(), []string{"config", "validate", "--config", path}, nil, io.Discard), "encryption_key")
	require.Error(t, run(context.Background(), []string{"storage", "migrate"}, nil, io.Discard))
	require.Error(t, run(context.Background(), []string{"--unknown"}, nil, io.Discard))
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"--version"}, nil, &out))
	assert.Contains(t, out.String(), "stand-in")
}

// Where the arguments name no file, the environment does, as in the real program's image.
func TestPathsInTheEnvironment(t *testing.T) {
	s := prepare(t)
	second, err := os.ReadFile("../../../components/gateway/internal/authelia/testdata/openid.golden")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path("openid.yml"), second, 0o600))
	require.NoError(t, os.WriteFile(s.path("hmac"), []byte("of codes and tokens"), 0o600))
	environ := append(s.environ(), "X_AUTHELIA_CONFIG="+s.path("configuration.yml")+","+s.path("openid.yml"))
	require.NoError(t, run(context.Background(), []string{"config", "validate"}, append(environ, "AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE="+s.path("hmac")), io.Discard))
	require.ErrorContains(t, run(context.Background(), []string{"config", "validate"}, environ, io.Discard), "hmac_secret")
}
