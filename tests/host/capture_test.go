//go:build host

package host

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"homelab/tests/internal/netns"
)

// capture counts the packets that come out of one end of a link.
type capture struct {
	t       *testing.T
	fd      int
	other   *netns.Namespace
	markers int
	mu      sync.Mutex
	packets map[string]int
}

// captureAt captures what arrives at an interface, before any rule of its namespace. Markers come
// from the namespace at the other end of the link.
func captureAt(t *testing.T, space *netns.Namespace, name string, other *netns.Namespace) *capture {
	t.Helper()
	c := &capture{t: t, other: other, packets: map[string]int{}}
	require.NoError(t, space.Do(func() error {
		index, err := interfaceIndex(name)
		if err != nil {
			return err
		}
		everything := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything); err != nil {
			return fmt.Errorf("capturing at %s: %w", name, err)
		}
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return fmt.Errorf("capturing at %s: %w", name, err)
		}
		timeout := unix.NsecToTimeval(int64(100 * time.Millisecond))
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return fmt.Errorf("capturing at %s: %w", name, err)
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: uint16(everything), Ifindex: index})
	}))
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.read(done)
	}()
	t.Cleanup(func() {
		close(done)
		<-stopped
		_ = unix.Close(c.fd)
	})
	return c
}

func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("asking for the interface %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, fmt.Errorf("asking for the interface %s: %w", name, err)
	}
	return int(request.Uint32()), nil
}

func (c *capture) read(done <-chan struct{}) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		if err != nil {
			select {
			case <-done:
				return
			default:
				continue
			}
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if what := describe(buffer[:n]); what != "" {
			c.mu.Lock()
			c.packets[what]++
			c.mu.Unlock()
		}
	}
}

// describe says what an Ethernet frame is: its protocol and where it goes. ARP and the neighbour
// discovery of IPv6 never leave a link, and are empty.
func describe(frame []byte) string {
	if len(frame) < 14 {
		return "a short frame"
	}
	kind, packet := binary.BigEndian.Uint16(frame[12:14]), frame[14:]
	switch {
	case kind == unix.ETH_P_ARP:
		return ""
	case kind == unix.ETH_P_IP && len(packet) >= 20:
		header := int(packet[0]&15) * 4
		to, _ := netip.AddrFromSlice(packet[16:20])
		return transport(packet[9], to, packet[min(header, len(packet)):])
	case kind == unix.ETH_P_IPV6 && len(packet) >= 40:
		to, _ := netip.AddrFromSlice(packet[24:40])
		protocol, rest := packet[6], packet[40:]
		if protocol == 0 && len(rest) >= 8 { // hop-by-hop options, before multicast reports
			protocol, rest = rest[0], rest[8:]
		}
		return transport(protocol, to, rest)
	}
	return fmt.Sprintf("a frame of type %#x", kind)
}

func transport(protocol byte, to netip.Addr, rest []byte) string {
	switch {
	case protocol == unix.IPPROTO_TCP && len(rest) >= 4:
		return fmt.Sprintf("tcp %s", netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[2:])))
	case protocol == unix.IPPROTO_UDP && len(rest) >= 4:
		return fmt.Sprintf("udp %s", netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[2:])))
	case protocol == unix.IPPROTO_ICMP && len(rest) >= 2:
		return fmt.Sprintf("icmp %d/%d to %s", rest[0], rest[1], to)
	case protocol == unix.IPPROTO_ICMPV6 && len(rest) >= 2:
		if rest[0] >= 130 && rest[0] <= 143 { // multicast listeners, routers, neighbours
			return ""
		}
		return fmt.Sprintf("icmpv6 %d/%d to %s", rest[0], rest[1], to)
	}
	return fmt.Sprintf("protocol %d to %s", protocol, to)
}

// seen returns what has been counted so far, by what it is, without the markers.
func (c *capture) seen() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return withoutMarkers(c.packets)
}

func withoutMarkers(packets map[string]int) map[string]int {
	out := maps.Clone(packets)
	maps.DeleteFunc(out, func(what string, _ int) bool { return strings.HasPrefix(what, "udp "+marker+":") })
	return out
}

// has reports whether something whose description begins with the words has been seen.
func (c *capture) has(words string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(c.seen())), func(s string) bool { return strings.HasPrefix(s, words) })
}

// marker is where the other end of the link sends a datagram itself, to a port that counts up. A
// capture that has seen it has seen all that went before it.
const marker = "198.51.100.77"

// upToNow returns all that came over the link since the last call, and fails if the capture sees
// nothing.
func (c *capture) upToNow() map[string]int {
	c.t.Helper()
	c.markers++
	at := &unix.SockaddrInet4{Port: 1024 + c.markers, Addr: netip.MustParseAddr(marker).As4()}
	require.Eventually(c.t, func() bool {
		_ = c.other.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Sendto(fd, []byte("marker"), 0, at)
		})
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.packets[fmt.Sprintf("udp %s:%d", marker, at.Port)] > 0
	}, 5*time.Second, 5*time.Millisecond, "the capture sees nothing")
	c.mu.Lock()
	defer c.mu.Unlock()
	out := withoutMarkers(c.packets)
	clear(c.packets)
	return out
}
