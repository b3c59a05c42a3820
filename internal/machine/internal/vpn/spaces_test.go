//go:build linux

package vpn

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"homelab/internal/machine/internal/link"
)

// plugged is the machine that a namespace plays on the link.
var plugged = link.Machine{
	ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 3}, IPv4: netip.MustParseAddr("116.203.10.1"), IPv6: netip.MustParsePrefix("2a01:4f8:c17:1::/64"),
}

// space is a network namespace with a thread of this process in it.
type space struct {
	t    *testing.T
	jobs chan func()
	path string // of the namespace, while the thread lives
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := inside(t, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	s.sh("ip link set lo up")
	return s
}

// spaceOf is the namespace of a process.
func spaceOf(t *testing.T, pid int) *space {
	t.Helper()
	return inside(t, func() error {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // it was only read
		return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	})
}

func inside(t *testing.T, enter func() error) *space {
	t.Helper()
	s := &space{t: t, jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		err := enter()
		s.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for job := range s.jobs {
			job()
		}
	}()
	require.NoError(t, <-ready, "this test needs root: it makes network namespaces")
	t.Cleanup(func() { close(s.jobs) })
	return s
}

// do runs f in the namespace: what it opens and starts stays there.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// sh runs lines of the shell.
func (s *space) sh(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		var out []byte
		var err error
		s.do(func() { out, err = exec.Command("sh", "-ec", line).CombinedOutput() })
		require.NoError(s.t, err, "%s: %s", line, out)
	}
}

// outside is what has left the machine.
type outside struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (o *outside) saw(frame []byte) {
	eth := header.Ethernet(frame)
	what := fmt.Sprintf("ethernet %#x", uint16(eth.Type()))
	switch b := frame[header.EthernetMinimumSize:]; eth.Type() {
	case header.ARPProtocolNumber, header.IPv6ProtocolNumber:
		return // the machine's own, to its neighbours on the link: containers have no IPv6
	case header.IPv4ProtocolNumber:
		ip := header.IPv4(b)
		what = fmt.Sprintf("protocol %d to %s", ip.Protocol(), ip.DestinationAddress())
		if p := ip.TransportProtocol(); p == header.UDPProtocolNumber || p == header.TCPProtocolNumber {
			what = fmt.Sprintf("%s:%d", what, binary.BigEndian.Uint16(ip.Payload()[2:]))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[what] = true
}

// since returns what has left since the last call.
func (o *outside) since() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := maps.Clone(o.seen)
	clear(o.seen)
	return out
}

// plug joins the namespace to the link, by a network card whose other end is the test.
func (s *space) plug(network *link.Network) *outside {
	t := s.t
	t.Helper()
	var card *os.File
	s.do(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		request, err := unix.NewIfreq("eth0")
		require.NoError(t, err)
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
		require.NoError(t, unix.SetNonblock(fd, true))
		card = os.NewFile(uintptr(fd), "eth0")
	})
	s.sh("ip link set eth0 address "+plugged.MAC.String(), "ip link set eth0 up", "ip address add "+plugged.IPv4.String()+"/32 dev eth0",
		"ip route add 172.31.1.1 dev eth0", "ip route add default via 172.31.1.1 dev eth0")
	ours, theirs := net.Pipe()
	go func() { _ = network.Attach(theirs, plugged) }()
	t.Cleanup(func() {
		_ = card.Close()
		_ = ours.Close()
	})
	left := &outside{seen: map[string]bool{}}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			size, err := card.Read(buffer[4:])
			if err != nil {
				return
			}
			left.saw(buffer[4 : 4+size])
			binary.BigEndian.PutUint32(buffer, uint32(size))
			if _, err := ours.Write(buffer[:4+size]); err != nil {
				return
			}
		}
	}()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			if _, err := io.ReadFull(ours, buffer[:4]); err != nil {
				return
			}
			frame := buffer[4 : 4+binary.BigEndian.Uint32(buffer)]
			if _, err := io.ReadFull(ours, frame); err != nil {
				return
			}
			if _, err := card.Write(frame); err != nil {
				return
			}
		}
	}()
	return left
}

// The tunnel's container, and its network on the machine.
const (
	containerAddress = "172.30.3.20"
	bridgeAddress    = "172.30.3.1"
)

// container makes a container's namespace on a network of the machine, which sends everything on: no
// filter of the machine is in the way of a packet.
func (s *space) container() *space {
	c := newSpace(s.t)
	s.sh("ip link add veth0 type veth peer name eth0 netns "+c.path, "ip address add "+bridgeAddress+"/24 dev veth0", "ip link set veth0 up",
		"echo 1 >/proc/sys/net/ipv4/ip_forward",
		`nft 'table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }; }'`)
	// As the machine's settings have it, which a container inherits.
	c.sh("echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter", "ip address add "+containerAddress+"/24 dev eth0", "ip link set eth0 up", "ip route add default via "+bridgeAddress)
	return c
}

// ways are as a program is that knows of no tunnel, and those that would go past it: by the other
// interface, its address, or the mark of the tunnel's own packets.
var ways = map[string]func(fd int) error{
	"":     func(int) error { return nil },
	"eth0": func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0") },
	"address": func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(containerAddress).As4()})
	},
	"mark": func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 51820) },
}

// sends sends all that it can to the internet, by all ways, once.
func (s *space) sends(to ...netip.AddrPort) {
	s.do(func() {
		for _, way := range ways {
			for _, at := range to {
				remote := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
				for _, kind := range [][2]int{{unix.SOCK_STREAM, unix.IPPROTO_TCP}, {unix.SOCK_DGRAM, unix.IPPROTO_UDP}, {unix.SOCK_RAW, unix.IPPROTO_ICMP}} {
					fd, err := unix.Socket(unix.AF_INET, kind[0]|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, kind[1])
					if err != nil || way(fd) != nil {
						s.t.Errorf("opening a socket: %v", err)
						continue
					}
					if kind[0] == unix.SOCK_STREAM {
						_ = unix.Connect(fd, remote) // what leaves is seen outside
					} else {
						_ = unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, remote)
					}
					_ = unix.Close(fd)
				}
			}
		}
	})
}

// interfaces are the names of the namespace's network interfaces.
func (s *space) interfaces() string {
	var names []string
	s.do(func() {
		all, err := net.Interfaces()
		assert.NoError(s.t, err)
		for _, i := range all {
			names = append(names, i.Name)
		}
	})
	return strings.Join(names, " ")
}
