//go:build host

package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/components/service"
	"homelab/internal/workspace"
)

// fakeDocker stands in for Docker's program and engine, as strictly as the real ones are about what
// homelab-containers does: it knows these commands, and a container whose bind mount has no source
// does not start. A container is a folder of files.
const fakeDocker = `#!/bin/bash
set -eu
home=$(dirname "$(readlink -f "$0")")
[ ! -e "$home/down" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
cd "$home/containers"
case "$*" in
'ps --all --no-trunc --filter label=homelab.machine --format {{.Names}}|{{.State}}|{{.Mounts}}|{{.Status}}')
	[ ! -x "$home/hook" ] || "$home/hook"
	for name in *; do
		[ -d "$name" ] || continue
		echo "$name|$(cat "$name/state")|$(paste -sd, "$name/mounts")|$(cat "$name/status")"
	done ;;
'ps --all --no-trunc --filter label=homelab.tunnel --format {{.Names}}')
	for name in *; do
		[ ! -e "$name/tunnel" ] || echo "$name"
	done ;;
"inspect --type container --format {{.State.Pid}} ${6:-}")
	cat "$6/pid" ;;
"restart $2")
	if [ -e "$home/slow" ]; then
		echo exited >"$2/state"
		echo 'Exited (0) 1 second ago' >"$2/status"
		exit 124
	fi
	[ ! -e "$2/joins" ] || cp "$(cat "$2/joins")/pid" "$2/pid"
	echo running >"$2/state"
	echo 'Up 1 second (health: starting)' >"$2/status"
	echo "$2" >>"$home/restarts" ;;
"stop $2"*)
	shift
	for name; do
		echo exited >"$name/state"
		echo 'Exited (0) 1 second ago' >"$name/status"
		echo "$name" >>"$home/stops"
	done ;;
"start $2")
	while read -r source; do
		case $source in
		"$home"/run/*) [ -d "$source" ] || { echo "Error response from daemon: bind source path does not exist: $source" >&2; exit 1; } ;;
		esac
	done <"$2/mounts"
	echo running >"$2/state"
	echo 'Up 1 second (health: starting)' >"$2/status"
	echo "$2" >>"$home/starts" ;;
*) echo "unknown command: $*" >&2; exit 64 ;;
esac
`

// engine is the machine's Docker with the deployment's containers, and homelab-containers beside
// it.
type engine struct {
	t     *testing.T
	dir   string
	names []string
}

// sample are the containers that these tests watch: the gateway's, a service that needs the
// library, and one that does not. How many more there are does not matter to the order in which
// they start.
var sample = []string{"authelia", "authelia-store", "caddy", "crowdsec", "jellyfin", "jellyseerr"}

// containersFilter is the file that closes the container networks. The one of the first boot
// includes it where it is on a machine.
func containersFilter(w *workspace.Simulation) string {
	for _, c := range w.World().Commands("") {
		if strings.HasSuffix(c.Script, "/opt/homelab/firewall/00-containers.nft") && c.Stdin != "" {
			return "\n" + c.Stdin
		}
	}
	return ""
}

// newEngine is right after a boot: every container has ended, and no gate is there.
func newEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{t: t, dir: t.TempDir()}
	w := simulate(t, nil)
	deployment, err := w.Deployment()
	require.NoError(t, err)
	for _, r := range deployment.Resources {
		if r.Type != "docker:index/container:Container" {
			continue
		}
		name, _ := r.Inputs["name"].(string)
		if !slices.Contains(sample, name) {
			continue
		}
		list, ok := r.Inputs["mounts"].([]any)
		require.True(t, ok, "%s: %v", name, r.Inputs["mounts"])
		var sources []string
		for _, m := range list {
			if source, ok := m.(map[string]any)["source"].(string); ok {
				sources = append(sources, strings.Replace(source, "/run/homelab", e.dir+"/run", 1))
			}
		}
		e.names = append(e.names, name)
		require.NoError(t, os.MkdirAll(e.dir+"/containers/"+name, 0o755))
		e.put("containers/"+name+"/mounts", strings.Join(sources, "\n")+"\n", 0o644)
		e.becomes(name, "exited", "Exited (137) 1 minute ago")
	}
	require.ElementsMatch(t, sample, e.names)
	machine := files(t, commands(w))
	e.put("homelab-containers", machine["/opt/homelab/state/homelab-containers"], 0o755)
	e.put("homelab-filter-proof", machine["/opt/homelab/firewall/homelab-filter-proof"], 0o755)
	e.put("unit", machine["/etc/systemd/system/homelab-containers.service"], 0o644)
	boot := bootFiles(t, w.World().Machines()[0].UserData)
	writeFilter(t, boot, e.dir, e.dir+"/*.nftables", containersFilter(w))
	e.put("firewall.unit", boot["/etc/systemd/system/homelab-firewall.service"], 0o644)
	e.put("docker", fakeDocker, 0o755)
	e.busy("3.02")
	e.put("systemd-notify", "#!/bin/sh\ncase $1 in --ready) : >"+e.dir+"/ready ;; *) echo \"$*\" >"+e.dir+"/status.new; mv "+e.dir+"/status.new "+e.dir+"/status; echo >>"+e.dir+"/turns ;; esac\n", 0o755)
	return e
}

// newWellEngine is one whose containers are all healthy, with the library there.
func newWellEngine(t *testing.T) *engine {
	t.Helper()
	e := newEngine(t)
	e.library()
	e.healthy(e.names...)
	e.runs()
	e.shows("6 of 6 containers healthy")
	return e
}

func (e *engine) put(name, content string, mode os.FileMode) {
	e.t.Helper()
	file := filepath.Join(e.dir, name)
	require.NoError(e.t, os.WriteFile(file+".new", []byte(content), mode))
	require.NoError(e.t, os.Rename(file+".new", file))
}

func (e *engine) read(name string) string {
	content, _ := os.ReadFile(filepath.Join(e.dir, name))
	return string(content)
}

func (e *engine) becomes(name, state, status string) {
	e.t.Helper()
	e.put("containers/"+name+"/status", status+"\n", 0o644)
	e.put("containers/"+name+"/state", state+"\n", 0o644)
}

func (e *engine) healthy(names ...string) {
	for _, name := range names {
		e.becomes(name, "running", "Up 1 minute (healthy)")
	}
}

// runs runs the unit's own command, which prints into the file journal, behind the loaded packet
// filter.
func (e *engine) runs(env ...string) {
	e.t.Helper()
	_, line, found := strings.Cut(e.read("unit"), "\nExecStart=/opt/homelab/state/homelab-containers ")
	require.True(e.t, found)
	line, _, _ = strings.Cut(line, "\n")
	cmd := exec.Command("unshare", append([]string{
		"--net", "sh", "-ec", `nft --file "$1"; shift; exec "$@"`, "sh", e.dir + "/firewall.nft", "bash", e.dir + "/homelab-containers",
	}, strings.Fields(line)...)...)
	cmd.Env = append(os.Environ(), append(env, "PATH="+e.dir+":"+os.Getenv("PATH"), "HOMELAB_RUN="+e.dir+"/run",
		"HOMELAB_PRESSURE="+e.dir+"/pressure", "HOMELAB_CONTAINERS_INTERVAL=0.1")...)
	journal, err := os.Create(e.dir + "/journal")
	require.NoError(e.t, err)
	defer journal.Close()
	cmd.Stdout, cmd.Stderr = journal, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it has started ends with it
	require.NoError(e.t, cmd.Start())
	e.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// shows waits for a status.
func (e *engine) shows(want string) {
	e.t.Helper()
	require.Eventually(e.t, func() bool { return strings.Contains(e.read("status"), want) }, 20*time.Second, 20*time.Millisecond, "%s", want)
}

// settles waits until the program has looked at everything three more times, so that it had time
// for what it must not do, and says what was started since the last time.
func (e *engine) settles() []string {
	e.t.Helper()
	before := strings.Count(e.read("turns"), "\n")
	require.Eventually(e.t, func() bool { return strings.Count(e.read("turns"), "\n") >= before+3 }, time.Minute, 10*time.Millisecond)
	return e.started()
}

// started says what was started since the last time.
func (e *engine) started() []string {
	started := strings.Fields(e.read("starts"))
	_ = os.Remove(e.dir + "/starts")
	slices.Sort(started)
	return started
}

// library opens the gate of the library, as its mount does.
func (e *engine) library() {
	e.t.Helper()
	require.NoError(e.t, os.MkdirAll(e.dir+"/run/gates/media", 0o755))
}

// busy sets how much of the last five minutes something has waited for a processor, in percent.
func (e *engine) busy(percent string) {
	e.t.Helper()
	e.put("pressure", "some avg10=99.00 avg60=99.00 avg300="+percent+" total=3375395533\n"+
		"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0o644)
}

// On a machine that has no time, checks fail of containers that are well.
func TestAnUnhealthyContainerIsLeftAloneOnABusyMachine(t *testing.T) {
	e := newWellEngine(t)
	e.busy("100.00")
	e.becomes("crowdsec", "running", "Up 5 minutes (unhealthy)")
	e.shows("5 of 6 containers healthy: crowdsec")
	assert.Empty(t, e.settles())
	assert.Empty(t, e.read("restarts"))
	want := "crowdsec is unhealthy, and the processors are busy all the time: leaving it as it is"
	assert.Contains(t, e.read("journal"), want)
}

// Docker stops a container and does not start it in time: it has not ended by an operator's hand.
func TestARestartThatStopsHalfWayGoesOn(t *testing.T) {
	e := newWellEngine(t)
	e.put("slow", "", 0o644)
	e.becomes("crowdsec", "running", "Up 5 minutes (unhealthy)")
	again := func() bool { return slices.Equal(e.started(), []string{"crowdsec"}) }
	require.Eventually(t, again, 20*time.Second, 50*time.Millisecond)
}

// A container that turns unhealthy is started again, and not again at once when that did not help.
func TestAnUnhealthyContainerIsStartedAgain(t *testing.T) {
	e := newWellEngine(t)
	for range 2 {
		e.becomes("crowdsec", "running", "Up 5 minutes (unhealthy)")
		e.shows("5 of 6 containers healthy: crowdsec")
		e.settles()
	}
	assert.Equal(t, "crowdsec\n", e.read("restarts"))
	assert.Contains(t, e.read("journal"), "crowdsec is unhealthy: starting it again")
	e.healthy("crowdsec")
	e.shows("6 of 6 containers healthy")
}

// At a boot Docker tries to start everything at once, and can start nothing; then everything comes
// up in its order, and the player only once the library is there.
func TestTheOrderOfABoot(t *testing.T) {
	e := newEngine(t)
	for _, name := range e.names {
		said, err := exec.Command(e.dir+"/docker", "start", name).CombinedOutput()
		require.Error(t, err, "%s starts before its turn", name)
		assert.Contains(t, string(said), "bind source path does not exist: "+e.dir+"/run/gates/")
	}
	require.NoError(t, os.WriteFile(e.dir+"/down", nil, 0o600))
	e.runs()
	e.shows("Docker does not answer")
	assert.NoFileExists(t, e.dir+"/ready")
	assert.Empty(t, e.settles())

	require.NoError(t, os.Remove(e.dir+"/down"))
	e.shows("0 of 6 containers healthy: authelia exited, authelia-store starting, caddy exited, crowdsec starting, jellyfin exited, jellyseerr exited")
	assert.Equal(t, []string{"authelia-store", "crowdsec"}, e.settles())
	assert.FileExists(t, e.dir+"/ready")
	e.healthy("authelia-store")
	assert.Empty(t, e.settles(), "the detection is not there yet")
	e.healthy("crowdsec")
	assert.Equal(t, []string{"authelia"}, e.settles())
	e.healthy("authelia")
	assert.Equal(t, []string{"caddy"}, e.settles())
	e.healthy("caddy")
	assert.Equal(t, []string{"jellyseerr"}, e.settles(), "the library is not there yet")
	e.healthy("jellyseerr")
	e.shows("5 of 6 containers healthy: jellyfin waits for media")
	require.NoError(t, os.Mkdir(e.dir+"/run/gates/media", 0o755))
	assert.Equal(t, []string{"jellyfin"}, e.settles())
	e.healthy("jellyfin")
	e.shows("6 of 6 containers healthy")

	// A player that ends while the library is away comes back with it.
	require.NoError(t, os.Remove(e.dir+"/run/gates/media"))
	e.becomes("jellyfin", "exited", "Exited (1) 1 second ago")
	e.shows("5 of 6 containers healthy: jellyfin waits for media")
	assert.Empty(t, e.settles())
	require.NoError(t, os.Mkdir(e.dir+"/run/gates/media", 0o755))
	assert.Equal(t, []string{"jellyfin"}, e.settles())
	e.healthy("jellyfin")

	// What somebody stops stays stopped, also when the program comes again.
	e.becomes("jellyseerr", "exited", "Exited (0) 1 second ago")
	e.shows("5 of 6 containers healthy: jellyseerr exited")
	e.runs()
	assert.Empty(t, e.settles())
}

// What looks into the library is stopped once that is away, however it is, and comes back with it.
// A gate that is missing at one look alone stops nothing.
func TestWhatLooksIntoTheLibraryIsStoppedWithoutIt(t *testing.T) {
	e := newEngine(t)
	e.library()
	gate := e.dir + "/run/gates/media"
	e.healthy(e.names...)
	e.runs()
	e.shows("6 of 6 containers healthy")

	hook := e.dir + "/hook" // as Docker is asked for the containers
	e.put("hook", "#!/bin/sh\nif [ -d "+gate+" ]; then rmdir "+gate+"; else mkdir "+gate+" && rm "+hook+"; fi\n", 0o755)
	require.Eventually(t, func() bool { _, err := os.Stat(hook); return os.IsNotExist(err) }, 20*time.Second, 10*time.Millisecond)
	e.settles()
	assert.Empty(t, e.read("stops"), "its unit has only started again")

	for _, state := range []string{"Up 1 minute (healthy)", "Up 1 minute (unhealthy)", "Up 1 second (health: starting)"} {
		e.becomes("jellyfin", "running", state)
		require.NoError(t, os.Remove(gate))
		e.shows("5 of 6 containers healthy: jellyfin waits for media")
		assert.Empty(t, e.settles(), state)
		assert.Equal(t, "jellyfin\n", e.read("stops"), state)
		require.NoError(t, os.Remove(e.dir+"/stops"))
		require.NoError(t, os.Mkdir(gate, 0o755))
		assert.Equal(t, []string{"jellyfin"}, e.settles(), state)
		e.healthy("jellyfin")
		e.shows("6 of 6 containers healthy")
	}
	assert.Contains(t, e.read("journal"), "the library is away: stopping jellyfin")
}

// The packet filter does not load at a boot: no container can start, whoever tries. Once it is
// mended, everything comes up by itself.
func TestABootWithoutThePacketFilter(t *testing.T) {
	e := newEngine(t)
	m := newMachine(t)
	m.startSystemd(t)
	good := e.read("firewall.nft")
	e.put("firewall.nft", good+"\nadd rule inet homelab nowhere drop\n", 0o644)
	require.NoError(t, os.Mkdir(e.dir+"/bin", 0o755))
	require.NoError(t, os.Symlink("../docker", e.dir+"/bin/docker"))
	for name, content := range map[string]string{
		"homelab-firewall.service":             strings.ReplaceAll(e.read("firewall.unit"), "/etc/homelab/", e.dir+"/"),
		"homelab-containers.service":           strings.NewReplacer("/opt/homelab/state/", e.dir+"/", "/opt/homelab/firewall/", e.dir+"/").Replace(e.read("unit")),
		"homelab-firewall.service.d/test.conf": "[Service]\nStandardError=append:" + e.dir + "/journal\n",
		"homelab-containers.service.d/test.conf": "[Service]\nStandardError=append:" + e.dir + "/journal\nRestartSec=1\nEnvironment=PATH=" + e.dir + "/bin:" + machinePath +
			" HOMELAB_RUN=" + e.dir + "/run HOMELAB_CONTAINERS_INTERVAL=0.1\n",
	} {
		file := m.at("/etc/systemd/system/" + name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	systemctl := func(words ...string) (string, error) {
		return m.run("", append([]string{"/usr/local/sbin/systemctl"}, words...)...)
	}
	tables := func() string { return m.must(t, "nft", "list", "tables") }
	require.Empty(t, tables())
	_, err := systemctl("start", "homelab-firewall")
	require.Error(t, err)
	assert.Equal(t, "table inet homelab\n", tables(), "a machine whose filter cannot be loaded is closed")
	_, err = systemctl("start", "homelab-containers")
	require.Error(t, err)
	time.Sleep(3 * time.Second) // it is tried again, and must fail again
	assert.NoDirExists(t, e.dir+"/run/gates")
	assert.Empty(t, e.read("starts"))
	for _, name := range e.names {
		said, err := exec.Command(e.dir+"/docker", "start", name).CombinedOutput()
		require.Error(t, err, "%s starts without the packet filter", name)
		assert.Contains(t, string(said), "bind source path does not exist: "+e.dir+"/run/gates/")
	}
	assert.Contains(t, e.read("journal"), "no container starts, because the packet filter is not loaded: see systemctl status homelab-firewall")

	e.put("firewall.nft", good, 0o644)
	said, err := systemctl("start", "homelab-firewall")
	require.NoError(t, err, "%s\n%s", said, e.read("journal"))
	all := tables()
	assert.Greater(t, strings.Count(all, "\n"), 1)
	e.put("firewall.nft", good+"\nadd rule inet homelab nowhere drop\n", 0o644)
	_, err = systemctl("restart", "homelab-firewall")
	require.Error(t, err)
	assert.Equal(t, all, tables(), "the filter that stands is kept")
	e.put("firewall.nft", good, 0o644)
	m.must(t, "/usr/local/sbin/systemctl", "reset-failed", "homelab-firewall") // it was started too often
	m.must(t, "/usr/local/sbin/systemctl", "start", "homelab-firewall")
	require.Eventually(t, func() bool {
		said, _ = systemctl("show", "--property=ActiveState,StatusText", "homelab-containers")
		return strings.Contains(said, "ActiveState=active") && strings.Contains(said, "StatusText=0 of 6 containers healthy")
	}, 20*time.Second, 100*time.Millisecond, "%s", said)
	require.Eventually(t, func() bool { return strings.Count(e.read("starts"), "\n") == 2 }, 20*time.Second, 100*time.Millisecond)
	assert.Equal(t, []string{"authelia-store", "crowdsec"}, e.started())
}

// A portal that does not become healthy keeps nothing else down forever.
func TestABootWithABrokenPortal(t *testing.T) {
	e := newEngine(t)
	e.healthy("authelia-store", "crowdsec")
	e.runs("HOMELAB_STAGE_SECONDS=3")
	e.shows("2 of 6 containers healthy: authelia starting, caddy exited")
	assert.Equal(t, []string{"authelia"}, e.settles())
	e.becomes("authelia", "restarting", "Restarting (1) 1 second ago")
	e.shows("authelia restarting, caddy starting")
	e.healthy("caddy")
	e.shows("3 of 6 containers healthy: authelia restarting, jellyfin waits for media, jellyseerr starting")
}

// On a machine without containers every gate is open before the first one is made.
func TestTheGatesOfANewMachine(t *testing.T) {
	e := newEngine(t)
	var binds []string
	for _, name := range e.names {
		binds = append(binds, e.read("containers/"+name+"/mounts"))
		assert.Contains(t, binds[len(binds)-1], e.dir+"/run/gates/", "%s has no turn", name)
	}
	require.NoError(t, os.RemoveAll(e.dir+"/containers"))
	require.NoError(t, os.Mkdir(e.dir+"/containers", 0o755))
	e.runs()
	require.Eventually(t, func() bool { _, err := os.Stat(e.dir + "/ready"); return err == nil }, 10*time.Second, 10*time.Millisecond)
	for _, binds := range binds {
		for _, source := range strings.Fields(binds) {
			if strings.HasPrefix(source, e.dir+"/run/gates/") && filepath.Base(source) != "media" {
				assert.DirExists(t, source)
			}
		}
	}
}

// A service sees the library's parent, as it is defined, and a mount that comes later; nobody else
// sees it at all.
func TestWhoSeesTheLibrary(t *testing.T) {
	deployment, err := simulate(t, nil).Deployment()
	require.NoError(t, err)
	want, seen := map[string]service.Library{}, map[string]service.Library{}
	for _, d := range media.Catalog() {
		if d.Library != (service.Library{}) && !d.Default.Off {
			want[d.Name] = d.Library
		}
	}
	for _, r := range deployment.Resources {
		if r.Type != "docker:index/container:Container" {
			continue
		}
		list, _ := r.Inputs["mounts"].([]any)
		for _, m := range list {
			mount, _ := m.(map[string]any)
			if source, _ := mount["source"].(string); source != "/mnt" {
				assert.NotContains(t, source, "/mnt")
				continue
			}
			name, target := fmt.Sprint(r.Inputs["name"]), fmt.Sprint(mount["target"])
			assert.NotContains(t, seen, name, "it sees the library twice")
			seen[name] = service.WriteLibrary(target)
			if mount["readOnly"] == true {
				seen[name] = service.ReadLibrary(target)
			}
			assert.Equal(t, map[string]any{"propagation": "rslave"}, mount["bindOptions"])
		}
	}
	assert.Equal(t, want, seen)
	assert.Equal(t, service.ReadLibrary("/media"), seen["jellyfin"], "the player changes nothing")
}

// What systemctl status shows of the containers follows what Docker says of them.
func TestTheStateOfTheContainers(t *testing.T) {
	e := newWellEngine(t)
	e.becomes("crowdsec", "running", "Up 3 seconds (health: starting)")
	e.becomes("authelia", "exited", "Exited (1) 5 seconds ago")
	e.shows("4 of 6 containers healthy: authelia exited, crowdsec starting")
	e.healthy("crowdsec")
	require.NoError(t, os.RemoveAll(e.dir+"/containers/authelia"))
	e.shows("5 of 5 containers healthy")
	require.NoError(t, os.WriteFile(e.dir+"/down", nil, 0o600))
	e.shows("Docker does not answer")
	for line, times := range map[string]int{"caddy is healthy\n": 1, "crowdsec is starting\n": 1, "crowdsec is healthy\n": 2, "authelia is exited\n": 1, "authelia is gone\n": 1} {
		assert.Equal(t, times, strings.Count(e.read("journal"), line), "%s in %s", line, e.read("journal"))
	}
}
