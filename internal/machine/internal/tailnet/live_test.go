//go:build linux

package tailnet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/machine/internal/programs"
)

const (
	operator = "a@example.com"
	member   = "m@example.com"
	domain   = "tail1234.ts.net"
	// echoPort is that of the only thing served over UDP.
	echoPort = 4007
)

// start runs a tailnet whose state is in dir; machines trust it by the file that is returned.
func start(t *testing.T, dir string, policy []byte) (*Tailnet, string) {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test needs root: it makes a network namespace")
	issue, trust := newAuthority(t)
	tailnet, err := Start(t.Context(), Options{
		Dir: dir, Network: ownNetwork{}, IPv4: serversIPv4, IPv6: serversIPv6, Certificate: issue, Domain: domain, Operator: operator, Policy: policy,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tailnet.Close()) })
	return tailnet, trust
}

// machine is a computer with Tailscale's own programs, started as the unit and the bootstrap do.
type machine struct {
	client, socket, dir string
	daemon              *exec.Cmd
	log                 bytes.Buffer
}

func newMachine(t *testing.T, trust string) *machine {
	t.Helper()
	built, err := programs.Tailscale(t.Context(), os.Stderr)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "tailscaled-") // the socket's path must be short
	require.NoError(t, err)
	m := &machine{client: built.Client, socket: filepath.Join(dir, "socket"), dir: dir}
	m.daemon = exec.Command(built.Daemon, "--statedir="+dir, "--socket="+m.socket, "--tun=userspace-networking", "--port=41641")
	m.daemon.Env = append(os.Environ(), "SSL_CERT_FILE="+trust, "TS_LOGS_DIR="+dir)
	m.daemon.Stdout, m.daemon.Stderr = &m.log, &m.log
	m.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, m.daemon.Start())
	t.Cleanup(func() {
		_ = m.daemon.Process.Signal(syscall.SIGTERM)
		_ = m.daemon.Wait()
		assert.NoError(t, os.RemoveAll(dir))
		if t.Failed() {
			t.Logf("tailscaled:\n%s", m.log.String())
		}
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(m.socket)
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	return m
}

// up joins with the words of the bootstrap; the key is in a file.
func (m *machine) up(t *testing.T, key, hostname string, timeout time.Duration) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(key), 0o600))
	out, err := exec.Command(m.client, "--socket="+m.socket, "up", "--auth-key=file:"+path, "--hostname="+hostname, "--advertise-tags=tag:homelab", "--ssh",
		"--accept-dns=false", "--snat-subnet-routes=false", fmt.Sprintf("--timeout=%s", timeout)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// hostKey is the key that Tailscale SSH shows: that of the computer's sshd, or one of its own where
// there is no sshd.
func (m *machine) hostKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	const name = "ssh_host_ed25519_key"
	text, err := os.ReadFile(filepath.Join("/etc/ssh", name))
	if errors.Is(err, os.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join(m.dir, "ssh", name))
	}
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(text)
	require.NoError(t, err)
	return signer.PublicKey()
}

// policyFor is the deployment's policy with another port, which no other program here serves, and
// with an echo for admins.
func policyFor(t *testing.T, port int) []byte {
	t.Helper()
	text := goldens(t)["admins-and-members"]
	require.Contains(t, text, "tcp:443")
	const grants = `"grants": [`
	require.Contains(t, text, grants)
	text = strings.Replace(text, grants, grants+fmt.Sprintf(`{"src": ["group:homelab-admins"], "dst": ["tag:homelab"], "ip": ["udp:%d"]},`, echoPort), 1)
	return []byte(strings.ReplaceAll(strings.ReplaceAll(text, "tcp:443", fmt.Sprintf("tcp:%d", port)), "tag:homelab:443", fmt.Sprintf("tag:homelab:%d", port)))
}

// serve answers every connection at a port of this computer.
func serve(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello\n")
			_ = conn.Close()
		}
	}()
	address, ok := listener.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return address.Port
}

// serveEcho sends every datagram back.
func serveEcho(t *testing.T) {
	t.Helper()
	packets, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", echoPort))
	require.NoError(t, err)
	t.Cleanup(func() { _ = packets.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			size, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(buffer[:size], from)
		}
	}()
}

// echo is what comes back for a datagram.
func echo(client *Client, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "udp", fmt.Sprintf("media.%s:%d", domain, echoPort))
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // it was read
	if err := conn.SetDeadline(time.Now().Add(4 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	buffer := make([]byte, 1<<16)
	size, err := conn.Read(buffer)
	return string(buffer[:size]), err
}

// greeting is what a port answers within some seconds; an error if it is not reached.
func greeting(client *Client, address string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // it was read
	if err := conn.SetDeadline(time.Now().Add(4 * time.Second)); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}

func TestThePolicyDecidesWhoReachesWhat(t *testing.T) {
	open, closed := serve(t), serve(t)
	serveEcho(t)
	dir := t.TempDir()
	tailnet, trust := start(t, dir, policyFor(t, open))
	key, err := tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}, Expiry: time.Hour})
	require.NoError(t, err)
	server := newMachine(t, trust)
	require.NoError(t, server.up(t, key.Secret, "media", time.Minute))
	admin, err := tailnet.Client(t.Context(), operator)
	require.NoError(t, err)
	other, err := tailnet.Client(t.Context(), member)
	require.NoError(t, err)

	at := func(port int) string { return fmt.Sprintf("media:%d", port) }
	t.Run("nodes", func(t *testing.T) { checkNodes(t, tailnet) })
	t.Run("the service is for both", func(t *testing.T) {
		for _, client := range []*Client{admin, other} {
			text, err := greeting(client, at(open))
			require.NoError(t, err, client.name)
			assert.Equal(t, "hello\n", text)
		}
	})
	t.Run("another port is for nobody", func(t *testing.T) {
		for _, client := range []*Client{admin, other} {
			_, err := greeting(client, at(closed))
			assert.Error(t, err, client.name)
		}
	})
	t.Run("UDP", func(t *testing.T) {
		text, err := echo(admin, "ping")
		require.NoError(t, err)
		assert.Equal(t, "ping", text)
		_, err = echo(other, "ping")
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	t.Run("SSH is for the admin, as deploy", func(t *testing.T) {
		pinned := server.hostKey(t)
		out, err := shell(admin, pinned, "deploy", "id -un")
		require.NoError(t, err)
		assert.Equal(t, "deploy\n", out)
		_, err = shell(admin, pinned, "root", "id -un")
		assert.ErrorContains(t, err, "handshake failed", "the policy names deploy alone")
		_, err = shell(other, pinned, "deploy", "id -un")
		assert.ErrorIs(t, err, context.DeadlineExceeded, "the port is closed to a member")
	})
	t.Run("a used key is refused, and a key for other tags", func(t *testing.T) {
		second := newMachine(t, trust)
		assert.Error(t, second.up(t, key.Secret, "intruder", 10*time.Second))
		// And so is one whose tags are not those that the machine asks for.
		deploy, err := tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab-deploy"}, Expiry: time.Hour})
		require.NoError(t, err)
		assert.ErrorContains(t, second.up(t, deploy.Secret, "intruder", 10*time.Second), "requested tags [tag:homelab] are invalid or not permitted")
		checkNodes(t, tailnet)
	})
	t.Run("a changed policy takes effect", func(t *testing.T) {
		require.NoError(t, tailnet.SetPolicy(t.Context(), policyFor(t, closed)))
		require.Eventually(t, func() bool {
			text, err := greeting(admin, at(closed))
			return err == nil && text == "hello\n"
		}, 30*time.Second, 100*time.Millisecond)
		_, err := greeting(admin, at(open))
		assert.Error(t, err)
	})
	t.Run("servers away", func(t *testing.T) {
		tailnet.SetAway(true)
		_, err := greeting(admin, at(closed))
		require.Error(t, err, "the relay is away too")
		tailnet.SetAway(false)
		require.Eventually(t, func() bool {
			text, err := greeting(admin, at(closed))
			return err == nil && text == "hello\n"
		}, 90*time.Second, 500*time.Millisecond)
	})
	t.Run("a deleted node is out", func(t *testing.T) {
		nodes, err := tailnet.Nodes(t.Context())
		require.NoError(t, err)
		for _, node := range nodes {
			if node.Hostname == "media" {
				require.NoError(t, tailnet.DeleteNode(t.Context(), node.ID))
			}
		}
		_, err = greeting(admin, at(closed))
		require.ErrorContains(t, err, "no such node")
	})
	t.Run("no secret is in a log", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "control.log"))
		require.NoError(t, err)
		require.NotEmpty(t, text)
		assert.NotContains(t, string(text), key.Secret)
		assert.NotContains(t, string(text), key.Secret[len(key.Secret)-20:])
		assert.NotContains(t, string(text), "privkey:")
	})
}

// checkNodes checks that there are these three nodes and no other.
func checkNodes(t *testing.T, tailnet *Tailnet) {
	t.Helper()
	nodes, err := tailnet.Nodes(t.Context())
	require.NoError(t, err)
	got := map[string]Node{}
	for _, node := range nodes {
		got[node.Hostname] = node
	}
	require.Len(t, got, 3)
	assert.Equal(t, "media."+domain, got["media"].Name)
	assert.Equal(t, []string{"tag:homelab"}, got["media"].Tags)
	assert.Empty(t, got["media"].User)
	assert.Zero(t, got["media"].KeyExpiry, "a node with tags stays")
	assert.True(t, got["media"].Online)
	assert.Equal(t, operator, got["laptop"].User)
	assert.Empty(t, got["laptop"].Tags)
	assert.Equal(t, member, got["computer-of-m-example-com"].User)
	for _, node := range nodes {
		require.Len(t, node.Addresses, 2)
		assert.True(t, node.Addresses[0].Is4() && node.Addresses[1].Is6())
	}
}

// shell runs a command by Tailscale SSH, which asks for no key: who comes is known by the address.
func shell(client *Client, pinned ssh.PublicKey, user, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "tcp", "media:22")
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // the session is over
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return "", err
	}
	transport, channels, requests, err := ssh.NewClientConn(conn, "media", &ssh.ClientConfig{
		User: user, HostKeyCallback: ssh.FixedHostKey(pinned), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		return "", err
	}
	connection := ssh.NewClient(transport, channels, requests)
	defer connection.Close() //nolint:errcheck // the session is over
	session, err := connection.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.CombinedOutput(command)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

func TestKeys(t *testing.T) {
	tailnet, _ := start(t, t.TempDir(), policyFor(t, 443))
	_, err := tailnet.AuthKey(t.Context(), KeyOptions{})
	require.ErrorContains(t, err, "must have tags")
	_, err = tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:unknown"}})
	require.ErrorContains(t, err, "tag:unknown")
	_, err = tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}, Expiry: 91 * 24 * time.Hour})
	require.ErrorContains(t, err, "the longest")

	join := func(key string) error {
		name := make([]byte, 6)
		_, err := rand.Read(name)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		_, err = tailnet.join(ctx, "node-"+hex.EncodeToString(name), key)
		return err
	}
	reusable, err := tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}, Reusable: true, Ephemeral: true})
	require.NoError(t, err)
	require.NoError(t, join(reusable.Secret))
	require.NoError(t, join(reusable.Secret))
	require.NoError(t, tailnet.RevokeKey(t.Context(), reusable.ID))
	require.Error(t, join(reusable.Secret), "it was revoked")

	short, err := tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}, Expiry: time.Second})
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	require.Error(t, join(short.Secret), "it has expired")
	require.Error(t, join("hskey-auth-000000000000-0000"), "nobody made it")

	nodes, err := tailnet.Nodes(t.Context())
	require.NoError(t, err)
	assert.Len(t, nodes, 3)
}

func TestAPolicyThatFailsItsOwnTestsIsRefused(t *testing.T) {
	tailnet, _ := start(t, t.TempDir(), policyFor(t, 443))
	before, err := tailnet.Policy()
	require.NoError(t, err)
	wrong := strings.Replace(before, `"tcp:22"`, `"tcp:23"`, 1)
	require.NotEqual(t, before, wrong)
	require.ErrorContains(t, tailnet.SetPolicy(t.Context(), []byte(wrong)), "test(s) failed: tests[0]")
	require.ErrorContains(t, tailnet.SetPolicy(t.Context(), []byte(`{"nodeAttrs": []}`)), "nodeAttrs")
	after, err := tailnet.Policy()
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestTheTailnetIsThereAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first, _ := start(t, dir, policyFor(t, 443))
	before, err := first.Nodes(t.Context())
	require.NoError(t, err)
	require.NoError(t, first.Close())
	select {
	case <-first.process.ended:
	default:
		t.Fatal("headscale still runs")
	}
	second, _ := start(t, dir, nil)
	after, err := second.Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, after, 1)
	assert.Equal(t, before[0].ID, after[0].ID)
	assert.Equal(t, before[0].Addresses, after[0].Addresses)
	_, err = second.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}})
	require.NoError(t, err, "the policy is in force still")
}

func TestTheProcessEndsWithWhoeverStartedIt(t *testing.T) {
	tailnet, _ := start(t, t.TempDir(), nil)
	require.NoError(t, tailnet.process.input.Close()) // as when this process is killed
	select {
	case <-tailnet.process.ended:
	case <-time.After(stopTimeout):
		t.Fatal("it still runs")
	}
	require.NoError(t, tailnet.process.err)
	assert.NoDirExists(t, tailnet.process.sockets)
}

func TestWithoutHeadscaleTheReasonIsSaid(t *testing.T) {
	tailnet, _ := start(t, t.TempDir(), nil)
	require.NoError(t, tailnet.process.command.Process.Kill())
	<-tailnet.process.ended
	_, err := tailnet.Nodes(t.Context())
	require.ErrorContains(t, err, "the tailnet's process ended")
}

func TestOptionsThatAreMissing(t *testing.T) {
	_, err := Start(t.Context(), Options{})
	for _, what := range []string{"dir", "network", "certificate", "domain", "operator", "IPv4 address"} {
		require.ErrorContains(t, err, "no "+what)
	}
	require.False(t, errors.Is(err, os.ErrNotExist))
}
