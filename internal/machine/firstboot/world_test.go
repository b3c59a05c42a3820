//go:build machine

package firstboot

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/disk"
	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/programs"
	"homelab/internal/machine/internal/qemu"
	"homelab/internal/machine/internal/sources"
	"homelab/internal/machine/internal/tailnet"
	"homelab/internal/machine/internal/tailnet/control"
)

// TestMain lets the tailnet run its own process from this executable.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == control.Command {
		os.Exit(control.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// Where things are on the internet of the test. The ranges are those of documentation.
var (
	debianAddress    = netip.MustParseAddr("203.0.113.10")
	vendorsAddress   = netip.MustParseAddr("203.0.113.11")
	tailscaleAddress = netip.MustParseAddr("203.0.113.12")
)

const (
	components = "../../../components/"
	operator   = "a@example.com" // an admin of the policy in components/tailnet/testdata
	member     = "m@example.com" // one who is no admin
	serverTag  = "tag:homelab"
	diskGB     = 20
)

// world is all that is outside the machine.
type world struct {
	network *link.Network
	tailnet *tailnet.Tailnet
	image   disk.Image
	policy  string
	rules   []link.Rule // of Hetzner's firewall
}

func newWorld(t *testing.T) *world {
	t.Helper()
	home, err := os.UserCacheDir()
	require.NoError(t, err)
	cache := filepath.Join(home, "homelab", "machine")
	ca, err := authority.OfCache(cache)
	require.NoError(t, err)
	keys, err := sources.OpenKeys(filepath.Join(cache, "keys"))
	require.NoError(t, err)
	client, err := programs.Tailscale(t.Context(), os.Stdout)
	require.NoError(t, err)
	w := &world{}
	w.image, err = disk.Base(t.Context(), disk.Options{
		Cache: filepath.Join(cache, "disks"), Files: keys.Files(ca.PEM()), Substitutes: sources.DockerPackages(), Progress: os.Stdout,
	})
	require.NoError(t, err)
	vendors, err := sources.New(keys, client, w.image.Packages)
	require.NoError(t, err)

	w.network, err = link.New(link.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.network.Close()) })
	certificate, err := ca.Issue(sources.Hosts()...)
	require.NoError(t, err)
	w.serve(t, netip.AddrPortFrom(vendorsAddress, 443), vendors, &tls.Config{Certificates: []tls.Certificate{certificate}})
	w.serve(t, netip.AddrPortFrom(debianAddress, 80), &sources.Debian{Folder: filepath.Join(cache, "debian")}, nil)
	w.network.Name(sources.DebianHost, debianAddress)
	for _, host := range sources.Hosts() {
		w.network.Name(host, vendorsAddress)
	}
	policy, err := os.ReadFile(components + "tailnet/testdata/admins-and-members.golden")
	require.NoError(t, err)
	w.policy, w.rules = string(policy), declaredRules(t)
	w.tailnet, err = tailnet.Start(t.Context(), tailnet.Options{
		Dir: t.TempDir(), Network: w.network, IPv4: tailscaleAddress, Certificate: ca.Issue, Domain: "tail1234.ts.net", Operator: operator, Policy: policy,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.tailnet.Close()) })
	return w
}

// serve answers HTTP at an address of the internet, over TLS where there are settings for it.
func (w *world) serve(t *testing.T, at netip.AddrPort, handler http.Handler, settings *tls.Config) {
	t.Helper()
	listener, err := w.network.Listen(at)
	require.NoError(t, err)
	if settings != nil {
		listener = tls.NewListener(listener, settings)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
}

// server is a machine as hcloud.Server describes it, and what its deployment knows.
type server struct {
	qemu.Config
	place    link.Machine
	userData []byte
	hostKey  ssh.PublicKey
}

// newServer makes a server that was never switched on.
func (w *world) newServer(t *testing.T) *server {
	t.Helper()
	key, err := w.tailnet.AuthKey(t.Context(), tailnet.KeyOptions{Tags: []string{serverTag}, Expiry: time.Hour})
	require.NoError(t, err)
	s := &server{place: link.Machine{
		ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 0, 0x47, 0x11}, IPv4: netip.MustParseAddr("198.51.100.7"), IPv6: netip.MustParsePrefix("2001:db8:7::/64"),
	}}
	s.userData, s.hostKey = userData(t, key.Secret)
	// At creation, as the deployment does: there is no moment without it.
	require.NoError(t, w.network.SetFirewall(s.place.ID, w.rules))
	s.place.Metadata = link.Metadata{Hostname: hostname, UserData: s.userData, AvailabilityZone: "fsn1-dc14", Region: "eu-central"}
	dir := t.TempDir()
	require.NoError(t, w.image.Overlay(t.Context(), filepath.Join(dir, "disk.qcow2"), diskGB))
	console, err := os.Create(filepath.Join(consoles(t), t.Name()+".log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, console.Close()) })
	t.Logf("the console: %s", console.Name())
	s.Config = qemu.Config{
		Dir: dir, Disk: filepath.Join(dir, "disk.qcow2"), Server: s.place.ID, Kernel: w.image.Kernel, Initrd: w.image.Initrd, Append: w.image.Append,
		MAC: s.place.MAC, Console: console, Progress: os.Stdout,
		Link: func(cable net.Conn) {
			if err := w.network.Attach(cable, s.place); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("the machine's cable: %v", err)
			}
		},
	}
	return s
}

// consoles is where what the machines print stays, so that somebody can watch.
func consoles(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "homelab-machine")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	return dir
}

// hostname is the server's in the golden file of the user data.
const hostname = "homelab-a1b2c3"

// userData is what components/host renders, with real keys in the places of those that its golden
// file has: the same bytes otherwise.
func userData(t *testing.T, nodeKey string) ([]byte, ssh.PublicKey) {
	t.Helper()
	golden, err := os.ReadFile(components + "host/testdata/cloud-init.golden")
	require.NoError(t, err)
	private, public := sshKey(t)
	_, recovery := sshKey(t)
	const indent = "\n        "
	out := string(golden)
	for old, with := range map[string]string{
		"-----BEGIN OPENSSH PRIVATE KEY-----" + indent + "host" + indent + "-----END OPENSSH PRIVATE KEY-----": strings.ReplaceAll(private, "\n", indent),
		"ssh-ed25519 AAAAhost":     authorized(public),
		"ssh-ed25519 AAAArecovery": authorized(recovery),
		"tskey-auth-node":          nodeKey,
	} {
		require.Equal(t, 1, strings.Count(out, old), "the golden file has changed: %q", old)
		out = strings.ReplaceAll(out, old, with)
	}
	return []byte(out), public
}

func sshKey(t *testing.T) (private string, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return strings.TrimSpace(string(pem.EncodeToMemory(block))), signer.PublicKey()
}

func authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// machine is a server that was switched on.
type machine struct {
	*qemu.Machine
	t       *testing.T
	world   *world
	server  *server
	started time.Time
}

// boot switches the server on; it is off when the test ends.
func (w *world) boot(t *testing.T, s *server) *machine {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &machine{t: t, world: w, server: s, started: time.Now()}
	var err error
	m.Machine, err = qemu.Start(ctx, s.Config)
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, m.Wait())
	})
	return m
}

// root runs a script as root through the guest agent, and returns what it prints, or fails the test.
func (m *machine) root(patience time.Duration, script string) string {
	m.t.Helper()
	return m.rootReading(patience, "", script)
}

// rootReading is root with something for the script to read.
func (m *machine) rootReading(patience time.Duration, stdin, script string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	result, err := m.Run(ctx, stdin, "bash", "-c", script)
	require.NoError(m.t, err, script)
	require.Zero(m.t, result.Code, "%s: %s%s", script, result.Stdout, result.Stderr)
	return strings.TrimSpace(result.Stdout)
}

// deploy runs a command as the deployment does: over the tailnet, with Tailscale SSH and the pinned
// host key.
func (m *machine) deploy(patience time.Duration, command string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	conn, err := m.world.tailnet.Dial(ctx, "tcp", hostname+":22")
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client, channels, requests, err := ssh.NewClientConn(conn, hostname, &ssh.ClientConfig{
		User: "deploy", HostKeyCallback: ssh.FixedHostKey(m.server.hostKey), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		return "", errors.Join(err, conn.Close())
	}
	over := ssh.NewClient(client, channels, requests)
	defer func() { _ = over.Close() }()
	session, err := over.NewSession()
	if err != nil {
		return "", err
	}
	said, err := session.CombinedOutput(command)
	return string(said), err
}
