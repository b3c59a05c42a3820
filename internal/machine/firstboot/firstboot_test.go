//go:build machine

package firstboot

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// bootPatience is for a boot to its end, and firstBootPatience for one that installs everything:
	// emulated, with the computer busy.
	bootPatience      = 10 * time.Minute
	firstBootPatience = 40 * time.Minute
)

// A first boot runs to its end with the program's own user data, without an error or a warning, and
// leaves a machine that the deployment takes. That machine comes back after a reboot and after a
// power cut. At no moment of all this is anything open that is not declared.
func TestFirstBoot(t *testing.T) {
	w := newWorld(t)
	s := w.newServer(t)
	m := w.boot(t, s)
	p := w.probe(t, m, filterComesLater)
	if !t.Run("cloud-init", func(t *testing.T) { m.with(t).cloudInitEnds() }) {
		return
	}
	t.Run("machine", func(t *testing.T) { m.with(t).isReady() })
	t.Run("updates", func(t *testing.T) { m.with(t).isUpToDate() })
	t.Run("secrets", func(t *testing.T) { m.with(t).keepsSecrets() })
	t.Log(m.with(t).timetable())
	t.Run("what was open", func(t *testing.T) { p.judge(t) })

	installed := m.root(bootPatience, "stat --format %y /var/lib/homelab-bootstrapped")
	first := m.bootID()
	p = w.probe(t, m, filterIsThere)
	require.NoError(t, m.Reboot(t.Context()))
	t.Run("after a reboot", func(t *testing.T) { m.with(t).comesBack(first, installed) })
	second := m.bootID()
	t.Run("what was open around a reboot", func(t *testing.T) { p.judge(t) })

	p = w.probe(t, m, filterIsThere)
	require.NoError(t, m.Cut())
	again := w.boot(t, s)
	p.looksInto(again)
	t.Run("after a power cut", func(t *testing.T) { again.with(t).comesBack(second, installed) })
	t.Run("what was open around a power cut", func(t *testing.T) { p.judge(t) })
}

// with is the machine for a part of the test.
func (m *machine) with(t *testing.T) *machine {
	part := *m
	part.t = t
	return &part
}

// cloudInitEnds waits for the end of the first boot and fails for whatever cloud-init did not like.
func (m *machine) cloudInitEnds() {
	said := m.root(firstBootPatience, "cloud-init status --wait --long || true")
	output := m.root(bootPatience, "tail -n 60 /var/log/cloud-init-output.log")
	require.Contains(m.t, said, "\nextended_status: done\n", "%s\n%s", said, output)
	assert.Contains(m.t, said, "\nerrors: []\n")
	assert.Contains(m.t, said, "\nrecoverable_errors: {}")

	var result struct {
		V1 struct {
			Datasource string   `json:"datasource"`
			Errors     []string `json:"errors"`
		} `json:"v1"`
	}
	require.NoError(m.t, json.Unmarshal([]byte(m.root(bootPatience, "cat /run/cloud-init/result.json")), &result))
	assert.Empty(m.t, result.V1.Errors)
	assert.Equal(m.t, "DataSourceHetzner", result.V1.Datasource)
	assert.Empty(m.t, m.root(bootPatience, `grep -E '\[(WARNING|ERROR|CRITICAL|DEPRECATED)\]' /var/log/cloud-init.log || true`))
	schema := m.root(bootPatience, "cloud-init schema --system 2>&1")
	assert.Contains(m.t, schema, "Valid schema user-data")
	assert.NotContains(m.t, strings.ToLower(schema), "deprecat")
	assert.Empty(m.t, m.root(bootPatience, "grep -E '^homelab-bootstrap: ' /var/log/cloud-init-output.log || true"), "the bootstrap had to try again")
	// Word for word: a name that systemd, cloud-init and dpkg print for a real problem, not a package's.
	assert.Empty(m.t, m.root(bootPatience, `grep -nE '^(W|E|dpkg|Warning|Error): |: (error|warning): ' /var/log/cloud-init-output.log || true`))
}

// isReady holds of a machine that a deployment takes, at each boot.
func (m *machine) isReady() {
	state := m.root(bootPatience, "systemctl is-system-running --wait || true")
	assert.Equal(m.t, "running", state, m.root(bootPatience, "systemctl --failed --no-legend; systemctl list-jobs --no-legend"))
	said, err := m.deploy(bootPatience, "/usr/local/sbin/homelab-ready")
	assert.NoError(m.t, err, "homelab-ready: %s", said)
	assert.Empty(m.t, said, "homelab-ready has nothing to say of a machine that is ready")
	said, err = m.deploy(bootPatience, "docker info --format '{{.OperatingSystem}}|{{.LiveRestoreEnabled}}|{{.LoggingDriver}}'")
	assert.NoError(m.t, err)
	assert.Contains(m.t, said, "Debian GNU/Linux 13 (trixie)|true|local")
}

// isUpToDate holds of a machine at the end of its first boot: nothing is left out that Debian or a
// vendor has fixed, and a kernel that waits for a reboot will get one.
func (m *machine) isUpToDate() {
	assert.Empty(m.t, m.root(bootPatience, "apt-get --simulate dist-upgrade | grep -E '^(Inst|Remv) ' || true"))
	kernels := m.root(bootPatience, "uname -r; ls /lib/modules | sort --version-sort | tail -n 1")
	running, newest, _ := strings.Cut(kernels, "\n")
	if running != newest {
		assert.Equal(m.t, "yes", m.root(bootPatience, "test -e /run/reboot-required && echo yes || echo no"), "%s runs, %s waits", running, newest)
	}
	assert.Contains(m.t, m.root(bootPatience, "apt-config dump Unattended-Upgrade::Automatic-Reboot"), `"true"`)
}

// keepsSecrets looks for the keys that the machine was born with: in files that others may read,
// and in the journal.
func (m *machine) keepsSecrets() {
	key, _, _ := strings.Cut(string(m.server.userData[strings.Index(string(m.server.userData), "hskey-auth-"):]), "\n")
	require.NotEmpty(m.t, key)
	// The guest agent writes what it is told to run into the journal, but not what that reads.
	found := m.rootReading(bootPatience, key, `key=$(cat); grep --recursive --files-with-matches --fixed-strings -e "$key" /etc /var /run /usr/local /home /root /tmp 2>/dev/null |
		xargs -r stat --format '%a %U %n' || true`)
	assert.Contains(m.t, found, "/user-data.txt", "the search finds what cloud-init keeps for itself")
	for line := range strings.Lines(found) {
		assert.Regexp(m.t, `^[0-7]00 root /(var/lib/cloud|run/cloud-init)/`, line)
	}
	assert.Empty(m.t, m.rootReading(bootPatience, key, `key=$(cat); journalctl --boot --output cat | grep --fixed-strings -e "$key" || true`))
}

// bootID is another one at each boot.
func (m *machine) bootID() string {
	m.t.Helper()
	return m.root(bootPatience, "cat /proc/sys/kernel/random/boot_id")
}

// comesBack holds of a later boot: everything runs, and nothing was installed again.
func (m *machine) comesBack(before, installed string) {
	require.NotEqual(m.t, before, m.bootID())
	m.isReady()
	said := m.root(bootPatience, "cloud-init status --long || true")
	assert.Contains(m.t, said, "\nextended_status: done\n")
	assert.Contains(m.t, said, "\nerrors: []\n")
	assert.Equal(m.t, installed, m.root(bootPatience, "stat --format %y /var/lib/homelab-bootstrapped"))
	// The filter is there before anything can come in, and before anything can be sent.
	order := m.root(bootPatience, "systemctl show --property ActiveEnterTimestampMonotonic --value homelab-firewall systemd-networkd ssh docker tailscaled")
	var at []int
	for _, text := range strings.Fields(order) {
		number, err := strconv.Atoi(text)
		require.NoError(m.t, err, order)
		at = append(at, number)
	}
	require.Len(m.t, at, 5, order)
	assert.Equal(m.t, slices.Min(at), at[0], "homelab-firewall is not the first of it: %s", order)
}
