package tunnel

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Tunnel is an open tunnel.
type Tunnel struct {
	settings Settings
	device   *device.Device
}

// Open makes the interface, and the routes by which everything but the tunnel's own packets and what
// is for neighbours takes it. It does not wait for the server. say is told what goes wrong later.
func Open(s Settings, say func(format string, values ...any)) (*Tunnel, error) {
	made, err := tun.CreateTUN(s.Interface, mtu)
	if err != nil {
		return nil, fmt.Errorf("making the interface %s: %w", s.Interface, err)
	}
	t := &Tunnel{settings: s, device: device.NewDevice(made, conn.NewDefaultBind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: say})}
	settings := fmt.Sprintf("private_key=%s\nfwmark=%d\npublic_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\n",
		hex.EncodeToString(s.Key.Bytes()), mark, hex.EncodeToString(s.Peer.Bytes()), s.Server)
	if err := errors.Join(t.device.IpcSet(settings), t.device.Up()); err != nil {
		t.Close()
		return nil, fmt.Errorf("starting WireGuard: %w", err)
	}
	if err := s.route(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// route gives the interface its addresses and its traffic.
func (s Settings) route() error {
	link, err := netlink.LinkByName(s.Interface)
	if err != nil {
		return fmt.Errorf("finding the interface %s: %w", s.Interface, err)
	}
	for _, a := range s.Addresses {
		own := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if err := netlink.AddrReplace(link, own); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", s.Interface, a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing %s up: %w", s.Interface, err)
	}
	everywhere := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everywhere, Table: mark, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("routing by %s: %w", s.Interface, err)
	}
	tunnelled := netlink.NewRule()
	tunnelled.Family, tunnelled.Priority, tunnelled.Mark, tunnelled.Invert, tunnelled.Table = netlink.FAMILY_V4, tunnelNext, mark, true, mark
	rules := []*netlink.Rule{tunnelled}
	neighbours, err := s.neighbours()
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		direct := netlink.NewRule()
		direct.Family, direct.Priority, direct.Dst, direct.Table = netlink.FAMILY_V4, neighboursFirst, n.subnet, unix.RT_TABLE_MAIN
		rules = append(rules, direct)
	}
	for _, rule := range rules {
		// They are there already where a container starts again in its network.
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("choosing the table of routes %d: %w", rule.Table, err)
		}
	}
	return nil
}

// neighbour is a network that the container is on, with its own address there.
type neighbour struct {
	own    net.IP
	subnet *net.IPNet
}

// neighbours are the networks outside the tunnel that the container is on.
func (s Settings) neighbours() ([]neighbour, error) {
	link, err := netlink.LinkByName(s.Outside)
	if err != nil {
		return nil, fmt.Errorf("finding the interface %s: %w", s.Outside, err)
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of %s: %w", s.Outside, err)
	}
	var out []neighbour
	for _, a := range addresses {
		out = append(out, neighbour{a.IP.To4(), &net.IPNet{IP: a.IP.To4().Mask(a.Mask), Mask: a.Mask}})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no IPv4 address", s.Outside)
	}
	return out, nil
}

// Check reports why the tunnel does not work: the server has not answered for too long, or nobody
// answers by TCP at an address beyond it.
func (t *Tunnel) Check(ctx context.Context, beyond string) error {
	unanswered := t.dial(ctx, beyond) // what is sent also makes WireGuard begin a handshake
	last, err := t.handshake()
	if err != nil {
		return err
	}
	return t.settings.verdict(last, time.Now(), unanswered)
}

// verdict is what a check comes to: when the server last answered, and why nobody beyond the tunnel
// did, if so.
func (s Settings) verdict(last, now time.Time, unanswered error) error {
	switch {
	case last.IsZero():
		return fmt.Errorf("the VPN's server at %s has not answered yet", s.Server)
	case now.Sub(last) > fresh:
		return fmt.Errorf("the VPN's server at %s has not answered since %s", s.Server, last.UTC().Format(time.RFC3339))
	case unanswered != nil:
		return fmt.Errorf("nobody answers beyond the tunnel: %w", unanswered)
	}
	return nil
}

// dial connects by the tunnel's interface, whatever the routes are.
func (t *Tunnel) dial(ctx context.Context, address string) error {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, t.settings.Interface)
		})
		return errors.Join(err, failed)
	}}
	answered, err := dialer.DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	return answered.Close()
}

// handshake is when the server last answered; the zero time: never.
func (t *Tunnel) handshake() (time.Time, error) {
	said, err := t.device.IpcGet()
	if err != nil {
		return time.Time{}, fmt.Errorf("asking WireGuard: %w", err)
	}
	for lines := bufio.NewScanner(strings.NewReader(said)); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "last_handshake_time_sec="); ok {
			seconds, err := strconv.ParseInt(text, 10, 64)
			if err != nil || seconds == 0 {
				return time.Time{}, err
			}
			return time.Unix(seconds, 0), nil
		}
	}
	return time.Time{}, nil
}

// Ended is closed when the tunnel has ended.
func (t *Tunnel) Ended() <-chan struct{} { return t.device.Wait() }

// Close ends the tunnel, and its interface with it.
func (t *Tunnel) Close() { t.device.Close() }
