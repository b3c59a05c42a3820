package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, &out, &errs)
	for _, secret := range fake.Secrets() {
		assert.NotContains(t, out.String()+errs.String(), secret)
	}
	return code, out.String(), errs.String()
}

func write(t *testing.T, plan map[string]any) string {
	t.Helper()
	data, err := json.Marshal(plan)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func TestOnce(t *testing.T) {
	stack := fake.New(t)
	plan, state := write(t, stack.Plan()), t.TempDir()
	once := func(more ...string) (int, string, string) {
		return run(t, append([]string{"once", "--plan", plan, "--state", state, "--patience", "1ms"}, more...)...)
	}
	code, stdout, _ := once("--check")
	assert.Equal(t, ExitDiffers, code)
	assert.Contains(t, stdout, "jellyfin: would change: API key homelab added; API key radarr added; "+
		"API key sonarr added; library Movies added")
	assert.Empty(t, stack.Writes())
	entries, err := os.ReadDir(state)
	require.NoError(t, err)
	assert.Empty(t, entries, "a check writes no state either")

	code, stdout, stderr := once()
	assert.Equal(t, ExitOK, code, stderr)
	assert.Contains(t, stdout, "; library Movies added; library Series added\n")
	code, stdout, _ = once("--check")
	assert.Equal(t, ExitOK, code)
	assert.Contains(t, stdout, "sonarr: nothing to do\n")

	stack.Radarr.Set("naming", "renameMovies", false)
	code, stdout, _ = once("--check", "--json")
	assert.Equal(t, ExitDiffers, code)
	var report struct {
		Check bool
		Apps  []struct {
			App   string
			Drift []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	assert.True(t, report.Check)
	assert.Equal(t, "radarr", report.Apps[2].App)
	assert.Equal(t, []string{"naming.renameMovies was changed by hand to false (the settings say true)"},
		report.Apps[2].Drift)
	code, _, _ = once()
	assert.Equal(t, ExitOK, code, "a change by hand is no failure")

	stack.Radarr.SetKey("another")
	code, stdout, stderr = once("--check")
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stdout, "radarr: problem: refuses its API key (401)")
	assert.Contains(t, stderr, "something could not be done")
}

func TestWarningsAreNoFailure(t *testing.T) {
	stack := fake.New(t)
	stack.Prowlarr.SetSiteDown("1337x", true)
	args := []string{"once", "--plan", write(t, stack.Plan()), "--state", t.TempDir(), "--patience", "1ms"}
	code, stdout, stderr := run(t, args...)
	assert.Equal(t, ExitOK, code, stderr)
	assert.Contains(t, stdout, "prowlarr: warning: the indexer 1337x does not answer: ")
	code, stdout, _ = run(t, append(args, "--json")...)
	assert.Equal(t, ExitOK, code)
	var report struct{ Apps []struct{ Warnings []string } }
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	assert.Len(t, report.Apps[5].Warnings, 1)
	code, _, _ = run(t, append(args, "--check")...)
	assert.Equal(t, ExitOK, code)
}

func TestBadPlan(t *testing.T) {
	for _, command := range []string{"once", "run"} {
		code, _, stderr := run(t, command, "--plan", write(t, map[string]any{"version": 2, "radar": 1}),
			"--state", t.TempDir())
		assert.Equal(t, ExitPlan, code)
		assert.Contains(t, stderr, "version: must be 1")
		assert.Contains(t, stderr, "radar: unknown field")
		code, _, _ = run(t, command, "--plan", "/not/there", "--state", t.TempDir())
		assert.Equal(t, ExitProblem, code)
	}
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
	code, stdout, stderr := run(t, "healthy", "--url", server.URL)
	assert.Equal(t, ExitProblem, code)
	assert.Equal(t, "how it is\n", stdout)
	assert.Contains(t, stderr, "answers 503")
	server.Close()
	code, _, _ = run(t, "healthy", "--url", server.URL)
	assert.Equal(t, ExitProblem, code)
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"once", "--help"}, {"healthy", "--help"}} {
		code, stdout, _ := run(t, args...)
		assert.Equal(t, ExitOK, code)
		assert.Contains(t, stdout, "Usage:")
	}
	code, _, stderr := run(t, "twice")
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, "unknown command")
	code, _, stderr = run(t, "run", "--every", "0s")
	assert.Equal(t, ExitProblem, code)
	assert.Contains(t, stderr, "--every")
}
