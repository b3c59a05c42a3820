//go:build linux

package tailnet

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/tailnet/control"
)

// inside says that this process is in a network of its own, and where its covers are kept.
const inside = "TAILNET_TEST_INSIDE"

// TestMain runs the tests in a network without any other computer, and in which Tailscale's servers
// have an address: what reaches for another one fails. It needs root; without it only the tests of
// the translation can pass.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == control.Command:
		os.Exit(control.Main(os.Args[2:]))
	case os.Getuid() == 0 && os.Getenv(inside) == "":
		os.Exit(runInside())
	case os.Getuid() == 0:
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func runInside() int {
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	covers, err := os.MkdirTemp("", "covers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(covers) //nolint:errcheck // the tests are over
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", program}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"="+covers)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "entering a network of its own:", err)
		return 1
	}
	return 0
}

// Where Tailscale's servers are in the tests.
var (
	serversIPv4 = netip.MustParseAddr("203.0.113.80")
	serversIPv6 = netip.MustParseAddr("2001:db8:113::80")
)

// prepare gives the network its addresses, and the computer the user whom the policy names.
func prepare() error {
	for _, args := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", serversIPv4.String() + "/32", "dev", "lo"},
		{"ip", "address", "add", serversIPv6.String() + "/128", "dev", "lo", "nodad"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	users = append(users, "deploy:x:4711:65534::/:/bin/sh\n"...)
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s %s\n", serversIPv4, ControlHost, LogHost)
	return errors.Join(cover("/etc/passwd", users), cover("/etc/hosts", []byte(hosts)))
}

// cover puts other content over a file, for this process and its children. What covers it must not
// be deleted, or nothing could cover it again.
func cover(path string, content []byte) error {
	file, err := os.CreateTemp(os.Getenv(inside), filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return syscall.Mount(file.Name(), path, "", syscall.MS_BIND, "")
}

// ownNetwork is this computer's network, which has names in /etc/hosts.
type ownNetwork struct{}

func (ownNetwork) Listen(at netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp", at.String())
}

func (ownNetwork) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenPacket("udp", at.String())
}

func (ownNetwork) Name(string, ...netip.Addr) {}

// newAuthority returns what issues certificates, and the path of the file by which to trust it.
func newAuthority(t *testing.T) (func(...string) (tls.Certificate, error), string) {
	t.Helper()
	folder := t.TempDir()
	issuer, err := authority.Open(folder)
	require.NoError(t, err)
	path := filepath.Join(folder, "trust.pem")
	require.NoError(t, os.WriteFile(path, issuer.PEM(), 0o600))
	return issuer.Issue, path
}
