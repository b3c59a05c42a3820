//go:build host

package host

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeJellyfin answers what Jellyfin 10.11.11 answers to a first set-up, and refuses what it
// refuses (Jellyfin.Api/Controllers/StartupController.cs, Auth/FirstTimeSetupPolicy,
// ServerSetupApp).
type fakeJellyfin struct {
	mu sync.Mutex
	// starting is how many requests are still answered by the server that stands in during a start.
	starting int
	// twelve refuses a second password of the first user, as Jellyfin 12 does.
	twelve bool
	// completing is called just before the set-up is completed, for who comes in between.
	completing func(*fakeJellyfin)

	name, password string // of the first user; no name: there is no user
	completed      bool
	remote         bool
	sessions       int
}

func (j *fakeJellyfin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if j.starting > 0 {
		j.starting--
		switch r.URL.Path {
		case "/health":
			_, _ = io.WriteString(w, "Degraded")
		case "/System/Info/Public":
			_, _ = io.WriteString(w, `{"StartupWizardCompleted":false}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	if strings.HasPrefix(r.URL.Path, "/Startup/") && j.completed {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	var fields map[string]any
	if len(body) > 0 && json.Unmarshal(body, &fields) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if status := j.answer(w, r, fields); status != http.StatusOK {
		w.WriteHeader(status)
	}
}

// answer writes a body with status 200, or returns another status.
func (j *fakeJellyfin) answer(w http.ResponseWriter, r *http.Request, fields map[string]any) int {
	text := func(key string) string { s, _ := fields[key].(string); return s }
	say := func(v any) int { _ = json.NewEncoder(w).Encode(v); return http.StatusOK }
	switch r.Method + " " + r.URL.Path {
	case "GET /health":
		_, _ = io.WriteString(w, "Healthy")
		return http.StatusOK
	case "GET /System/Info/Public":
		return say(map[string]any{"ServerName": "jellyfin", "StartupWizardCompleted": j.completed})
	case "GET /Startup/User":
		if j.name == "" {
			j.name = "MyJellyfinUser"
		}
		return say(map[string]any{"Name": j.name})
	case "POST /Startup/Configuration":
		if fields == nil {
			return http.StatusBadRequest
		}
	case "POST /Startup/User":
		switch {
		case j.name == "":
			return http.StatusNotFound
		case j.twelve && j.password != "":
			return http.StatusForbidden
		case strings.TrimSpace(text("Password")) == "":
			return http.StatusBadRequest
		}
		j.name, j.password = text("Name"), text("Password")
	case "POST /Startup/RemoteAccess":
		remote, one := fields["EnableRemoteAccess"].(bool)
		_, two := fields["EnableAutomaticPortMapping"].(bool)
		if !one || !two {
			return http.StatusBadRequest
		}
		j.remote = remote
	case "POST /Startup/Complete":
		if j.completing != nil {
			j.completing(j)
		}
		j.completed = true
	case "POST /Users/AuthenticateByName":
		if !fromClient(r) {
			return http.StatusBadRequest
		}
		if j.password == "" || text("Username") != j.name || text("Pw") != j.password {
			return http.StatusUnauthorized
		}
		j.sessions++
		return say(map[string]any{"AccessToken": "token", "User": map[string]any{"Policy": map[string]any{"IsAdministrator": true}}})
	case "POST /Sessions/Logout":
		if !fromClient(r) || !strings.HasSuffix(r.Header.Get("Authorization"), `, Token="token"`) {
			return http.StatusUnauthorized
		}
		j.sessions--
	default:
		return http.StatusNotFound
	}
	return http.StatusNoContent
}

// fromClient says whether the request names its client as Jellyfin wants it.
func fromClient(r *http.Request) bool {
	given := r.Header.Get("Authorization")
	for _, part := range []string{"MediaBrowser ", `Client="`, `Device="`, `DeviceId="`, `Version="`} {
		if !strings.Contains(given, part) {
			return false
		}
	}
	return true
}

// fakeInspect is Docker's program as far as homelab-jellyfin calls it. It notes what others could
// see of its caller.
const fakeInspect = `#!/bin/bash
home=$(dirname "$0")
{ cat "/proc/$PPID/cmdline" "/proc/$PPID/environ"; echo "$@"; env; } | tr '\0' '\n' >>"$home/seen"
case "$1 ${*: -1}" in
"inspect jellyfin") echo "127.0.0.1 " ;;
"exec "*echo*) [ ! -e "$home/mark" ] || echo marked ;;
"exec /config/.homelab-administrator") touch "$home/mark" ;;
*) echo "unknown command: $*" >&2; exit 64 ;;
esac
`

func TestJellyfinGetsItsAdministrator(t *testing.T) {
	var step deployed
	commands := deploy(t)
	for _, c := range commands {
		if c.resource == "jellyfin-administrator" {
			step = c
		}
	}
	words := strings.Fields(step.script)
	require.Len(t, words, 4)
	require.Equal(t, []string{"/opt/homelab/jellyfin/bin/homelab-jellyfin", "jellyfin", "8096", "admin"}, words)
	password := step.stdin
	require.Len(t, password, 32)
	program := files(t, commands)[words[0]]
	stranger := func(j *fakeJellyfin) { j.name, j.password = "stranger", "stranger's" }
	const theirs = "Jellyfin has an administrator that this deployment did not make"

	for name, c := range map[string]struct {
		jellyfin *fakeJellyfin
		marked   bool
		refused  string
	}{
		"a new one":                         {jellyfin: &fakeJellyfin{}},
		"one that is starting":              {jellyfin: &fakeJellyfin{starting: 3}},
		"one that is starting, and is ours": {jellyfin: &fakeJellyfin{starting: 3, name: "admin", password: password, completed: true}},
		"after an interrupted run":          {jellyfin: &fakeJellyfin{name: "admin", password: password}},
		"the same with Jellyfin 12":         {jellyfin: &fakeJellyfin{name: "admin", password: password, twelve: true}},
		"ours already":                      {jellyfin: &fakeJellyfin{name: "admin", password: password, completed: true}},
		"ours, with another password":       {jellyfin: &fakeJellyfin{name: "admin", password: "changed", completed: true}, marked: true},
		"a stranger's":                      {jellyfin: &fakeJellyfin{name: "stranger", password: "x", completed: true}, refused: theirs},
		"a stranger comes in between":       {jellyfin: &fakeJellyfin{completing: stranger}, refused: theirs},
		"a stranger was first, Jellyfin 12": {jellyfin: &fakeJellyfin{name: "stranger", password: "x", twelve: true}, refused: theirs},
	} {
		t.Run(name, func(t *testing.T) {
			j, dir := c.jellyfin, t.TempDir()
			server := httptest.NewServer(j)
			defer server.Close()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "homelab-jellyfin"), []byte(program), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(fakeInspect), 0o755))
			if c.marked {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "mark"), nil, 0o600))
			}
			port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
			run := func() (string, error) {
				cmd := exec.Command(filepath.Join(dir, "homelab-jellyfin"), words[1], port, words[3])
				cmd.Env, cmd.Stdin = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, strings.NewReader(password)
				said, err := cmd.CombinedOutput()
				return string(said), err
			}
			said, err := run()
			assert.NotContains(t, said, password)
			seen, readErr := os.ReadFile(filepath.Join(dir, "seen"))
			require.NoError(t, readErr)
			assert.NotContains(t, string(seen), password, "everybody on the machine could read it")
			assert.Zero(t, j.sessions, "a session was left behind")
			if c.refused != "" {
				require.Error(t, err)
				assert.Contains(t, said, c.refused)
				assert.NoFileExists(t, filepath.Join(dir, "mark"))
				return
			}
			require.NoError(t, err, said)
			assert.True(t, j.completed)
			assert.Equal(t, "admin", j.name)
			assert.FileExists(t, filepath.Join(dir, "mark"))
			if !c.marked {
				assert.Equal(t, password, j.password)
			}
			said, err = run()
			require.NoError(t, err, "a second time: %s", said)
		})
	}
}
