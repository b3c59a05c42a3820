package boxes

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
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

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

const (
	owner, login1     = "u100001", "u100001-sub1"
	ownerPassword     = "Owner/Password1"
	password          = "Server/Password1"
	loginDelay        = 300 * time.Millisecond
	outsideAddress    = "127.0.0.2" // where a client is that is not in Hetzner's network
	mebibyte          = 1 << 20
	patience          = 2 * time.Second
	home              = "backup"
	hostKeyAlgorithms = "ssh-ed25519"
)

var boxAddress = netip.MustParseAddr("203.0.113.10")

// world is a server of boxes on loopback, with all that real clients need.
type world struct {
	t      *testing.T
	server *Server
	dir    string // of the boxes
	files  string // of the clients
	ca     *x509.CertPool

	mu    sync.Mutex
	ports map[uint16]string
	log   bytes.Buffer
	now   func() time.Time
}

// aBox is a backup box as the program declares it, with a password that a test can type.
func aBox() Box {
	return Box{
		ID: "7", Username: owner, Password: ownerPassword, Addresses: []netip.Addr{boxAddress}, Size: 1 << 40, SnapshotSlots: 10,
		Access: Access{ReachableExternally: true, SSH: true, WebDAV: true},
		Subaccounts: []Subaccount{{
			Username: login1, Password: password, HomeDirectory: home, ReachableExternally: true, SSH: true, WebDAV: true,
		}},
	}
}

// hostKeys are those of every box in the tests: an RSA key takes long to make.
var hostKeys = sync.OnceValues(func() ([]ssh.Signer, error) {
	folder, err := os.MkdirTemp("", "boxkeys-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	return HostKeys(folder)
})

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), files: t.TempDir(), ports: map[uint16]string{}, now: time.Now}
	certificate := w.certificate()
	keys, err := hostKeys()
	require.NoError(t, err)
	w.server, err = New(Options{
		Dir: w.dir, HostKeys: keys, LoginDelay: loginDelay,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil },
		Inside:      func(a netip.Addr) bool { return a.String() != outsideAddress },
		Now:         w.time,
		Patience:    patience,
		Log:         slog.New(slog.NewTextHandler(w, nil)),
		Listen: func(at netip.AddrPort) (net.Listener, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ports[at.Port()] = l.Addr().String()
			}
			return l, err
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, w.server.Close())
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, secret := range []string{ownerPassword, password} {
			require.NotContains(t, w.log.String(), secret, "a password in the log")
		}
	})
	return w
}

// time is the boxes' clock.
func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now()
}

// clock changes it.
func (w *world) clock(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// Write keeps the server's log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// certificate is one for loopback, which ca.pem in the clients' folder trusts.
func (w *world) certificate() *tls.Certificate {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "boxes"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(w.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	w.write("ca.pem", string(text), 0o600)
	w.ca = x509.NewCertPool()
	require.True(w.t, w.ca.AppendCertsFromPEM(text))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (w *world) write(name, content string, mode os.FileMode) string {
	w.t.Helper()
	path := filepath.Join(w.files, name)
	require.NoError(w.t, os.WriteFile(path, []byte(content), mode))
	return path
}

func (w *world) apply(b Box) {
	w.t.Helper()
	require.NoError(w.t, w.server.Apply(b))
}

// at is where a port of the box really is.
func (w *world) at(port uint16) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports[port]
}

// inBox is a path on the laptop's disk.
func (w *world) inBox(elements ...string) string {
	return filepath.Join(append([]string{w.dir, "7", "data"}, elements...)...)
}

// dial logs in by SSH.
func (w *world) dial(port uint16, user string, method ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", w.at(port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{method}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
	})
}

// sftp logs in by SFTP with a password.
func (w *world) sftp(port uint16, user, secret string) *sftp.Client {
	w.t.Helper()
	conn, err := w.dial(port, user, ssh.Password(secret))
	require.NoError(w.t, err)
	client, err := sftp.NewClient(conn)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return client
}

// command runs a command on port 23 and returns its output and exit status.
func (w *world) command(user, secret, line, stdin string) (string, int) {
	w.t.Helper()
	conn, err := w.dial(sshPort, user, ssh.Password(secret))
	require.NoError(w.t, err)
	defer conn.Close()
	s, err := conn.NewSession()
	require.NoError(w.t, err)
	s.Stdin = strings.NewReader(stdin)
	out, err := s.CombinedOutput(line)
	if err == nil {
		return string(out), 0
	}
	var exit *ssh.ExitError
	require.ErrorAs(w.t, err, &exit, "%s", out)
	return string(out), exit.ExitStatus()
}

func (w *world) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.ca}, DisableKeepAlives: true}
}

// http sends one request by WebDAV and returns the status and the body.
func (w *world) http(method, path, user, secret, body string, header ...string) (int, string) {
	w.t.Helper()
	client := w.client()
	request, err := http.NewRequest(method, "https://"+w.at(webdavPort)+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if user != "" {
		request.SetBasicAuth(user, secret)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(request)
	require.NoError(w.t, err)
	defer answer.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(answer.Body)
	require.NoError(w.t, err)
	return answer.StatusCode, text.String()
}

// key makes an SSH key of a kind that ssh-keygen knows; it returns the file and the public half.
func (w *world) key(name, kind string) (path, public string) {
	w.t.Helper()
	path = filepath.Join(w.files, name)
	out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", path).CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	text, err := os.ReadFile(path + ".pub")
	require.NoError(w.t, err)
	return path, strings.TrimSpace(string(text))
}

// sshOptions are those of OpenSSH's programs for one port: with a key, or else a password.
func (w *world) sshOptions(port uint16, key string) []string {
	w.t.Helper()
	host, number, err := net.SplitHostPort(w.at(port))
	require.NoError(w.t, err)
	var lines strings.Builder
	for _, key := range w.server.PublicKeys() {
		fmt.Fprintf(&lines, "[%s]:%s %s\n", host, number, key)
	}
	known := w.write("known_hosts", lines.String(), 0o600)
	options := []string{
		"-F", "/dev/null", "-o", "UserKnownHostsFile=" + known, "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=" + hostKeyAlgorithms,
		"-o", "Port=" + number, "-o", "IdentityAgent=none",
	}
	if key != "" {
		return append(options, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", key)
	}
	return append(options, "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1")
}

// run runs a program of a client; a password, if any, is asked for by a program of its own.
func (w *world) run(secret, stdin string, args ...string) (string, error) {
	w.t.Helper()
	cmd := w.program(secret, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// program is a program of a client, in a process group of its own.
func (w *world) program(secret string, args ...string) *exec.Cmd {
	w.t.Helper()
	ask := w.write("ask", "#!/bin/sh\ncat "+w.write("password", secret+"\n", 0o600)+"\n", 0o700)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = w.files
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.files, "LANG=C.UTF-8", "SSH_ASKPASS=" + ask, "SSH_ASKPASS_REQUIRE=force", "BORG_BASE_DIR=" + w.files + "/borg",
		"BORG_PASSPHRASE=of a test", "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// must is run for what has to work.
func (w *world) must(secret, stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.run(secret, stdin, args...)
	require.NoError(w.t, err, "%s: %s", strings.Join(args, " "), out)
	return out
}
