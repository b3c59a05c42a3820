//go:build host

package host

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"homelab/tests/internal/netns"
)

// torrentClient in the environment makes this test's program the torrent client.
const torrentClient = "HOMELAB_TORRENT_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(torrentClient) != "" {
		sendForEver()
	}
	os.Exit(m.Run())
}

// startClient runs a program in the namespace that sends all that it can, by every way that it
// finds, until it is stopped.
func startClient(t *testing.T, space *netns.Namespace) (stop func()) {
	t.Helper()
	client := exec.Command("/proc/self/exe")
	client.Env = append(os.Environ(), torrentClient+"=1")
	client.Stderr = os.Stderr
	require.NoError(t, space.Start(client))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = client.Process.Kill()
			_ = client.Wait()
		}
	}
	t.Cleanup(stop)
	return stop
}

var (
	swarm4 = []string{theInternet, "1.1.1.1", "45.83.220.9", vpnServer, otherServer}
	swarm6 = []string{"2620:fe::fe", "2606:4700::1111"}
	swarm  = []int{53, 80, 443, 6881, vpnPort}
)

// way is how a socket goes out.
type way func(fd int) error

// ways are as a program is that knows of no tunnel, one that is bound to it, and those that would
// go past it: by the other interface, its address, or the mark of the tunnel's own packets.
var ways = []way{
	func(int) error { return nil },
	func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "tun0") },
	func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0") },
	func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(tunnelAddress).As4()})
	},
	func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, wireguardMark) },
}

// sendForEver is the torrent client.
func sendForEver() {
	question := dnsmessage.Message{
		Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("tracker.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
	}
	query, err := question.Pack()
	if err != nil {
		panic(err)
	}
	var open []int
	for {
		for _, w := range ways {
			for _, text := range append(append([]string{}, swarm4...), swarm6...) {
				to := netip.MustParseAddr(text)
				for _, port := range swarm {
					if fd, ok := send(w, to, port, unix.SOCK_STREAM, unix.IPPROTO_TCP, nil); ok {
						open = append(open, fd)
					}
					if fd, ok := send(w, to, port, unix.SOCK_DGRAM, unix.IPPROTO_UDP, query); ok {
						_ = unix.Close(fd)
					}
				}
				echo, raw := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, unix.IPPROTO_ICMP
				if to.Is6() {
					echo, raw = []byte{128, 0, 0, 0, 0, 0, 0, 0}, unix.IPPROTO_ICMPV6
				}
				for protocol, content := range map[int][]byte{raw: echo, unix.IPPROTO_GRE: make([]byte, 8)} {
					if fd, ok := send(w, to, 0, unix.SOCK_RAW, protocol, content); ok {
						_ = unix.Close(fd)
					}
				}
			}
		}
		// Those that were established go on.
		for _, fd := range open {
			_, _ = unix.Write(fd, []byte("piece"))
		}
		for len(open) > 2000 {
			_ = unix.Close(open[0])
			open = open[1:]
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// send opens a socket and sends content by it, or only connects.
func send(w way, to netip.Addr, port, kind, protocol int, content []byte) (fd int, ok bool) {
	family, remote := unix.AF_INET, unix.Sockaddr(nil)
	if to.Is4() {
		remote = &unix.SockaddrInet4{Port: port, Addr: to.As4()}
	} else {
		family, remote = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: to.As16()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return 0, false
	}
	if err := w(fd); err != nil {
		_ = unix.Close(fd)
		return 0, false
	}
	if content == nil {
		err = unix.Connect(fd, remote)
	} else {
		err = unix.Sendto(fd, content, 0, remote)
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return 0, false
	}
	return fd, true
}
