//go:build host

package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where the machine's metrics are.
const (
	metricsProgram = "../../components/host/files/metrics/homelab-metrics"
	metricsGolden  = "../../components/host/testdata/metrics.json.golden"
	theSeriesFile  = "/opt/homelab/metrics/homelab.prom"
)

// theScope is the control group that Docker and systemd make for a container.
const theScope = "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope"

// groups is the file in which the kernel says which control groups a process is in: here of this
// process, which the containers of Docker's stand-in are.
func groups() string { return fmt.Sprintf("/proc/%d/cgroup", os.Getpid()) }

// series are what a file says, by name and labels as they are written.
type series map[string]float64

// readSeries reads the text format, and has promtool judge it: its names, its help, that nothing is
// there twice.
func readSeries(t *testing.T, file string) series {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	judge := exec.Command("promtool", "check", "metrics")
	judge.Stdin = bytes.NewReader(text)
	said, err := judge.CombinedOutput()
	require.NoError(t, err, "%s\n%s", said, text)
	require.Empty(t, string(said))
	out := series{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		require.NoError(t, err, line)
		require.NotContains(t, out, line[:at])
		out[line[:at]] = value
	}
	return out
}

// failed are the parts that were not measured.
func (s series) failed() []string {
	out := []string{}
	for name, value := range s {
		if m := regexp.MustCompile(`^homelab_metrics_part_failed\{part="(\w+)"\}$`).FindStringSubmatch(name); m != nil && value == 1 {
			out = append(out, m[1])
		}
	}
	return out
}

// names are the series without their labels, as in the list that the program has.
func (s series) names() map[string]bool {
	out := map[string]bool{}
	for name := range s {
		name, _, _ = strings.Cut(name, "{")
		out[name] = true
	}
	return out
}

// metricsSettings are the settings that the deployment renders, as the unit tests of the component
// compare them, with changes.
func metricsSettings(t *testing.T, changes map[string]any) map[string]any {
	t.Helper()
	settings := readJSON[map[string]any](t, metricsGolden)
	for key, value := range changes {
		require.Contains(t, settings, key)
		settings[key] = value
	}
	return settings
}

func writeJSON(t *testing.T, path string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
}

// forget makes what a part remembers older, so that it asks again.
func forget(t *testing.T, cache, part string) {
	t.Helper()
	memory := readJSON[map[string]map[string]any](t, cache+"/memory.json")
	memory[part]["asked"] = memory[part]["asked"].(float64) - 7*3600
	writeJSON(t, cache+"/memory.json", memory)
}

// strictDocker stands in for Docker's program where a test is about an answer of it that the real
// one does not give when asked to.
const strictDocker = `#!/bin/sh
case "$*" in
'container ls --all --quiet --no-trunc') cat /srv/docker/list ;;
"container inspect $(paste -sd ' ' /srv/docker/list)") cat /srv/docker/inspect ;;
'exec gluetun cat /tmp/gluetun/forwarded_port') cat /srv/docker/port ;;
'exec gluetun wget -q -T 4 -O - https://1.1.1.1/cdn-cgi/trace') echo asked >>/srv/docker/asked; cat /srv/docker/trace ;;
*) echo "unknown command: $*" >&2; exit 64 ;;
esac
`

// strictTailscale stands in for Tailscale's program, which needs its service and an account. The
// answer's fields are those of ipnstate.Status at v1.98.
const strictTailscale = `#!/bin/sh
[ "$*" = "status --json --peers=false" ] || { echo "unknown command: $*" >&2; exit 64; }
cat /srv/tailscale.json
`

// tailnetAnswer is what Tailscale says of itself, as far as it matters.
func tailnetAnswer(state string, online bool, expiry string) string {
	own := map[string]any{"HostName": "homelab-a1b2c3", "TailscaleIPs": []string{machinesTail}, "Online": online}
	if expiry != "" {
		own["KeyExpiry"] = expiry
	}
	text, _ := json.Marshal(map[string]any{"Version": "1.98.2", "BackendState": state, "Self": own})
	return string(text)
}

// measured is the machine with what homelab-metrics asks.
type measured struct {
	*machine
	settings map[string]any
}

func newMeasured(t *testing.T) *measured {
	t.Helper()
	m := &measured{machine: newMachine(t)}
	m.startSystemd(t)
	m.must(t, "install", "-d", "/opt/homelab/state", "/opt/homelab/metrics", "/opt/homelab/backup/state", "/srv/docker", "/srv/cache")
	program, err := os.ReadFile(metricsProgram)
	require.NoError(t, err)
	m.put(t, "/opt/homelab/state/homelab-metrics", string(program))
	m.put(t, "/usr/local/sbin/docker", strictDocker)
	m.put(t, "/usr/local/sbin/tailscale", strictTailscale)
	m.must(t, "mount", "-t", "tmpfs", "mnt", "/mnt")
	m.must(t, "install", "-d", "/mnt/storagebox", "/mnt/downloads")
	m.must(t, "mount", "-t", "tmpfs", "-o", "size=64M", "downloads", "/mnt/downloads")
	m.settings = metricsSettings(t, map[string]any{"downloads": "/mnt/downloads"})
	require.Equal(t, theSeriesFile, m.settings["output"])
	m.put(t, "/srv/cgroup", "1:name=systemd:/elsewhere\n0::"+theScope+"\n")
	m.must(t, "mount", "--bind", "/srv/cgroup", groups())
	m.must(t, "ip", "link", "add", "tailscale0", "type", "bridge") // this kernel may have no other device without a peer
	m.must(t, "ip", "link", "add", "public", "type", "bridge")
	m.must(t, "ip", "address", "add", machinesPublic+"/32", "dev", "public")
	return m
}

// put writes a program or another file on the machine.
func (m *measured) put(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(m.at(path), []byte(content), 0o755))
}

// measure runs the program as its unit does, and returns what it wrote and said.
func (m *measured) measure(t *testing.T) (series, string) {
	t.Helper()
	writeJSON(t, m.at("/opt/homelab/state/metrics.json"), m.settings)
	require.NoError(t, os.RemoveAll(m.at(theSeriesFile)))
	begun := time.Now()
	said, err := m.run("", "env", "-i", "PATH="+machinePath, "APT_CONFIG=/srv/apt/apt.conf", "CACHE_DIRECTORY=/srv/cache",
		"/opt/homelab/state/homelab-metrics", "write", "/opt/homelab/state/metrics.json")
	require.NoError(t, err, said)
	require.Less(t, time.Since(begun), 10*time.Second, said)
	info, err := os.Stat(m.at(theSeriesFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm())
	return readSeries(t, m.at(theSeriesFile)), said
}

// addPackages makes apt's world: the lists of two repositories, one of them Debian's for security,
// and what is installed. apt itself reads them, fresh.
func (m *measured) addPackages(t *testing.T) {
	t.Helper()
	pack := func(name, version, status string) string {
		return fmt.Sprintf("Package: %s\n%sVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: a package\n", name, status, version)
	}
	add := func(folder, label, suite string, packages ...string) {
		m.must(t, "install", "-d", "/srv/apt/"+folder)
		text := ""
		for _, name := range packages {
			text += pack(name, "2", "Filename: ./"+name+".deb\nSize: 1\n") + "\n"
		}
		m.put(t, "/srv/apt/"+folder+"/Packages", text)
		m.put(t, "/srv/apt/"+folder+"/Release", "Origin: Debian\nLabel: "+label+"\nSuite: "+suite+"\nCodename: "+suite+"\nDate: "+time.Now().UTC().Format(time.RFC1123)+"\n")
	}
	add("main", "Debian", "stable", "kept", "later")
	add("security", "Debian-Security", "stable-security", "urgent", "alsourgent", "absent")
	m.must(t, "install", "-d", "/srv/apt/state/lists/partial", "/srv/apt/cache/archives/partial", "/srv/apt/etc")
	installed := ""
	for name, version := range map[string]string{"kept": "2", "later": "1", "urgent": "1", "alsourgent": "1"} {
		installed += pack(name, version, "Status: install ok installed\n") + "\n"
	}
	m.put(t, "/srv/apt/state/status", installed)
	m.put(t, "/srv/apt/apt.conf", strings.Join([]string{
		`Dir::Etc "/srv/apt/etc";`, `Dir::State "/srv/apt/state";`, `Dir::State::status "/srv/apt/state/status";`, `Dir::Cache "/srv/apt/cache";`,
		`APT::Sandbox::User "root";`, `Dir::Etc::main "none"; Dir::Etc::parts "none";`, "",
	}, "\n"))
	m.put(t, "/srv/apt/etc/sources.list", "deb [trusted=yes] file:/srv/apt/main ./\ndeb [trusted=yes] file:/srv/apt/security ./\n")
	m.must(t, "env", "APT_CONFIG=/srv/apt/apt.conf", "apt-get", "update")
}

// startFail2ban runs the real server where its client looks for it, with two jails.
func (m *measured) startFail2ban(t *testing.T) {
	t.Helper()
	config := filepath.Join(m.dir, "fail2ban")
	require.NoError(t, os.CopyFS(config, os.DirFS("/etc/fail2ban")))
	require.NoError(t, os.RemoveAll(config+"/jail.d"))
	require.NoError(t, os.WriteFile(config+"/filter.d/homelab-test.conf", []byte("[Definition]\nfailregex = ^failed <HOST>$\ndatepattern = {NONE}\n"), 0o600))
	jails := "[DEFAULT]\nbackend = polling\nfilter = homelab-test\naction =\nmaxretry = 3\n"
	for _, jail := range []string{"homelab-one", "homelab-two"} {
		jails += "[" + jail + "]\nenabled = true\nlogpath = " + m.dir + "/" + jail + ".log\n"
		require.NoError(t, os.WriteFile(m.dir+"/"+jail+".log", nil, 0o600))
	}
	require.NoError(t, os.WriteFile(config+"/jail.local", []byte(jails), 0o600))
	require.NoError(t, os.WriteFile(config+"/fail2ban.local", []byte("[DEFAULT]\nlogtarget = "+m.dir+"/fail2ban.log\ndbfile = None\n"), 0o600))
	m.must(t, "install", "-d", "/run/fail2ban")
	m.must(t, "mount", "--bind", config, "/etc/fail2ban")
	m.must(t, "fail2ban-client", "start")
	t.Cleanup(func() { _, _ = m.run("", "fail2ban-client", "stop") })
	log, err := os.OpenFile(m.dir+"/homelab-one.log", os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	defer log.Close()
	for n := range 4 {
		_, err := fmt.Fprintf(log, "failed 198.51.100.%d\n", min(n, 2)) // the last of them twice
		require.NoError(t, err)
	}
	m.must(t, "fail2ban-client", "set", "homelab-one", "banip", "203.0.113.7")
	require.Eventually(t, func() bool {
		said, err := m.run("", "fail2ban-client", "status", "homelab-one")
		return err == nil && regexp.MustCompile(`Total failed:\s*4`).MatchString(said) && strings.Contains(said, "203.0.113.7")
	}, 30*time.Second, 200*time.Millisecond)
}

// deadMount is a FUSE file system whose program answers nothing, but that it is there: what looks
// into it cannot even be killed.
const deadMount = `
import ctypes, os, struct, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"dead", b"/mnt/storagebox", b"fuse.rclone", 0, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
unique = struct.unpack_from("<IIQ", os.read(device, 1 << 17))[2]
answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
print("mounted", flush=True)
while True:
    os.read(device, 1 << 17)
`

// mountDead mounts it in the place of the library, until the function that it returns is called.
func (m *measured) mountDead(t *testing.T) (release func()) {
	t.Helper()
	server := m.command(context.Background(), "", "/usr/bin/python3", "-c", deadMount)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	release = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	t.Cleanup(release)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "mounted\n", line)
	return release
}
