package media

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/qualityprofile"
)

// chosen are profiles of the guides by their templates.
func chosen(t *testing.T, radarr, sonarr []string) map[string][]qualityprofile.Profile {
	t.Helper()
	out := map[string][]qualityprofile.Profile{}
	for service, templates := range map[string][]string{qualityprofile.Radarr: radarr, qualityprofile.Sonarr: sonarr} {
		for _, template := range templates {
			p, ok := qualityprofile.Find(service, template)
			require.True(t, ok, template)
			out[service] = append(out[service], p)
		}
	}
	return out
}

func TestRecyclarrConfig(t *testing.T) {
	profiles := chosen(t, []string{"uhd-bluray-web", "radarr-anime-remux-1080p"}, []string{"web-1080p"})
	text, err := renderRecyclarr(map[string]string{"radarr": "http://radarr:7878", "sonarr": "http://sonarr:8989"}, profiles)
	require.NoError(t, err)
	golden.Equal(t, "recyclarr.yml", []byte(text))

	text, err = renderRecyclarr(map[string]string{"sonarr": "http://sonarr:8989"}, profiles)
	require.NoError(t, err)
	assert.NotContains(t, text, "radarr")
}

// What is not asked for is neither used nor given.
func TestRecyclarrUsesWhatItWritesTo(t *testing.T) {
	both := Recyclarr(chosen(t, []string{"hd-bluray-web"}, []string{"web-1080p"}))
	require.NoError(t, both.Validate())
	assert.Len(t, both.Uses, 2)
	assert.Len(t, both.Files, 4)
	one := Recyclarr(chosen(t, nil, []string{"web-1080p"}))
	require.NoError(t, one.Validate())
	require.Len(t, one.Uses, 1)
	assert.Equal(t, "sonarr", one.Uses[0].Name())
	require.Len(t, one.Files, 3)
	assert.Equal(t, "/run/secrets/sonarr-api-key", one.Files[0].Target)
	for _, d := range Catalog() {
		assert.NotEqual(t, d.Slot, one.Slot, d.Name)
	}
	assert.NotEqual(t, wireSlot, one.Slot)
}

// loop is the program, with a recyclarr that succeeds only where there is a file "works", and a
// sleep that ends the program.
type loop struct{ program, dir string }

func newLoop(t *testing.T) loop {
	dir := t.TempDir()
	l := loop{filepath.Join(dir, "homelab-recyclarr"), dir}
	l.write(t, "homelab-recyclarr", strings.ReplaceAll(string(recyclarrLoop), "/tmp/written", filepath.Join(dir, "written")))
	l.write(t, "recyclarr", "#!/bin/sh\necho \"$@\" >>"+dir+"/calls\ntest -e "+dir+"/works\n")
	l.write(t, "sleep", "#!/bin/sh\necho \"$1\" >>"+dir+"/pauses\nkill $PPID\n")
	return l
}

func (l loop) write(t *testing.T, base, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, base), []byte(text), 0o755))
}

func (l loop) read(t *testing.T, base string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, base))
	require.NoError(t, err)
	return string(text)
}

func (l loop) run(t *testing.T, word string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", l.program, word)
	cmd.Env = []string{"PATH=" + l.dir + ":" + os.Getenv("PATH")}
	return cmd.Run()
}

// It is healthy only after a success, and no longer than a day and two hours.
func TestRecyclarrLoop(t *testing.T) {
	l := newLoop(t)
	require.Error(t, l.run(t, "check"), "nothing was written yet")
	require.Error(t, l.run(t, "run"))
	require.Error(t, l.run(t, "check"), "it failed")
	assert.Equal(t, "120\n", l.read(t, "pauses"))
	assert.Equal(t, "sync --config /etc/recyclarr/recyclarr.yml --log\n", l.read(t, "calls"))

	l.write(t, "works", "")
	require.Error(t, l.run(t, "run"))
	require.NoError(t, l.run(t, "check"))
	assert.Equal(t, "120\n86400\n", l.read(t, "pauses"))

	for hours, healthy := range map[int]bool{25: true, 27: false} {
		at := time.Now().Add(-time.Duration(hours) * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(l.dir, "written"), at, at))
		assert.Equal(t, healthy, l.run(t, "check") == nil, "%d hours", hours)
	}
	require.Error(t, l.run(t, "other"))
}
