//go:build host

package host

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

// forwardedPort is what the VPN's provider always forwards.
const forwardedPort = 4711

// flowSettings are the stack's, with the VPN of the kill switch's tests and an indexer.
var flowSettings = map[string]any{
	"homelab:vpn": map[string]any{
		"provider": "custom", "forwardedPort": forwardedPort,
		"wireguard": map[string]any{
			"address": vpnServer, "port": vpnPort, "publicKey": "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "addresses": []any{insideTheVPN + "/32"},
		},
	},
	"homelab:wiring": map[string]any{"jackettIndexers": []any{"rarbg"}},
}

// flow is the deployment's media stack: its networks behind its packet filter, its VPN tunnel, its
// library on a box, and in each of its containers a program.
type flow struct {
	*killswitch
	*tracker
	library  *library
	deployed map[string]string         // the deployment's files
	inputs   map[string]map[string]any // the deployment's containers
	folder   string
	layout   []string // what the unit makes of the library
	log      string   // of all apps, in the order in which things happened
	programs map[string]string
	plan     map[string]map[string]any
	client   *qbittorrent // behind the tunnel
}

var flowPrograms = map[string]toolchain.Tool{
	"wire": {Name: "homelab-wire", Dir: "images/wire", Package: ".", LDFlags: []string{"-s", "-w"}},
	"app":  {Name: "homelab-fake-app", Dir: "images/wire", Package: "./fake/app", LDFlags: []string{"-s", "-w"}},
}

func newFlow(t *testing.T) *flow {
	t.Helper()
	w := simulate(t, flowSettings)
	deployment, err := w.Deployment()
	require.NoError(t, err)
	machine := filterOf(t, w)
	machine.ports = nil // nobody answers there but the apps
	machine.addContainers(deployment.Resources)
	f := &flow{deployed: files(t, commands(w)), inputs: map[string]map[string]any{}, programs: map[string]string{}}
	for _, r := range deployment.Resources {
		if r.Type == "docker:index/container:Container" {
			f.inputs[fmt.Sprint(r.Inputs["name"])] = r.Inputs
		}
	}
	var plan map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(f.deployed["/opt/homelab/wire/plan/plan.json"]), &plan))
	f.plan = map[string]map[string]any{}
	for name, part := range plan {
		app := map[string]any{}
		if json.Unmarshal(part, &app) == nil {
			f.plan[name] = app
		}
	}
	network := machine.networks[theTunnel]
	f.killswitch = withTunnel(machine, tunnelPlace{
		machine.containers[theTunnel].addresses[theTunnel].String(), network.gateway, network.subnet.String(),
	})
	f.tunnel = machine.containers[theTunnel].Namespace
	f.wireSwarm()
	f.outer = captureAt(t, f.outside, "net0", f.machine)
	f.load()
	f.mountLibrary()
	f.makeFolders()
	return f
}

// mountLibrary mounts the box below a folder that the apps see, as /mnt is seen on the machine.
func (f *flow) mountLibrary() {
	t := f.t
	l := newLibrary(t, f.deployed)
	f.library, f.folder = l, l.dir
	mnt := l.dir + "/mnt"
	require.NoError(t, os.Mkdir(mnt, 0o755))
	run(t, "mount", "--bind", mnt, mnt)
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", "--recursive", mnt).Run() })
	run(t, "mount", "--make-shared", mnt)
	l.point = mnt + "/" + filepath.Base(l.point)
	require.NoError(t, os.Mkdir(l.point, 0o755))
	unit := f.deployed["/etc/systemd/system/homelab-media.service"]
	_, words, found := strings.Cut(unit, "homelab-media layout ")
	require.True(t, found, unit)
	words, _, _ = strings.Cut(words, "\n")
	f.layout = strings.Fields(words)[1:]
	l.serve(f.deployed["/opt/homelab/media/password"])
	f.libraryComes()
}

// libraryComes does what systemd does when the box's mount starts, and libraryGoes when it ends.
func (f *flow) libraryComes() {
	f.t.Helper()
	require.NoError(f.t, f.library.mount())
	require.NoError(f.t, f.library.program(append([]string{"layout", f.library.gate()}, f.layout...)...))
	require.DirExists(f.t, f.library.gate())
}

func (f *flow) libraryGoes() {
	f.t.Helper()
	f.library.unmount()
	require.NoError(f.t, f.library.program("close", f.library.gate()))
}

// makeFolders makes what the machine has for the apps, and builds the programs.
func (f *flow) makeFolders() {
	t := f.t
	f.log = f.folder + "/log"
	for name, owner := range map[string]int{"downloads": 2000, "downloads/complete": 2000, "downloads/incomplete": 2000, "profile": 2000, "state": 2001, "bin": 0, "names": 0, "logs": 0} {
		require.NoError(t, os.MkdirAll(f.folder+"/"+name, 0o755))
		require.NoError(t, os.Chown(f.folder+"/"+name, owner, owner))
	}
	for _, point := range []string{"/downloads", "/media"} { // only mount points
		if err := os.Mkdir(point, 0o755); err == nil {
			t.Cleanup(func() { _ = os.Remove(point) })
		}
	}
	for name, tool := range flowPrograms {
		built, err := toolchain.Build(t.Context(), tool, os.Stderr)
		require.NoError(t, err)
		program, err := os.ReadFile(built)
		require.NoError(t, err)
		f.programs[name] = f.folder + "/bin/" + name
		require.NoError(t, os.WriteFile(f.programs[name], program, 0o755))
	}
	require.NoError(t, os.WriteFile(f.folder+"/resolv.conf", []byte("nameserver 127.0.0.1\n"), 0o644))
	plan := f.folder + "/plan.json"
	require.NoError(t, os.WriteFile(plan, []byte(f.deployed["/opt/homelab/wire/plan/plan.json"]), 0o400))
	require.NoError(t, os.Chown(plan, 2001, 2001))
}

// names writes the names that a container knows, as Docker's resolver does: of who is on several of
// its networks, the address in the first of them by name.
func (f *flow) names(container string) string {
	f.t.Helper()
	home := container
	if slices.Contains(f.behind, container) {
		home = theTunnel
	}
	out := "127.0.0.1 localhost\n"
	for name, other := range f.containers {
		for _, network := range slices.Sorted(maps.Keys(other.addresses)) {
			if _, shared := f.containers[home].addresses[network]; shared {
				out += fmt.Sprintf("%s %s\n", other.addresses[network], name)
				break
			}
		}
	}
	file := f.folder + "/names/" + container
	require.NoError(f.t, os.WriteFile(file, []byte(out), 0o644))
	return file
}

// sees returns the folder of this machine that a container has at a path, or "".
func (f *flow) sees(container, target string) string {
	for _, m := range f.inputs[container]["mounts"].([]any) {
		mount := m.(map[string]any)
		if mount["target"] != target {
			continue
		}
		switch mount["source"] {
		case "/mnt":
			return f.folder + "/mnt"
		case "/var/lib/homelab/downloads":
			return f.folder + "/downloads"
		}
	}
	return ""
}

// inContainer returns a command in the network of a container, as its user, with its names and with
// the folders that it shares with others.
func (f *flow) inContainer(container string, command ...string) *exec.Cmd {
	f.t.Helper()
	user, group, _ := strings.Cut(fmt.Sprint(f.inputs[container]["user"]), ":")
	const script = `
		mount --bind "$1" /etc/hosts
		mount --bind "$2" /etc/resolv.conf
		[ -z "$3" ] || mount --bind "$3" /downloads
		[ -z "$4" ] || mount --rbind "$4" /media
		user=$5 group=$6
		shift 6
		exec setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"`
	cmd := exec.Command("unshare", append([]string{
		"--mount", "--propagation", "slave", "sh", "-ec", script, "sh", f.names(container), f.folder + "/resolv.conf",
		f.sees(container, "/downloads"), f.sees(container, "/media"), user, group,
	}, command...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME=/nonexistent")
	return cmd
}

// start starts a command that goes on until the test ends.
func (f *flow) start(container string, cmd *exec.Cmd) {
	t := f.t
	t.Helper()
	said, err := os.Create(f.folder + "/logs/" + container)
	require.NoError(t, err)
	cmd.Stderr = said
	space := f.tunnel
	if c := f.containers[container]; c != nil {
		space = c.Namespace
	}
	require.NoError(t, space.Start(cmd))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = said.Close()
		if t.Failed() {
			text, _ := os.ReadFile(f.folder + "/logs/" + container)
			t.Logf("%s: %s", container, text)
		}
	})
}

// startApps starts what the tests have in the place of the apps, each with the secrets that the
// deployment has given to the app.
func (f *flow) startApps(releases map[string][]byte) {
	t := f.t
	t.Helper()
	secret := func(app, name string) string { value, _ := f.plan[app][name].(string); return value }
	for _, name := range []string{"radarr", "sonarr", "prowlarr"} {
		var config struct{ ApiKey string }
		require.NoError(t, xml.Unmarshal([]byte(f.deployed["/opt/homelab/"+name+"/seed/config.xml"]), &config))
		f.startApp(name, config.ApiKey, "", nil)
	}
	var config struct{ APIKey string }
	require.NoError(t, json.Unmarshal([]byte(f.deployed["/opt/homelab/jackett/seed/ServerConfig.json"]), &config))
	f.startApp("jackett", config.APIKey, secret("jackett", "password"), releases)
	f.startApp("jellyfin", "", secret("jellyfin", "password"), nil)
	f.startApp("jellyseerr", "", "", nil)
}

func (f *flow) startApp(name, key, password string, releases map[string][]byte) {
	t := f.t
	t.Helper()
	at := fmt.Sprint(f.plan[name]["url"])
	instance, err := json.Marshal(map[string]any{
		"app": name, "listen": at[strings.LastIndexByte(at, ':'):], "key": key, "password": password, "releases": releases,
	})
	require.NoError(t, err)
	cmd := f.inContainer(name, f.programs["app"])
	cmd.Stdin = bytes.NewReader(instance)
	log, err := os.OpenFile(f.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	require.NoError(t, err)
	defer log.Close()
	cmd.Stdout = log
	f.start(name, cmd)
}

// startClient starts qBittorrent with the file that the deployment has seeded.
func (f *flow) startClient() {
	t := f.t
	t.Helper()
	conf := f.deployed["/opt/homelab/qbittorrent/seed/qBittorrent.conf"]
	require.NotEmpty(t, conf)
	folder := f.folder + "/profile/qBittorrent/config"
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(folder+"/qBittorrent.conf", []byte(conf), 0o600))
	run(t, "chown", "--recursive", "2000:2000", f.folder+"/profile")
	f.start("qbittorrent", f.inContainer("qbittorrent", "qbittorrent-nox", "--profile="+f.folder+"/profile"))
	f.client = &qbittorrent{t: t, dir: f.folder, space: f.tunnel}
	require.Eventually(t, func() bool {
		response, err := f.client.inside().Get("http://127.0.0.1:" + torrentPort + "/api/v2/app/version")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, 30*time.Second, 100*time.Millisecond, "qBittorrent does not answer")
}

// wired is what the program that connects the apps did with one.
type wired struct {
	App      string   `json:"app"`
	Changes  []string `json:"changes"`
	Drift    []string `json:"drift"`
	Warnings []string `json:"warnings"`
	Problems []string `json:"problems"`
}

// wire runs the program that connects the apps, with the deployment's plan, and returns what it
// did.
func (f *flow) wire() map[string]wired {
	f.t.Helper()
	cmd := f.inContainer("wire", f.programs["wire"], "once", "--json", "--plan", f.folder+"/plan.json", "--state", f.folder+"/state", "--patience", "30s")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	require.NoError(f.t, f.containers["wire"].Do(cmd.Run), "%s%s", out.String(), said.String())
	var report struct{ Apps []wired }
	require.NoError(f.t, json.Unmarshal(out.Bytes(), &report))
	apps := map[string]wired{}
	for _, app := range report.Apps {
		apps[app.App] = app
	}
	require.Len(f.t, apps, 7)
	return apps
}

// ask sends JSON to an app from where the proxy is, and decodes the answer's.
func (f *flow) ask(client *http.Client, method, app, path string, header map[string]string, body, answer any) int {
	f.t.Helper()
	content, err := json.Marshal(body)
	require.NoError(f.t, err)
	url := fmt.Sprint(f.plan[app]["url"])
	at := netip.AddrPortFrom(f.containers[app].addresses["caddy-proxy"], netip.MustParseAddrPort("0.0.0.0"+url[strings.LastIndexByte(url, ':'):]).Port())
	request, err := http.NewRequestWithContext(f.t.Context(), method, "http://"+at.String()+path, bytes.NewReader(content))
	require.NoError(f.t, err)
	request.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	require.NoError(f.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	if answer != nil {
		require.NoError(f.t, json.Unmarshal(text, answer), "%s %s: %d %s", app, path, response.StatusCode, text)
	}
	return response.StatusCode
}

// lines are what the apps have logged since a line of their log.
func (f *flow) lines(from int) []string {
	text, _ := os.ReadFile(f.log)
	all := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	return all[min(from, len(all)):]
}

// logs waits for a line that the apps log after another, and returns the number of the next one.
func (f *flow) logs(from int, line string) (next int) {
	f.t.Helper()
	found := -1
	if !waitFor(30*time.Second, func() bool { found = slices.Index(f.lines(from), line); return found >= 0 }) {
		require.Fail(f.t, "not logged: "+line, "%s", strings.Join(f.lines(from), "\n"))
	}
	return from + found + 1
}
