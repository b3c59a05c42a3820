package backup

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"homelab/components/host"
	"homelab/components/storage"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run: go test ./components/backup -update")
	assert.Equal(t, string(want), got)
}

func example() model {
	return model{
		Server: "u100001-sub1.your-storagebox.de", Username: "u100001-sub1", PublicKey: "ssh-ed25519 AAAAexample", PruneKey: "ssh-ed25519 AAAAprune",
		Folders: []host.Data{
			{Folder: "/opt/homelab/authelia/data", Databases: []string{"db.sqlite3"}},
			{Folder: "/opt/homelab/caddy/data"},
			{Folder: "/opt/homelab/jellyfin/cache", Disposable: "made again"},
		},
	}
}

func TestFiles(t *testing.T) {
	m := example()
	borgmatic, err := m.borgmatic()
	require.NoError(t, err)
	golden(t, "borgmatic.yaml", string(borgmatic))
	facts, err := m.facts()
	require.NoError(t, err)
	golden(t, "backup.json", string(facts))
	golden(t, "known_hosts", storage.KnownHosts(m.Server))
	config, err := renderSSHConfig()
	require.NoError(t, err)
	golden(t, "ssh_config", config)
	for _, j := range jobs(Schedule{Hour: 22, Minute: 5, JitterMinutes: 30, DrillDay: 2}) {
		for _, kind := range []string{"service", "timer"} {
			unit, err := render("job."+kind+".tmpl", j)
			require.NoError(t, err)
			golden(t, j.Name+"."+kind, unit)
		}
	}
}

// The same folder is never both left out and relied on.
func TestOnlyDisposableFoldersAreLeftOut(t *testing.T) {
	rendered, err := example().borgmatic()
	require.NoError(t, err)
	var config borgmaticConfig
	require.NoError(t, yaml.Unmarshal(rendered, &config))
	assert.Equal(t, []string{host.Root}, config.Location.SourceDirectories)
	assert.Equal(t, []string{
		"pp:/opt/homelab/backup/replaced", "pp:/opt/homelab/backup/scratch", "pp:/opt/homelab/backup/secrets", "pp:/opt/homelab/backup/state", "pp:/opt/homelab/jellyfin/cache",
	}, config.Location.ExcludePatterns)
}

// The fingerprints are those of port 23; the last one, ECDSA, is what every box shows beside the
// two that Hetzner publishes.
func TestTheBoxesKeysAreTheOnesThatHetznerPublishes(t *testing.T) {
	var fingerprints []string
	for rest := []byte(storage.KnownHosts("box.example")); len(rest) > 0; {
		_, hosts, key, _, more, err := ssh.ParseKnownHosts(rest)
		require.NoError(t, err)
		assert.Equal(t, []string{"[box.example]:23"}, hosts)
		fingerprints = append(fingerprints, ssh.FingerprintSHA256(key))
		rest = more
	}
	assert.Equal(t, []string{
		"SHA256:XqONwb1S0zuj5A1CDxpOSuD2hnAArV1A3wKY7Z3sdgM", "SHA256:EMlfI8GsRIfpVkoW1H2u0zYVpFGKkIMKHFZIRkf2ioI",
		"SHA256:oDHZqKXnoMtgvPBjjC57pcuFez28roaEuFcfwyg8O5c",
	}, fingerprints)
}

// The server's key appends, and nothing that it runs would prune.
func TestOnlyTheOperatorsKeyRemovesArchives(t *testing.T) {
	keys := example().authorizedKeys()
	require.Len(t, keys, 2)
	assert.Equal(t, `command="borg-1.4 serve --append-only --restrict-to-path homelab",restrict ssh-ed25519 AAAAexample`, keys[0])
	assert.Equal(t, `command="borg-1.4 serve --restrict-to-path homelab",restrict ssh-ed25519 AAAAprune`, keys[1])
	body, err := script("homelab-backup")
	require.NoError(t, err)
	assert.NotContains(t, body, `"prune"`)
	assert.NotContains(t, body, `"compact"`)
	assert.Equal(t, "--keep-daily=7 --keep-weekly=4 --keep-monthly=6", Retention{Daily: 7, Weekly: 4, Monthly: 6}.pruneOptions())
}

func TestTheProgramKnowsThePlaces(t *testing.T) {
	body, err := script("homelab-backup")
	require.NoError(t, err)
	for _, line := range []string{
		`ROOT = pathlib.Path("` + host.Root + `")`, `HOME = ROOT / "` + strings.TrimPrefix(home, host.Root+"/") + `"`,
		`CONFIG, SETTINGS, SSH_CONFIG = HOME / "` + below(configFile) + `", HOME / "` + below(factsFile) + `", HOME / "` + below(sshConfig) + `"`,
		`HOME / "` + below(state) + `"`, `HOME / "` + below(scratch) + `"`,
		`REPLACED = HOME / "` + below(replaced) + `"`,
		`LIVE_DATABASES = STATE / "` + strings.TrimPrefix(liveDatabases, state+"/") + `"`,
	} {
		assert.Contains(t, body, line)
	}
	for _, verb := range []string{"install-key", "prepare", "export-key", "databases", "run", "stopped", "drill", "archives", "fetch", "restore", "clean", "overdue"} {
		assert.Contains(t, body, `"`+verb+`"`, "the program has no verb %s", verb)
	}
	shell, err := script("homelab-restore-drill")
	require.NoError(t, err)
	assert.Contains(t, shell, "exec "+program+" drill ")
}

func below(path string) string { return strings.TrimPrefix(path, home+"/") }

func TestArgsAreChecked(t *testing.T) {
	good := func() *Args {
		return &Args{Retention: Retention{Daily: 1}, Schedule: Schedule{DrillDay: 1}}
	}
	missing := good().Validate()
	require.Error(t, missing)
	assert.ErrorContains(t, missing, "backup: no host")
	assert.ErrorContains(t, missing, "backup: no storage box")
	for want, change := range map[string]func(*Args){
		"0 daily archives":               func(a *Args) { a.Retention.Daily = 0 },
		"a retention cannot be negative": func(a *Args) { a.Retention.Weekly = -1 },
		"no such time of day: 24:00":     func(a *Args) { a.Schedule.Hour = 24 },
		"no such time of day: 00:60":     func(a *Args) { a.Schedule.Minute = 60 },
		"a jitter of 181 minutes":        func(a *Args) { a.Schedule.JitterMinutes = 181 },
		"day 29 does not exist":          func(a *Args) { a.Schedule.DrillDay = 29 },
	} {
		a := good()
		assert.NotContains(t, a.Validate().Error(), want)
		change(a)
		assert.ErrorContains(t, a.Validate(), want)
	}
}
