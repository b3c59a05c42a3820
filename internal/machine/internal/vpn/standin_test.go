//go:build linux

package vpn

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/link"
	"homelab/internal/toolchain"
	"homelab/internal/vpnkeys"
)

const (
	patience = 60 * time.Second
	interval = 200 * time.Millisecond
)

var (
	exitAddress = netip.MustParseAddr("203.0.113.14")
	endpoint51  = netip.MustParseAddrPort("185.213.154.68:51820")
	siteAddress = netip.MustParseAddr("203.0.113.80")
	stranger    = netip.MustParseAddrPort("9.9.9.9:53")
)

// builds is the folder of what tests build.
var builds string

// standin is the program, built once for all tests.
var standin = sync.OnceValues(func() (string, error) {
	out := filepath.Join(builds, "standin")
	return out, toolchain.CompileStatic(context.Background(), out, "./internal/standins/program", io.Discard)
})

func TestMain(m *testing.M) {
	var err error
	if builds, err = os.MkdirTemp("", "standin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(builds) // the tests are over
	os.Exit(code)
}

// rehearsal is a machine on an internet with one site and a VPN, and a container for the stand-in.
type rehearsal struct {
	t         *testing.T
	network   *link.Network
	server    *Server
	machine   *space
	container *space
	left      *outside
	program   string
	env       []string
	folder    string // of files for the container
	resolv    string
	log       *printed
}

// printed is what the stand-in prints.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *printed) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *printed) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRehearsal(t *testing.T, key *ecdh.PrivateKey, client *ecdh.PublicKey) *rehearsal {
	t.Helper()
	program, err := standin()
	require.NoError(t, err)
	network, err := link.New(link.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, network.Close()) })
	said := &printed{}
	server, err := Start(Options{Network: network, Exit: exitAddress, Key: key, Client: client, Log: said})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	network.Newcomers(server.Newcomer)
	ca, err := authority.Open(t.TempDir())
	require.NoError(t, err)
	seen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	for _, s := range []link.Site{
		{Hosts: []string{"site.example.com"}, Addresses: []netip.Addr{siteAddress}, Plain: true, Handler: seen},
		{Hosts: []string{link.OpenResolver.String()}, Addresses: []netip.Addr{link.OpenResolver}, Authority: ca, Handler: seen},
	} {
		_, err := network.Serve(s)
		require.NoError(t, err)
	}
	r := &rehearsal{t: t, network: network, server: server, program: program, machine: newSpace(t), log: &printed{}}
	r.left = r.machine.plug(network)
	r.files()
	return r
}

// withContainer is newRehearsal with a network namespace in the place of a container.
func withContainer(t *testing.T, key *ecdh.PrivateKey, client *ecdh.PublicKey) *rehearsal {
	t.Helper()
	r := newRehearsal(t, key, client)
	r.container = r.machine.container()
	return r
}

// files are what the deployment gives the container.
func (r *rehearsal) files() {
	folder := r.t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(folder, name)
		require.NoError(r.t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	r.folder, r.resolv = folder, write("resolv.conf", "nameserver 127.0.0.11\n")
	r.env = []string{
		"PATH=" + os.Getenv("PATH"), "VPN_SERVICE_PROVIDER=custom", "VPN_TYPE=wireguard", "VPN_INTERFACE=tun0",
		"HTTP_CONTROL_SERVER_ADDRESS=127.0.0.1:8000", "WIREGUARD_ENDPOINT_IP=" + endpoint51.Addr().String(), fmt.Sprintf("WIREGUARD_ENDPOINT_PORT=%d", endpoint51.Port()),
		"WIREGUARD_PUBLIC_KEY=8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "WIREGUARD_ADDRESSES=10.67.12.34/32",
		"WIREGUARD_PRIVATE_KEY_SECRETFILE=" + write("key", vpnkeys.Text(make([]byte, vpnkeys.Bytes))),
		"HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH=" + write("config.toml", "[[roles]]\nname = \"health\"\nroutes = [\"GET /v1/vpn/status\"]\nauth = \"none\"\n"),
	}
}

// run is the stand-in with the rights that the container has, and its own resolv.conf as Docker
// mounts one.
func (r *rehearsal) run(name string, arguments ...string) *exec.Cmd {
	script := `mount --bind "$1" /etc/resolv.conf; shift; exec setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all --no-new-privs -- "$@"`
	cmd := exec.Command("sh", append([]string{"-ec", script, "container", r.resolv, r.program}, arguments...)...)
	cmd.Env = append([]string{"HOMELAB_STANDIN=" + name}, r.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// start starts the stand-in; stop ends it, which it survives without an error.
func (r *rehearsal) start() (stop func()) {
	cmd := r.run("gluetun")
	cmd.Stdout, cmd.Stderr = r.log, r.log
	var err error
	r.container.do(func() { err = cmd.Start() })
	require.NoError(r.t, err)
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		assert.NoError(r.t, cmd.Wait(), r.log)
	})
	r.t.Cleanup(stop)
	return stop
}

// healthcheck is the container's health check.
func (r *rehearsal) healthcheck() (string, error) {
	return r.exec("gluetun", "healthcheck")
}

// exec runs a program in the container, as docker exec does.
func (r *rehearsal) exec(name string, arguments ...string) (string, error) {
	var out []byte
	var err error
	r.container.do(func() { out, err = r.run(name, arguments...).CombinedOutput() })
	return string(out), err
}

func (r *rehearsal) becomesHealthy() {
	r.t.Helper()
	require.Eventually(r.t, func() bool { _, err := r.healthcheck(); return err == nil }, patience, interval, "it is not healthy: %s", r.log)
}

func (r *rehearsal) becomesUnhealthy(says string) {
	r.t.Helper()
	var said string
	require.Eventually(r.t, func() bool {
		var err error
		said, err = r.healthcheck()
		return err != nil && strings.Contains(said, says)
	}, patience, interval, "it stays healthy: %s", said)
}

// dial connects from the container.
func (r *rehearsal) dial(network, address string) (conn net.Conn, err error) {
	r.container.do(func() { conn, err = net.DialTimeout(network, address, 10*time.Second) })
	return conn, err
}

// get asks an HTTP server from the container.
func (r *rehearsal) get(method, url string) (int, string, error) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (net.Conn, error) { return r.dial(network, address) },
	}}
	request, err := http.NewRequestWithContext(r.t.Context(), method, url, nil)
	require.NoError(r.t, err)
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// sendsPastTheTunnel sends by all ways, and fails if anything but the tunnel itself leaves.
func (r *rehearsal) sendsPastTheTunnel(state string) {
	r.t.Helper()
	r.left.since()
	for range 3 {
		r.container.sends(stranger, netip.AddrPortFrom(siteAddress, 80), netip.AddrPortFrom(endpoint51.Addr(), 443), netip.AddrPortFrom(link.NameServers[0], 53))
		time.Sleep(interval)
	}
	for what := range r.left.since() {
		assert.Equal(r.t, tunnelItself, what, state)
	}
}

// tunnelItself is what may leave the machine.
var tunnelItself = fmt.Sprintf("protocol 17 to %s", endpoint51)

func TestTheStandinReachesTheInternetByTheTunnelAlone(t *testing.T) {
	r := withContainer(t, vpnkeys.Server(), vpnkeys.Client().PublicKey())
	r.container.sends(stranger)
	require.Eventually(t, func() bool {
		seen := r.left.since()
		return seen["protocol 17 to 9.9.9.9:53"] || seen["protocol 6 to 9.9.9.9:53"]
	}, patience, interval, "nothing is seen outside: this test proves nothing")
	assert.Empty(t, r.server.Addresses())

	stop := r.start()
	r.becomesHealthy()
	assert.Equal(t, []netip.AddrPort{endpoint51}, r.server.Addresses())
	assert.Contains(t, r.log.String(), "uses those of a rehearsal at both ends")
	assert.Equal(t, "lo tun0", strings.Join(strings.Fields(strings.Replace(r.container.interfaces(), "eth0", "", 1)), " "))

	status, seenFrom, err := r.get(http.MethodGet, "http://"+siteAddress.String()+"/")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, exitAddress, netip.MustParseAddrPort(seenFrom).Addr(), "the internet sees the VPN's exit")
	seenFrom, err = r.exec("wget", "-q", "-T", "4", "-O", "-", "https://1.1.1.1/cdn-cgi/trace") // as homelab-metrics asks
	require.NoError(t, err, seenFrom)
	assert.Equal(t, exitAddress, netip.MustParseAddrPort(seenFrom).Addr())
	_, err = r.dial("tcp", siteAddress.String()+":81")
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "nobody listens there")
	_, err = r.dial("tcp", "203.0.113.99:80")
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "nobody has the address")

	text, err := os.ReadFile(r.resolv)
	require.NoError(t, err)
	assert.Equal(t, "nameserver 1.1.1.1\n", string(text))
	resolver := &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) { return r.dial(network, "1.1.1.1:53") }}
	found, err := resolver.LookupNetIP(t.Context(), "ip4", "site.example.com")
	require.NoError(t, err)
	assert.Equal(t, []netip.Addr{siteAddress}, found)

	status, said, err := r.get(http.MethodGet, "http://127.0.0.1:8000/v1/vpn/status")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"status":"running"}`, said)
	status, _, err = r.get(http.MethodPut, "http://127.0.0.1:8000/v1/vpn/status")
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status)
	for what := range r.left.since() {
		if !strings.Contains(what, "9.9.9.9") { // what was sent before the stand-in
			assert.Equal(t, tunnelItself, what)
		}
	}
	r.sendsPastTheTunnel("the tunnel is up")

	require.NoError(t, r.network.HostDown(true, endpoint51.Addr()))
	r.becomesUnhealthy("nobody answers beyond the tunnel")
	r.sendsPastTheTunnel("the server is gone")
	require.NoError(t, r.network.HostDown(false, endpoint51.Addr()))
	r.becomesHealthy()

	stop()
	assert.NotContains(t, r.container.interfaces(), "tun0")
	r.sendsPastTheTunnel("the program has ended")
	assert.Empty(t, r.left.since())
}

// Who is on the container's network reaches what is behind the tunnel; the other way there is
// nothing that a packet filter of the machine would not let through.
func TestNeighboursReachWhatIsBehindTheTunnel(t *testing.T) {
	r := withContainer(t, vpnkeys.Server(), vpnkeys.Client().PublicKey())
	r.env = append(r.env, "FIREWALL_VPN_INPUT_PORTS=4711")
	r.start()
	r.becomesHealthy()
	r.container.do(func() {
		behind, err := net.Listen("tcp", "0.0.0.0:8080")
		require.NoError(t, err)
		t.Cleanup(func() { _ = behind.Close() })
		go func() { _ = http.Serve(behind, http.NotFoundHandler()) }()
	})
	var conn net.Conn
	var err error
	r.machine.do(func() { conn, err = net.DialTimeout("tcp", containerAddress+":8080", 5*time.Second) })
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = r.dial("tcp", bridgeAddress+":9")
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "a neighbour answers that nobody listens")
}

func TestTheStandinIsNeverHealthyWithAnotherServer(t *testing.T) {
	other, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key     *ecdh.PrivateKey
		client  *ecdh.PublicKey
		answers bool
	}{
		"the server has another key":      {other, vpnkeys.Client().PublicKey(), false},
		"the server knows another client": {vpnkeys.Server(), other.PublicKey(), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := withContainer(t, c.key, c.client)
			r.start()
			r.becomesUnhealthy("has not answered yet")
			r.sendsPastTheTunnel("the server does not answer")
			for range 20 { // longer than it takes to become healthy with the right one
				_, err := r.healthcheck()
				require.Error(t, err)
				time.Sleep(interval)
			}
			assert.Equal(t, c.answers, len(r.server.Addresses()) == 1)
		})
	}
}
