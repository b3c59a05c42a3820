//go:build host

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// block is one block of commands in docs/backup.md.
type block struct{ heading, where, script string }

// blocks are the document's, in order. Every block must say where it is to be run.
func blocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../../docs/backup.md")
	require.NoError(t, err)
	var out []block
	heading, open := "", false
	fence := regexp.MustCompile("^```(.*)$")
	for _, line := range strings.Split(string(text), "\n") {
		found := fence.FindStringSubmatch(line)
		switch {
		case found != nil && open:
			require.Empty(t, found[1])
			open = false
		case found != nil:
			language, where, _ := strings.Cut(found[1], " ")
			require.Equal(t, "sh", language)
			require.Contains(t, []string{"server", "laptop"}, where, "a block below %s does not say where it runs", heading)
			out, open = append(out, block{heading: heading, where: where}), true
		case open:
			out[len(out)-1].script += line + "\n"
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		}
	}
	require.False(t, open)
	require.Greater(t, len(out), 7)
	return out
}

// dockerFolder is where the machine's containers are.
const dockerFolder = "/srv/docker"

// containers is Docker's program as far as docs/backup.md and homelab-backup use it: containers
// have names and the folders that they bind, and run or do not.
const containers = `#!/bin/bash
set -euo pipefail
cd %s
each() { for c in *; do [[ $1 == all || -e $c/running ]] && echo "$c"; done; true; }
case "$*" in
"ps --quiet") each running ;;
"ps --quiet --all") each all ;;
"ps --filter volume="*" --format {{.Names}}")
	folder=${3#volume=}
	for c in $(each running); do grep -qx -- "$folder" "$c/mounts" && echo "$c"; done; true ;;
"stop "?*) shift; for c; do rm "$c/running"; done ;;
"start "?*) shift; for c; do [[ -d $c ]]; touch "$c/running"; done ;;
*) echo "docker: unknown command: $*" >&2; exit 64 ;;
esac
`

// oneUnit is systemctl, as far as homelab-unit starts the backup with it.
const oneUnit = `#!/bin/bash
case "$*" in
"enable --quiet homelab-backup.service" | "reset-failed homelab-backup.service") ;;
"restart homelab-backup.service") exec /opt/homelab/backup/bin/homelab-backup run ;;
*) echo "systemctl: unknown command: $*" >&2; exit 64 ;;
esac
`

// TestTheBackupsDocumentIsRight follows docs/backup.md word for word.
func TestTheBackupsDocumentIsRight(t *testing.T) {
	w := simulate(t, nil)
	r := newRestore(t, w)
	var laptop []block
	for _, b := range blocks(t) {
		if b.where == "laptop" {
			laptop = append(laptop, b)
			continue
		}
		t.Run(b.heading, func(t *testing.T) { r.follow(t, b) })
		if t.Failed() {
			return
		}
	}
	t.Run("the server lets its user do nothing else", r.refuses)
	t.Run("from your own computer", func(t *testing.T) { r.fromLaptop(t, w, laptop) })
}

// restore is a machine with a backup, and somebody who restores it.
type restore struct {
	*machine
	data          *services
	repositoryKey string
	boxKey        string
	server        string
	blocks        int
	containers    int // how many the machine has
}

func newRestore(t *testing.T, w *workspace.Simulation) *restore {
	t.Helper()
	all := commands(w)
	m := newMachine(t)
	setup := m.install(t, all)
	b := readJSON[box](t, m.at("/opt/homelab/backup/config/backup.json"))
	r := &restore{machine: m, data: &services{m: m}, server: b.Server}
	r.data.make(t, b)
	r.boxKey = m.serve(t, b, setup[0].stdin)
	require.NoError(t, os.WriteFile(m.at("/opt/homelab/backup/config/known_hosts"), []byte("["+b.Server+"]:23 "+r.boxKey+"\n"), 0o600))
	m.replay(t, setup[0])
	m.replay(t, setup[1])
	r.repositoryKey = m.replay(t, setup[2])

	m.addLine(t, "/etc/passwd", "deploy:x:4000:4000::/tmp:/bin/bash")
	m.addLine(t, "/etc/group", "deploy:x:4000:")
	m.addLine(t, "/etc/shadow", "deploy:!:19000:0:99999:7:::")
	m.must(t, "mount", "-t", "tmpfs", "-o", "mode=755", "sudoers", "/etc/sudoers.d")
	boot := bootFiles(t, w.World().Machines()[0].UserData)
	require.NoError(t, os.WriteFile(m.at("/etc/sudoers.d/homelab"), []byte(boot["/etc/sudoers.d/homelab"]), 0o440))

	engine := m.at(dockerFolder)
	mounts := bindMounts(t, w)
	r.containers = len(mounts)
	for name, mounts := range mounts {
		require.NoError(t, os.MkdirAll(filepath.Join(engine, name), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(engine, name, "mounts"), []byte(strings.Join(mounts, "\n")+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(engine, name, "running"), nil, 0o644))
	}
	m.must(t, "chown", "-R", "4000:4000", dockerFolder)
	require.NoError(t, os.WriteFile(m.at("/usr/local/sbin/docker"), []byte(fmt.Sprintf(containers, dockerFolder)), 0o755))
	require.NoError(t, os.WriteFile(m.at("/usr/local/sbin/systemctl"), []byte(oneUnit), 0o755))
	return r
}

// bindMounts are the folders that each container binds.
func bindMounts(t *testing.T, w *workspace.Simulation) map[string][]string {
	t.Helper()
	deployment, err := w.Deployment()
	require.NoError(t, err)
	out := map[string][]string{}
	for _, r := range deployment.Resources {
		if r.Type != "docker:index/container:Container" {
			continue
		}
		name, _ := r.Inputs["name"].(string)
		list, _ := r.Inputs["mounts"].([]any)
		for _, m := range list {
			if source, ok := m.(map[string]any)["source"].(string); ok {
				out[name] = append(out[name], source)
			}
		}
	}
	require.Contains(t, out, "jellyfin") // which the document restores
	require.Greater(t, len(out), 6, "the gateway's four, and more than two services")
	return out
}

// asDeploy runs a script as the user of the deployment.
func (r *restore) asDeploy(script string) (string, error) {
	return r.run("", "setpriv", "--reuid", "4000", "--regid", "4000", "--clear-groups", "env", "-i", "PATH="+machinePath, "HOME=/tmp", "bash", "-ec", script)
}

// follow runs a block of the server's, with the damage that calls for it before, and a look at the
// result after it.
func (r *restore) follow(t *testing.T, b block) {
	r.blocks++
	live := "/opt/homelab/jellyfin/config"
	switch {
	case strings.Contains(b.script, "restore jellyfin/config"):
		said, err := r.asDeploy("sudo homelab-file backup restore jellyfin/config")
		require.Error(t, err)
		assert.Contains(t, said, "nothing was fetched")
		for _, path := range r.databases(live) {
			require.NoError(t, os.WriteFile(r.at(path), []byte("not a database"), 0o644))
			require.NoError(t, os.WriteFile(r.at(path+"-wal"), []byte("of another time"), 0o644))
		}
		require.NoError(t, os.Remove(r.at(r.data.photo)))
	case strings.Contains(b.script, "restore all"):
		for path := range r.data.databases {
			require.NoError(t, os.RemoveAll(filepath.Dir(r.at(path))))
		}
	}
	said, err := r.asDeploy(b.script)
	require.NoError(t, err, "%s\n%s", b.script, said)
	switch {
	case strings.Contains(b.script, "backup archives"):
		assert.Regexp(t, `homelab-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\n`, said)
	case strings.Contains(b.script, "restore jellyfin/config"):
		r.requireWhole(t, r.databases(live))
		assert.FileExists(t, r.at(r.data.photo))
		assert.FileExists(t, r.at(dockerFolder+"/jellyfin/running"))
		kept, err := filepath.Glob(r.at("/opt/homelab/backup/replaced/*/jellyfin/config"))
		require.NoError(t, err)
		assert.Len(t, kept, 1, "what was there before is gone")
	case strings.Contains(b.script, "restore all"):
		r.requireWhole(t, r.databases("/opt/homelab"))
		running, err := filepath.Glob(r.at(dockerFolder + "/*/running"))
		require.NoError(t, err)
		assert.Len(t, running, r.containers)
	}
	if strings.Contains(b.script, "backup clean") {
		assert.NoDirExists(t, r.at("/opt/homelab/backup/scratch"))
		assert.NoDirExists(t, r.at("/opt/homelab/backup/replaced"))
	}
}

// databases are the services' databases below a folder.
func (r *restore) databases(folder string) []string {
	var out []string
	for path := range r.data.databases {
		if strings.HasPrefix(path, folder+"/") {
			out = append(out, path)
		}
	}
	return out
}

// requireWhole checks that databases are what they were, and belong to their folder's owner, who
// can open them.
func (r *restore) requireWhole(t *testing.T, paths []string) {
	t.Helper()
	require.NotEmpty(t, paths)
	for _, path := range paths {
		assert.NoFileExists(t, r.at(path+"-wal"))
		info, err := os.Stat(r.at(path))
		require.NoError(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		folder, err := os.Stat(filepath.Dir(r.at(path)))
		require.NoError(t, err)
		assert.Equal(t, folder.Sys().(*syscall.Stat_t).Uid, owner.Uid, path)
		answer := r.must(t, "setpriv", "--reuid", fmt.Sprint(owner.Uid), "--regid", fmt.Sprint(owner.Gid), "--clear-groups",
			"sqlite3", path, "PRAGMA integrity_check; PRAGMA user_version; SELECT sum(amount) FROM account;")
		assert.Equal(t, "ok\n42\n1000\n", answer, path)
	}
}

// refuses tries what a restore does not need.
func (r *restore) refuses(t *testing.T) {
	said, err := r.asDeploy("sudo homelab-file backup fetch latest && sudo homelab-file backup restore jellyfin/config")
	require.Error(t, err)
	assert.Contains(t, said, "stop what uses it first: docker stop jellyfin")
	for script, want := range map[string]string{
		"sudo homelab-file backup restore backup/secrets":      "is not a folder that the backup keeps; there are: authelia/data",
		"sudo homelab-file backup restore ../../etc":           "is not a folder such as jellyfin/config",
		"sudo homelab-file backup restore jellyfin/cache":      "is not a folder that the backup keeps",
		"sudo homelab-file backup fetch '::homelab-1 /'":       "is not an archive's name",
		"sudo homelab-file backup fetch homelab-2020-01-01":    "homelab-2020-01-01",
		"sudo homelab-file backup run":                         "is not for a deployment",
		"sudo homelab-file backup borg list":                   "takes no argument",
		"sudo -n /opt/homelab/backup/bin/homelab-backup clean": "password is required",
		"sudo -n cat /opt/homelab/backup/secrets/passphrase":   "password is required",
		"cat /opt/homelab/backup/secrets/passphrase":           "Permission denied",
	} {
		said, err := r.asDeploy(script)
		require.Error(t, err, script)
		assert.Contains(t, said, want, script)
	}
	said, err = r.asDeploy("sudo homelab-file backup clean")
	require.NoError(t, err, said)
}

// fromLaptop runs the blocks of the operator's own computer in one shell, with the real Pulumi CLI
// on the simulated stack. Only what the real clouds would have answered comes from the test: the
// box's host key, and what the machine printed as the repository's key.
func (r *restore) fromLaptop(t *testing.T, w *workspace.Simulation, laptop []block) {
	require.Len(t, laptop, 5)
	r.must(t, program, "run")
	r.must(t, program, "run")
	require.Len(t, r.archives(t), 3)
	cli, err := toolchain.Pulumi(t.Context(), os.Stderr)
	require.NoError(t, err)
	home := filepath.Join(r.dir, "laptop")
	require.NoError(t, os.Mkdir(home, 0o700))
	for name, content := range map[string]string{"known_hosts": "[" + r.server + "]:23 " + r.boxKey, "repository-key": r.repositoryKey} {
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte(content), 0o600))
	}
	wrapper := "#!/bin/sh\ncase \"$*\" in\n'stack output backupKnownHosts') exec cat " + home + "/known_hosts ;;\n" +
		"'stack output --show-secrets backupRepositoryKey') exec cat " + home + "/repository-key ;;\nesac\nexec " + cli + " \"$@\" --stack " + w.Stack() + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(home, "pulumi"), []byte(wrapper), 0o755))
	script := ""
	for _, b := range laptop {
		switch {
		case strings.Contains(b.script, "key import"):
			script += `python3 - <<'END'
import configparser
path = "/srv/box/homelab/config"
config = configparser.ConfigParser(interpolation=None)
config.read(path)
config.set("repository", "key", "YmFkIGtleQ==")
with open(path, "w") as file:
    config.write(file)
END
chown 3000:3000 /srv/box/homelab/config
if borg list; then echo "the key was not damaged"; exit 1; fi
`
		case strings.Contains(b.script, "rm -rf"):
			script += "test -s opt/homelab/backup/databases/manifest.json\ntest \"$(stat -c %a \"$folder\")\" = 700\n"
		}
		script += b.script
	}
	script += "test ! -e \"$folder\"\n"
	dir := w.Dir()
	said, err := r.run("", "env", "-i", "PATH="+home+":"+machinePath, "HOME="+home, "PULUMI_BACKEND_URL=file://"+filepath.Join(dir, "backend"),
		"PULUMI_CONFIG_PASSPHRASE_FILE="+filepath.Join(dir, "passphrase"), "PULUMI_SKIP_UPDATE_CHECK=true", "PULUMI_HOME="+filepath.Join(dir, "home"),
		"bash", "-ec", "cd "+dir+"\n"+script)
	require.NoError(t, err, said)
	assert.Contains(t, said, "Keeping archive")
	assert.Len(t, r.archives(t), 2, "the newest of the day, and the oldest of all")
	r.must(t, "/opt/homelab/backup/bin/homelab-restore-drill")
}
