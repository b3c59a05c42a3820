//go:build host

package host

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// container is what Docker says of a container, as far as it matters.
func container(name, health string, more map[string]any) map[string]any {
	out := map[string]any{
		"Id": name + "-1", "Name": "/" + name, "RestartCount": 0, "Config": map[string]any{"Labels": map[string]any{"homelab.machine": "1"}},
		"State":           map[string]any{"Running": true, "Pid": os.Getpid(), "StartedAt": "2026-09-01T10:00:00Z", "Health": map[string]any{"Status": health}},
		"NetworkSettings": map[string]any{"Networks": map[string]any{}},
	}
	maps.Copy(out, more)
	return out
}

// docker has Docker's stand-in say these containers.
func (m *measured) docker(t *testing.T, containers ...map[string]any) {
	t.Helper()
	ids := ""
	for _, c := range containers {
		ids += c["Id"].(string) + "\n"
	}
	m.put(t, "/srv/docker/list", ids)
	writeJSON(t, m.at("/srv/docker/inspect"), containers)
}

func (m *measured) trace(t *testing.T, address string) {
	m.put(t, "/srv/docker/trace", "fl=1\nh=1.1.1.1\nip="+address+"\nts=1\n")
}

// TestMetricsOfTheMachine measures a machine with the real systemd, Fail2ban, apt, packet filter
// and mounts, and takes one after the other away: what is left is measured all the same.
func TestMetricsOfTheMachine(t *testing.T) {
	m := newMeasured(t)
	m.addPackages(t)
	m.startFail2ban(t)
	filter, err := os.ReadFile("../../components/host/testdata/containers.nft.golden")
	require.NoError(t, err)
	m.put(t, "/srv/containers.nft", string(filter))
	m.must(t, "nft", "--file", "/srv/containers.nft")
	m.must(t, "mount", "-t", "tmpfs", "library", "/mnt/storagebox")
	m.must(t, "touch", "/mnt/storagebox/.homelab")
	m.put(t, "/etc/systemd/system/homelab-te\\x2dst.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
	m.must(t, "/usr/local/sbin/systemctl", "daemon-reload")
	_, err = m.run("", "/usr/local/sbin/systemctl", "start", "homelab-te\\x2dst.service")
	require.Error(t, err)
	m.put(t, "/srv/tailscale.json", tailnetAnswer("Running", true, "2027-01-02T03:04:05Z"))
	writeJSON(t, m.at("/opt/homelab/backup/state/backup.json"), map[string]any{"last_attempt_success": true, "last_success_timestamp_seconds": 1790000000.25, "problem": ""})
	writeJSON(t, m.at("/opt/homelab/backup/state/restore-drill.json"), map[string]any{"last_attempt_success": false, "last_success_timestamp_seconds": 1780000000})
	m.docker(t, container("caddy", "healthy", nil), container("gluetun", "healthy", nil), container("slow", "starting", nil),
		container("somebodys", "healthy", map[string]any{"Config": map[string]any{"Labels": nil}}))
	m.put(t, "/srv/docker/port", "51413\n")
	m.trace(t, "193.138.218.80")

	all, said := m.measure(t)
	assert.Empty(t, all.failed(), said)
	assert.Empty(t, said)
	for name, want := range map[string]float64{
		`homelab_backup_failed`: 0, `homelab_backup_last_success_timestamp_seconds`: 1790000000.25,
		`homelab_drill_failed`: 1, `homelab_drill_last_success_timestamp_seconds`: 1780000000,
		`homelab_container_healthy{container="caddy"}`: 1, `homelab_container_running{container="caddy"}`: 1, `homelab_container_restarts_total{container="caddy"}`: 0,
		`homelab_container_healthy{container="slow"}`: 0, `homelab_container_running{container="slow"}`: 1,
		`homelab_container_info{container="caddy",id="` + theScope + `"}`: 1, `homelab_container_info{container="slow",id="` + theScope + `"}`: 1,
		`homelab_fail2ban_banned{jail="homelab-one"}`: 1, `homelab_fail2ban_failed_total{jail="homelab-one"}`: 4, `homelab_fail2ban_banned{jail="homelab-two"}`: 0,
		`homelab_filesystem_size_bytes{mount="downloads"}`: 64 << 20, `homelab_media_mounted`: 1,
		`homelab_network_receive_bytes_total{device="tailscale0"}`: 0,
		`homelab_origin_pull_certificate_expiry_timestamp_seconds`: float64(time.Date(2031, 9, 21, 5, 27, 0, 0, time.UTC).Unix()),
		`homelab_packages_pending{kind="security"}`:                2,
		`homelab_packages_pending{kind="other"}`:                   1,
		`homelab_reboot_required`:                                  0,
		`homelab_tailnet_connected`:                                1,
		`homelab_tailnet_key_expiry_timestamp_seconds`:             float64(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC).Unix()),
		`homelab_unit_failed{unit="homelab-te\\x2dst.service"}`:    1,
		`homelab_vpn_up`: 1, `homelab_vpn_forwarded_port`: 51413, `homelab_vpn_leaking`: 0,
	} {
		if assert.Contains(t, all, name) {
			assert.InDelta(t, want, all[name], 0, name)
		}
	}
	assert.Positive(t, all[`homelab_filesystem_avail_bytes{mount="/"}`])
	assert.Positive(t, all[`homelab_filesystem_size_bytes{mount="media"}`])
	assert.InDelta(t, time.Now().Unix(), all["homelab_metrics_last_run_timestamp_seconds"], 60)
	assert.NotContains(t, all, `homelab_container_running{container="somebodys"}`)
	assert.NotContains(t, all, `homelab_container_info{container="somebodys",id="`+theScope+`"}`)
	assert.NotContains(t, all, `homelab_network_receive_bytes_total{device="public"}`, "it is not a device")

	t.Run("every series", func(t *testing.T) { m.everySeries(t, all) })
	t.Run("node-exporter shows them", func(t *testing.T) { m.scraped(t, all) })
	t.Run("what changes", func(t *testing.T) { m.changes(t) })
	t.Run("what fails", func(t *testing.T) { m.partsThatFail(t) })
	t.Run("a dead mount", func(t *testing.T) { m.deadMount(t) })
	t.Run("a watch", func(t *testing.T) { m.watched(t) })
}

// everySeries compares the list in the program with what was measured. Packets are dropped, and a
// torrent client listens, in another test.
func (m *measured) everySeries(t *testing.T, all series) {
	program, err := os.ReadFile(metricsProgram)
	require.NoError(t, err)
	got := all.names()
	listed := regexp.MustCompile(`(?m)^    "(homelab_\w+)": \("(gauge|counter)"`).FindAllStringSubmatch(string(program), -1)
	assert.Greater(t, len(listed), 25)
	for _, family := range listed {
		assert.Equal(t, strings.HasSuffix(family[1], "_total"), family[2] == "counter", family[1])
		if family[1] != "homelab_filter_dropped_packets_total" {
			assert.True(t, got[family[1]], "nothing measures %s", family[1])
		}
	}
}

// scraped has Debian's node-exporter show the file: in a network of its own, as nobody, and with
// the folder alone.
func (m *measured) scraped(t *testing.T, all series) {
	exporter := m.command(context.Background(), "", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "prometheus-node-exporter",
		"--web.listen-address=127.0.0.1:9100", "--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory="+filepath.Dir(theSeriesFile))
	require.NoError(t, exporter.Start())
	t.Cleanup(func() { _ = exporter.Process.Kill(); _ = exporter.Wait() })
	var scrape string
	require.Eventually(t, func() bool {
		said, err := m.run("", "/usr/bin/python3", "-c", `import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:9100/metrics").read().decode())`)
		scrape = said
		return err == nil
	}, 20*time.Second, 200*time.Millisecond)
	shown := series{}
	for _, line := range strings.Split(scrape, "\n") {
		if at := strings.LastIndexByte(line, ' '); at > 0 && !strings.HasPrefix(line, "#") {
			value, err := strconv.ParseFloat(line[at+1:], 64)
			require.NoError(t, err, line)
			shown[line[:at]] = value
		}
	}
	assert.InDelta(t, 0, shown["node_textfile_scrape_error"], 0)
	for name, value := range all {
		if assert.Contains(t, shown, name) {
			assert.InDelta(t, value, shown[name], 0, name)
		}
	}
}

// changes follows what happens on a machine.
func (m *measured) changes(t *testing.T) {
	m.put(t, "/run/reboot-required", "")
	m.put(t, "/srv/tailscale.json", tailnetAnswer("NeedsLogin", false, ""))
	m.put(t, "/srv/docker/port", "")
	m.trace(t, machinesPublic)
	restarted := container("caddy", "healthy", map[string]any{"RestartCount": 3})
	ended := map[string]any{"State": map[string]any{"Running": false, "Pid": 0, "StartedAt": "2026-09-01T10:00:00Z"}}
	between := container("between", "", map[string]any{"State": map[string]any{"Running": true, "Pid": 1 << 22, "StartedAt": "2026-09-01T10:00:00Z"}})
	m.docker(t, restarted, container("gluetun", "healthy", nil), container("slow", "", ended), between)
	now, said := m.measure(t)
	assert.Empty(t, now.failed(), said)
	assert.Contains(t, now, `homelab_container_info{container="caddy",id="`+theScope+`"}`)
	for _, name := range []string{"slow", "between"} {
		assert.NotContains(t, now, `homelab_container_info{container="`+name+`",id="`+theScope+`"}`, "a process that has ended is in no control group")
	}
	assert.InDelta(t, 1, now["homelab_reboot_required"], 0)
	assert.InDelta(t, 0, now["homelab_tailnet_connected"], 0)
	assert.NotContains(t, now, "homelab_tailnet_key_expiry_timestamp_seconds")
	assert.InDelta(t, 0, now["homelab_vpn_forwarded_port"], 0)
	assert.InDelta(t, 3, now[`homelab_container_restarts_total{container="caddy"}`], 0)
	assert.InDelta(t, 0, now[`homelab_container_running{container="slow"}`], 0)
	assert.InDelta(t, 0, now["homelab_vpn_leaking"], 0, "it was asked less than a quarter of an hour ago")
	asked, _ := os.ReadFile(m.at("/srv/docker/asked"))
	assert.Equal(t, "asked\n", string(asked))
	forget(t, m.at("/srv/cache"), "vpn_address")

	// Docker counts from 0 after a start by hand, and homelab-containers starts what is unhealthy.
	byHand := container("caddy", "healthy", nil)
	byHand["State"].(map[string]any)["StartedAt"] = "2026-09-02T10:00:00Z"
	m.docker(t, byHand, container("gluetun", "healthy", nil))
	now, _ = m.measure(t)
	assert.InDelta(t, 1, now["homelab_vpn_leaking"], 0)
	assert.InDelta(t, 4, now[`homelab_container_restarts_total{container="caddy"}`], 0)
	again := container("caddy", "healthy", map[string]any{"Id": "caddy-2"})
	again["State"].(map[string]any)["StartedAt"] = "2026-09-03T10:00:00Z"
	m.docker(t, again, container("gluetun", "unhealthy", nil))
	now, said = m.measure(t)
	assert.Empty(t, now.failed(), said)
	assert.InDelta(t, 4, now[`homelab_container_restarts_total{container="caddy"}`], 0, "a new container is not a restart")
	assert.InDelta(t, 0, now["homelab_vpn_up"], 0)
	assert.NotContains(t, now, "homelab_vpn_leaking", "nobody can know")
	m.docker(t, container("caddy", "healthy", map[string]any{"Id": "caddy-2"}), container("gluetun", "healthy", nil))
}

// partsThatFail breaks one thing after the other: its part says so, and all others stay.
func (m *measured) partsThatFail(t *testing.T) {
	whole, said := m.measure(t)
	require.Empty(t, whole.failed(), said)
	sound := map[string]string{}
	restore := func() {
		for path, content := range sound {
			m.put(t, path, content)
		}
	}
	breakFile := func(path, content string) func() {
		return func() {
			text, err := os.ReadFile(m.at(path))
			require.NoError(t, err)
			sound[path] = string(text)
			m.put(t, path, content)
		}
	}
	tailnet := []string{"homelab_tailnet_connected"}
	for what, c := range map[string]struct {
		parts, lost []string // which of them, and the names of what is not written then
		reason      string
		breaks      func()
	}{
		"an unparsable answer":         {[]string{"tailnet"}, tailnet, "tailnet is not measured: JSONDecodeError", breakFile("/srv/tailscale.json", "not json")},
		"an answer of another version": {[]string{"tailnet"}, tailnet, "tailnet is not measured: KeyError: 'BackendState'", breakFile("/srv/tailscale.json", "{}")},
		"a program that fails": {
			[]string{"tailnet"}, tailnet, "tailscale status failed with status 3: no service", breakFile("/usr/local/sbin/tailscale", "#!/bin/sh\necho no service >&2; exit 3\n"),
		},
		"a program that hangs": {[]string{"tailnet"}, tailnet, "tailscale did not answer within 4 s", breakFile("/usr/local/sbin/tailscale", "#!/bin/sh\nsleep 1000\n")},
		"Docker does not answer": {
			[]string{"containers", "control_groups", "packet_filter", "torrent", "vpn", "vpn_address"},
			[]string{
				"homelab_container_healthy", "homelab_container_info", "homelab_container_restarts_total", "homelab_container_running", "homelab_torrent_listening_port",
				"homelab_vpn_forwarded_port", "homelab_vpn_leaking", "homelab_vpn_up",
			},
			"Cannot connect to the Docker daemon", breakFile("/usr/local/sbin/docker", "#!/bin/sh\necho Cannot connect to the Docker daemon >&2; exit 1\n"),
		},
		"another kind of control groups": {
			[]string{"control_groups"}, []string{"homelab_container_info"}, "control_groups is not measured: nothing like", breakFile("/srv/cgroup", "4:memory:/docker/0123\n"),
		},
		"half a file": {
			[]string{"backup"},
			[]string{
				"homelab_backup_failed", "homelab_backup_last_success_timestamp_seconds", "homelab_drill_failed", "homelab_drill_last_success_timestamp_seconds",
			},
			"backup is not measured: JSONDecodeError", breakFile("/opt/homelab/backup/state/backup.json", `{"last_att`),
		},
		"a table in place of JSON": {
			[]string{"units"}, []string{"homelab_unit_failed"}, "units is not measured: JSONDecodeError",
			breakFile("/usr/local/sbin/systemctl", "#!/bin/sh\necho '0 loaded units listed.'\n"),
		},
	} {
		t.Run(what, func(t *testing.T) {
			c.breaks()
			defer restore()
			now, said := m.measure(t)
			assert.ElementsMatch(t, c.parts, now.failed(), said)
			assert.Contains(t, said, c.reason)
			want := whole.names()
			for _, name := range c.lost {
				require.True(t, want[name], name)
				delete(want, name)
			}
			assert.Equal(t, want, now.names())
			_, said = m.measure(t)
			assert.NotContains(t, said, c.reason, "the journal hears it every minute")
		})
	}
	t.Run("missing programs", func(t *testing.T) {
		require.NoError(t, os.Rename(m.at("/usr/local/sbin/tailscale"), m.at("/usr/local/sbin/gone")))
		m.must(t, "fail2ban-client", "stop")
		m.must(t, "nft", "delete", "table", "bridge", "homelab")
		now, said := m.measure(t)
		assert.ElementsMatch(t, []string{"tailnet", "fail2ban", "packet_filter"}, now.failed(), said)
		assert.Contains(t, said, "No such file or directory: 'tailscale'")
		require.NoError(t, os.Rename(m.at("/usr/local/sbin/gone"), m.at("/usr/local/sbin/tailscale")))
		m.must(t, "nft", "--file", "/srv/containers.nft")
	})
	t.Run("nothing is kept", func(t *testing.T) {
		m.put(t, "/srv/cache/memory.json", "{half")
		now, said := m.measure(t)
		assert.ElementsMatch(t, []string{"fail2ban"}, now.failed(), said)
	})
}

// deadMount is what a box that is away leaves behind, at its worst.
func (m *measured) deadMount(t *testing.T) {
	m.must(t, "umount", "/mnt/storagebox")
	now, said := m.measure(t)
	assert.InDelta(t, 0, now["homelab_media_mounted"], 0, said)
	assert.NotContains(t, now, `homelab_filesystem_size_bytes{mount="media"}`)
	m.must(t, "umount", "/mnt/downloads")
	release := m.mountDead(t)
	for range 3 {
		now, said = m.measure(t)
		assert.InDelta(t, 0, now["homelab_media_mounted"], 0, said)
		assert.ElementsMatch(t, []string{"fail2ban", "downloads"}, now.failed(), said)
		assert.Positive(t, now[`homelab_filesystem_size_bytes{mount="/"}`])
	}
	require.Equal(t, 1, looking(t), "one program more hangs with every run")
	release()
	require.Eventually(t, func() bool { return looking(t) == 0 }, 20*time.Second, 100*time.Millisecond)
	now, said = m.measure(t)
	assert.InDelta(t, 0, now["homelab_media_mounted"], 0, said)
	m.must(t, "umount", "--lazy", "/mnt/storagebox")
	m.must(t, "mount", "-t", "tmpfs", "library", "/mnt/storagebox")
	now, said = m.measure(t)
	assert.InDelta(t, 0, now["homelab_media_mounted"], 0, "the sentinel is missing: %s", said)
	m.must(t, "touch", "/mnt/storagebox/.homelab")
	now, said = m.measure(t)
	assert.InDelta(t, 1, now["homelab_media_mounted"], 0, said)
}

// looking counts the programs that look into the library.
func looking(t *testing.T) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	count := 0
	for _, file := range lines {
		line, _ := os.ReadFile(file) // it may have ended
		if strings.HasPrefix(string(line), "stat\x00--file-system\x00") && strings.HasSuffix(string(line), "\x00/mnt/storagebox/.homelab\x00") {
			count++
		}
	}
	return count
}

// tellers has Prometheus stop: nobody else would tell of that. One that is being replaced is no
// reason to.
func (m *measured) tellers(t *testing.T, watch func() (string, error)) {
	file := m.at(theSeriesFile)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	down := string(before) + "homelab_container_healthy{container=\"prometheus\"} 0\nhomelab_container_running{container=\"radarr\"} 0\n"
	require.NoError(t, os.WriteFile(file, []byte(down), 0o644))
	said, err := watch()
	require.Error(t, err)
	assert.Contains(t, said, "without prometheus no alert arrives; see docker logs prometheus")
	back := time.AfterFunc(time.Second, func() { _ = os.WriteFile(file, before, 0o644) })
	defer back.Stop()
	said, err = watch()
	require.NoError(t, err, said)
}

// watched is what systemd tells somebody.
func (m *measured) watched(t *testing.T) {
	watch := func() (string, error) {
		return m.run("", "env", "HOMELAB_AGAIN=2", "/opt/homelab/state/homelab-metrics", "watch", "/opt/homelab/state/metrics.json")
	}
	said, err := watch()
	require.NoError(t, err, said)
	m.tellers(t, watch)
	before := time.Now().Add(-25 * time.Minute)
	require.NoError(t, os.Chtimes(m.at(theSeriesFile), before, before))
	said, err = watch()
	require.Error(t, err)
	assert.Contains(t, said, "nothing was measured for 25 minutes; see systemctl status homelab-metrics")
	require.NoError(t, os.Remove(m.at(theSeriesFile)))
	said, err = watch()
	require.Error(t, err)
	assert.Contains(t, said, "nothing was ever measured")
	m.must(t, "mount", "-t", "tmpfs", "-o", "ro", "full", filepath.Dir(theSeriesFile))
	said, err = m.run("", "env", "CACHE_DIRECTORY=/srv/cache", "/opt/homelab/state/homelab-metrics", "write", "/opt/homelab/state/metrics.json")
	require.Error(t, err, "a file that cannot be written is no success")
	assert.Contains(t, said, "Read-only file system")
}

// The units are accepted, and keep the program to what it needs.
func TestMetricsUnits(t *testing.T) {
	folder := t.TempDir()
	for _, unit := range []string{"homelab-metrics.service", "homelab-metrics.timer", "homelab-metrics-watch.service", "homelab-metrics-watch.timer"} {
		content, err := os.ReadFile("../../components/host/files/metrics/" + unit)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(folder+"/"+unit, []byte(ourProgram.ReplaceAllString(string(content), "/bin/true")), 0o600))
	}
	for _, unit := range []string{"homelab-metrics", "homelab-metrics-watch"} {
		for _, kind := range []string{".service", ".timer"} {
			out, err := exec.Command("systemd-analyze", "verify", "--man=no", folder+"/"+unit+kind).CombinedOutput()
			assert.NoError(t, err, "%s: %s", unit, out)
			assert.NotContains(t, string(out), unit+kind, "systemd says something about it")
		}
	}
	said, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=35", folder+"/homelab-metrics.service").CombinedOutput()
	assert.NoError(t, err, "%s", said)
}
