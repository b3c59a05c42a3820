//go:build host

package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	program = "/opt/homelab/backup/bin/homelab-backup"
	config  = "/opt/homelab/backup/config/borgmatic.yaml"
)

// TestBackup drives the deployment's own files with Debian's borgmatic, borg, sshd and sqlite3:
// nothing in them is changed but the box's host key, whose private half is Hetzner's.
func TestBackup(t *testing.T) {
	commands := deploy(t)
	m := newMachine(t)
	setup := m.install(t, commands)
	b := readJSON[box](t, m.at("/opt/homelab/backup/config/backup.json"))
	data := &services{m: m}
	data.make(t, b)
	password := setup[0].stdin
	require.Contains(t, setup[0].script, "install-key")
	key := m.serve(t, b, password)

	for _, step := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"another's host key is refused", func(t *testing.T) { m.refusesAnotherBox(t, setup[0]) }},
		{"our key is installed and opens nothing but the repository", func(t *testing.T) { m.installsKey(t, b, key, setup[0]) }},
		{"the repository is made once, and its key exported", func(t *testing.T) { m.preparesTwice(t, setup[1], setup[2]) }},
		{"the units are valid", func(t *testing.T) { m.verifiesUnits(t, commands) }},
		{"a backup while a database is written", func(t *testing.T) { m.backsUp(t, data, b) }},
		{"a restore drill", func(t *testing.T) { m.drills(t, data) }},
		{"who has the server cannot remove what is in the repository", func(t *testing.T) { m.resistsRansom(t, b) }},
		{"a missing database fails the backup and is recorded", m.missesNothing},
		{"a backup killed in the middle, and the next", m.survivesKill},
		{"the check finds a corrupted segment, and so does the drill", m.findsCorruption},
	} {
		if !t.Run(step.name, step.test) {
			return // each builds on the one before
		}
	}
}

// refusesAnotherBox has the pinned key of Hetzner's against a box that is not Hetzner's.
func (m *machine) refusesAnotherBox(t *testing.T, install deployed) {
	out, err := m.run(install.stdin, strings.Fields(strings.TrimPrefix(install.script, "sudo -n "))...)
	require.Error(t, err)
	assert.Contains(t, out, "Host key verification failed")
	assert.NotContains(t, out, install.stdin)
	assert.NoDirExists(t, m.at(boxHome+"/.ssh"))
}

func (m *machine) installsKey(t *testing.T, b box, key string, install deployed) {
	require.NoError(t, os.WriteFile(m.at("/opt/homelab/backup/config/known_hosts"), []byte("["+b.Server+"]:23 "+key+"\n"), 0o600))
	m.replay(t, install)
	m.replay(t, install) // again changes nothing
	authorized, err := os.ReadFile(m.at(boxHome + "/.ssh/authorized_keys"))
	require.NoError(t, err)
	assert.Equal(t, strings.Join(b.AuthorizedKeys, "\n")+"\n", string(authorized))
	leftovers, err := m.run("", "grep", "-rlF", "--", install.stdin, "/opt/homelab", "/run")
	require.Error(t, err, "the box's password lies in %s", leftovers)
	assert.Empty(t, m.must(t, "find", "/tmp", "-mindepth", "2", "-maxdepth", "2", "-name", "password", "-newer", m.at("/opt/homelab/backup/config/known_hosts")))

	ssh := []string{"-F", "/opt/homelab/backup/config/ssh_config"}
	login := b.Username + "@" + b.Server
	// Whatever is asked for, what runs is borg serve, which ends with its input.
	out, _ := m.run("", append(append([]string{"ssh", "-p", "23"}, ssh...), login, "id; touch broken-out")...)
	assert.NotContains(t, out, "uid=")
	assert.NoFileExists(t, m.at(boxHome+"/broken-out"))
	_, err = m.run("ls\n", append(append([]string{"sftp", "-P", "23", "-b", "-"}, ssh...), login)...)
	require.Error(t, err, "the key opens file transfer")
	out, err = m.run("", "env", "BORG_RSH=ssh "+strings.Join(ssh, " "), "borg", "init", "--encryption", "none", "ssh://"+login+":23/./other")
	require.Error(t, err, "the key opens another repository: %s", out)
	assert.NoDirExists(t, m.at(boxHome+"/other"))
}

func (m *machine) preparesTwice(t *testing.T, prepare, export deployed) {
	m.replay(t, prepare)
	first := m.replay(t, export)
	assert.Regexp(t, `^BORG_KEY [0-9a-f]{64}\n`, first)
	m.replay(t, prepare)
	assert.Equal(t, first, m.replay(t, export), "the repository was made anew")
	conf, err := os.ReadFile(m.at(boxHome + "/homelab/config"))
	require.NoError(t, err)
	assert.Contains(t, string(conf), "key = ", "the repository does not hold its key")
}

// verifiesUnits has systemd read the units; it runs none of them here.
func (m *machine) verifiesUnits(t *testing.T, commands []deployed) {
	folder := filepath.Join(m.dir, "units")
	require.NoError(t, os.Mkdir(folder, 0o755))
	var files []string
	for _, c := range commands {
		if name, ok := strings.CutPrefix(c.script, "sudo -n /usr/local/sbin/homelab-unit put "); ok && regexp.MustCompile(`^homelab-(backup|backup-watch|restore-drill)\.`).MatchString(name) {
			file := filepath.Join(folder, name)
			require.NoError(t, os.WriteFile(file, []byte(c.stdin), 0o644))
			files = append(files, file)
		}
	}
	require.Len(t, files, 6)
	out, err := m.run("", append([]string{"systemd-analyze", "verify", "--man=no"}, files...)...)
	require.NoError(t, err, "%s", out)
	assert.NotContains(t, out, folder)
	for _, file := range files {
		if filepath.Ext(file) == ".timer" {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			when := regexp.MustCompile(`(?m)^OnCalendar=(.+)$`).FindStringSubmatch(string(text))
			require.NotNil(t, when)
			m.must(t, "systemd-analyze", "calendar", when[1])
		}
	}
}

func (m *machine) backsUp(t *testing.T, data *services, b box) {
	stop := data.write(t)
	time.Sleep(300 * time.Millisecond)
	m.must(t, program, "run")
	stop()
	require.Len(t, m.archives(t), 1)
	known := m.known(t, "backup")
	assert.Equal(t, true, known["last_attempt_success"])
	assert.InDelta(t, float64(time.Now().Unix()), known["last_success_timestamp_seconds"], 300)
	assert.EqualValues(t, len(data.databases), known["databases"])
	assert.EqualValues(t, 1, known["undeclared_databases"])
	for _, f := range b.Folders {
		for _, database := range f.Databases {
			assert.NotEmpty(t, database)
		}
	}

	listing := m.borg(t, "list", "--short", "::"+m.archives(t)[0])
	for _, path := range []string{"opt/homelab/backup/secrets", "opt/homelab/backup/state", "opt/homelab/jellyfin/cache", "opt/homelab/caddy/logs"} {
		assert.NotContains(t, listing, path+"\n", "%s is in the archive", path)
	}
	for path := range data.databases {
		assert.NotContains(t, listing, strings.TrimPrefix(path, "/")+"\n", "the live %s is in the archive", path)
	}
	assert.Contains(t, listing, "opt/homelab/authelia/config/configuration.yml\n")
}

// drills restores, with what was written to the live files since then in place.
func (m *machine) drills(t *testing.T, data *services) {
	stop := data.write(t)
	defer stop()
	out := m.must(t, "/opt/homelab/backup/bin/homelab-restore-drill", "--keep")
	known := m.known(t, "restore-drill")
	assert.Equal(t, true, known["last_attempt_success"], out)
	assert.EqualValues(t, len(data.databases), known["databases"])
	assert.Greater(t, known["files_compared"], 30.0)

	scratch := "/opt/homelab/backup/scratch"
	type entry struct{ Path, Copy, SHA256 string }
	entries := readJSON[[]entry](t, m.at(scratch+"/opt/homelab/backup/databases/manifest.json"))
	require.Len(t, entries, len(data.databases))
	for _, e := range entries {
		copied, err := os.ReadFile(m.at(e.Copy))
		require.NoError(t, err)
		restored, err := os.ReadFile(m.at(scratch + e.Copy))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(copied, restored), "%s was not restored byte for byte", e.Path)
		assert.Equal(t, e.SHA256, fmt.Sprintf("%x", sha256.Sum256(restored)), e.Path)
		// The writer moves amounts from one row to another: a copy in the middle of that would not
		// add up.
		answer := m.must(t, "sqlite3", "-readonly", scratch+e.Copy, "PRAGMA integrity_check; PRAGMA user_version; SELECT sum(amount) FROM account;")
		assert.Equal(t, "ok\n42\n1000\n", answer, e.Path)
	}
	ours, err := os.ReadFile(m.at(data.photo))
	require.NoError(t, err)
	theirs, err := os.ReadFile(m.at(scratch + data.photo))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(ours, theirs), "%s was not restored byte for byte", data.photo)
	m.must(t, "/opt/homelab/backup/bin/homelab-restore-drill")
	assert.NoDirExists(t, m.at(scratch))
}

// resistsRansom does what somebody would who is root on the server: with the server's own key and
// passphrase, every archive is deleted, the repository is compacted, then deleted, and its key is
// overwritten. Not a byte of what was in it is gone: with what the attack appended cut off again,
// every archive is back. That is what one of the box's snapshots does, which the server cannot
// reach.
func (m *machine) resistsRansom(t *testing.T, b box) {
	m.must(t, program, "run")
	before := m.archives(t)
	require.Len(t, before, 2, "the server itself prunes nothing")
	segments := m.at(boxHome + "/homelab/data")
	contents := readAll(t, segments)
	require.NotEmpty(t, contents)
	snapshot := filepath.Join(m.dir, "snapshot")
	m.must(t, "cp", "-a", boxHome, snapshot)

	for _, archive := range before {
		m.borg(t, "delete", "::"+archive)
	}
	m.borg(t, "compact", "--threshold", "0")
	assert.Empty(t, m.archives(t))
	out, err := m.run("YES\n", program, "borg", "delete")
	require.Error(t, err)
	assert.Contains(t, out, "is in append-only mode")
	after := readAll(t, segments)
	for name, content := range contents {
		assert.True(t, bytes.HasPrefix(after[name], content), "%s lost what was in it", name)
	}

	// The segments alone, without what came later: borg reads them anew.
	for name := range after {
		if _, old := contents[name]; !old {
			require.NoError(t, os.Remove(filepath.Join(segments, name)))
		}
	}
	for name, content := range contents {
		require.NoError(t, os.WriteFile(filepath.Join(segments, name), after[name][:len(content)], 0o600))
	}
	for _, pattern := range []string{"hints.*", "index.*", "integrity.*"} {
		m.must(t, "sh", "-c", "rm -f "+boxHome+"/homelab/"+pattern)
	}
	m.must(t, "chown", "-R", "3000:3000", boxHome)
	m.must(t, "sh", "-c", "rm -rf /opt/homelab/backup/state/.cache /opt/homelab/backup/state/.config")
	out, err = m.run("", program, "borg", "list", "--short")
	require.NoError(t, err, out)
	assert.Equal(t, before, strings.Fields(out), "an archive is gone")
	m.must(t, "sh", "-c", "rm -rf "+boxHome+"/homelab && cp -a "+snapshot+"/homelab "+boxHome+"/")
	m.must(t, "/opt/homelab/backup/bin/homelab-restore-drill")
}

// readAll returns the files below a folder, by their path in it.
func readAll(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, folder+"/")] = content
		return err
	}))
	return out
}

func (m *machine) missesNothing(t *testing.T) {
	live := m.at("/opt/homelab/authelia/data/db.sqlite3")
	last := m.known(t, "backup")["last_success_timestamp_seconds"]
	require.NoError(t, os.Rename(live, live+".gone"))
	out, err := m.run("", program, "run")
	require.Error(t, err)
	assert.Contains(t, out, "declared databases are not there: /opt/homelab/authelia/data/db.sqlite3")
	known := m.known(t, "backup")
	assert.Equal(t, false, known["last_attempt_success"])
	assert.Equal(t, last, known["last_success_timestamp_seconds"], "a failure hides the last success")

	// A link to somebody else's database is no database.
	require.NoError(t, os.Symlink("/opt/homelab/crowdsec/data/crowdsec.db", live))
	_, err = m.run("", program, "run")
	require.Error(t, err)
	require.NoError(t, os.Remove(live))
	require.NoError(t, os.Rename(live+".gone", live))
	m.must(t, program, "run")
	assert.Equal(t, true, m.known(t, "backup")["last_attempt_success"])
}

func (m *machine) survivesKill(t *testing.T) {
	// Something that cannot be compressed, so that the create takes long enough to be hit.
	m.must(t, "sh", "-c", "head -c 400M /dev/urandom > /opt/homelab/jellyseerr/config/large")
	start := m.size(t)
	last := m.archives(t)
	run := m.command(t.Context(), "", program, "run")
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, run.Start())
	require.Eventually(t, func() bool { return m.size(t) > start+30<<20 }, time.Minute, 20*time.Millisecond, "nothing arrived at the box")
	require.NoError(t, syscall.Kill(-run.Process.Pid, syscall.SIGKILL))
	require.Error(t, run.Wait())
	// borg takes a lock for one of a living process until whatever holds it was buried.
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(-run.Process.Pid, 0), syscall.ESRCH) }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, last, m.archives(t), "the create was already done")

	m.must(t, "env", "SERVICE_RESULT=signal", program, "stopped")
	assert.Equal(t, false, m.known(t, "backup")["last_attempt_success"])
	m.must(t, program, "run")
	assert.Equal(t, true, m.known(t, "backup")["last_attempt_success"])
	m.must(t, "env", "HOME=/opt/homelab/backup/state", "borgmatic", "--config", config, "--syslog-verbosity", "-1", "check", "--force")
	m.must(t, "/opt/homelab/backup/bin/homelab-restore-drill")
}

func (m *machine) findsCorruption(t *testing.T) {
	largest, size := "", int64(0)
	require.NoError(t, filepath.WalkDir(m.at(boxHome+"/homelab/data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return nil
	}))
	file, err := os.OpenFile(largest, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("this was not written by borg"), size/2)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	// Without the verbosity borgmatic shows the end of what borg says alone: a list of what is lost,
	// which can be long.
	out, err := m.run("", "env", "HOME=/opt/homelab/backup/state", "borgmatic", "--config", config, "--syslog-verbosity", "-1", "--verbosity", "1", "check", "--force")
	require.Error(t, err, "%s", out)
	assert.Regexp(t, `errors found|(?i)integrity`, out)
	out, err = m.run("", "/opt/homelab/backup/bin/homelab-restore-drill")
	require.Error(t, err, "%s", out)
	known := m.known(t, "restore-drill")
	assert.Equal(t, false, known["last_attempt_success"])
	assert.Positive(t, known["last_success_timestamp_seconds"])
	assert.NoDirExists(t, m.at("/opt/homelab/backup/scratch"))
}

func (m *machine) borg(t *testing.T, words ...string) string {
	t.Helper()
	out, err := m.command(t.Context(), "", append([]string{program, "borg"}, words...)...).Output()
	var failed *exec.ExitError
	if err != nil && assert.ErrorAs(t, err, &failed) {
		require.NoError(t, err, "%s", failed.Stderr)
	}
	return string(out)
}

func (m *machine) archives(t *testing.T) []string {
	t.Helper()
	return strings.Fields(m.borg(t, "list", "--short"))
}

// size is what lies on the box, in bytes.
func (m *machine) size(t *testing.T) int64 {
	t.Helper()
	words := strings.Fields(m.must(t, "du", "--summarize", "--bytes", boxHome))
	size, err := strconv.ParseInt(words[0], 10, 64)
	require.NoError(t, err)
	return size
}

// known is what the program remembers of a job, from which homelab-metrics makes its series.
func (m *machine) known(t *testing.T, job string) map[string]any {
	t.Helper()
	return readJSON[map[string]any](t, m.at("/opt/homelab/backup/state/"+job+".json"))
}
