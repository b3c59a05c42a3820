package vpn

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tailscale/wireguard-go/conn"
	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	channels "gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"homelab/internal/machine/internal/link"
	"homelab/internal/vpnkeys"
)

// own is an internet on this computer's loopback: who is meant is there in the place of another.
type own struct {
	t     *testing.T
	hosts map[netip.AddrPort]netip.AddrPort
}

func (o *own) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenPacket("udp", at.String())
}

func (o *own) Dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	assert.Equal(o.t, exitAddress, from)
	host, ok := o.hosts[to]
	if !ok {
		return nil, syscall.EHOSTUNREACH
	}
	return new(net.Dialer).DialContext(ctx, network, host.String())
}

// free is a UDP address of the loopback that nobody has.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// initiation begins a handshake with the server, as far as that sees before it looks at who it is.
func initiation() []byte {
	var macs device.CookieGenerator
	macs.Init(device.NoisePublicKey(vpnkeys.Server().PublicKey().Bytes()))
	out := make([]byte, device.MessageInitiationSize)
	out[0] = device.MessageInitiationType
	macs.AddMacs(out)
	return out
}

func serve(t *testing.T, network Network) *Server {
	t.Helper()
	s, err := Start(Options{Network: network, Exit: exitAddress, Key: vpnkeys.Server(), Client: vpnkeys.Client().PublicKey()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// client is a computer whose whole network is the tunnel.
type client struct {
	device *device.Device
	stack  *stack.Stack
}

func newClient(t *testing.T) *client {
	t.Helper()
	// Its interface is one as the server's, with an ordinary stack behind it.
	side := &exit{link: channels.New(queuePackets, mtu, ""), events: make(chan tun.Event, 1)}
	side.ctx, side.stop = context.WithCancel(context.Background())
	side.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	require.Nil(t, side.stack.CreateNIC(nicID, side.link))
	address := tcpip.AddrFrom4(netip.MustParseAddr("10.67.12.34").As4()).WithPrefix()
	require.Nil(t, side.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address}, stack.AddressProperties{}))
	side.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	require.NoError(t, link.Tune(side.stack))
	c := &client{device.NewDevice(side, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, "")), side.stack}
	t.Cleanup(c.device.Close)
	return c
}

// full is an address as the stack has it.
func full(at netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(at.Addr().As4()), Port: at.Port()}
}

func (c *client) tcp(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialContextTCP(ctx, c.stack, full(to), ipv4.ProtocolNumber)
}

func (c *client) udp(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	remote := full(to)
	out, err := gonet.DialUDP(c.stack, nil, &remote, ipv4.ProtocolNumber)
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	return out
}

// connect tells the client where the server is.
func (c *client) connect(t *testing.T, at netip.AddrPort) {
	t.Helper()
	require.NoError(t, c.device.IpcSet(fmt.Sprintf("private_key=%s\nreplace_peers=true\npublic_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\n",
		hex.EncodeToString(vpnkeys.Client().Bytes()), hex.EncodeToString(vpnkeys.Server().PublicKey().Bytes()), at)))
	require.NoError(t, c.device.Up())
}

// repeating are a TCP and a UDP server of the loopback that say what they hear; open counts the
// former's connections.
func repeating(t *testing.T) (stream, datagram netip.AddrPort, open *atomic.Int64) {
	t.Helper()
	open = new(atomic.Int64)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
				open.Add(-1)
			}()
		}
	}()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buffer[:n], from)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), netip.MustParseAddrPort(p.LocalAddr().String()), open
}

var site = netip.MustParseAddrPort("203.0.113.80:80")

func TestTheExit(t *testing.T) {
	stream, datagram, open := repeating(t)
	shut := free(t) // nobody listens there by TCP either
	network := &own{t, map[netip.AddrPort]netip.AddrPort{site: stream, stranger: datagram, netip.AddrPortFrom(site.Addr(), 81): shut}}
	server, at := serve(t, network), free(t)
	server.Newcomer(at, initiation())
	c := newClient(t)
	c.connect(t, at)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	t.Run("a stream loses nothing", func(t *testing.T) {
		sent := make([]byte, 4<<20)
		_, err := rand.Read(sent)
		require.NoError(t, err)
		tcp, err := c.tcp(ctx, site)
		require.NoError(t, err)
		defer tcp.Close()
		go func() {
			_, _ = tcp.Write(sent)
			_ = tcp.CloseWrite()
		}()
		require.NoError(t, tcp.SetReadDeadline(time.Now().Add(patience)))
		got, err := io.ReadAll(tcp)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent, got), "%d of %d bytes", len(got), len(sent))
	})
	t.Run("who does not listen, or is not there, refuses", func(t *testing.T) {
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(site.Addr(), 81), netip.MustParseAddrPort("203.0.113.99:80")} {
			_, err := c.tcp(ctx, to)
			require.ErrorContains(t, err, "connection was refused", to)
		}
	})
	t.Run("datagrams of every size", func(t *testing.T) {
		udp := c.udp(t, stranger)
		for _, size := range []int{1, mtu - 28, 5000} {
			sent, got := bytes.Repeat([]byte{7}, size), make([]byte, 1<<16)
			_, err := udp.Write(sent)
			require.NoError(t, err)
			require.NoError(t, udp.SetReadDeadline(time.Now().Add(patience)))
			n, err := udp.Read(got)
			require.NoError(t, err, size)
			assert.Equal(t, sent, got[:n])
		}
	})
	t.Run("nobody answers for who is not there", func(t *testing.T) {
		udp := c.udp(t, netip.MustParseAddrPort("203.0.113.99:53"))
		_, err := udp.Write([]byte("?"))
		require.NoError(t, err)
		require.NoError(t, udp.SetReadDeadline(time.Now().Add(time.Second)))
		_, err = udp.Read(make([]byte, 100))
		require.ErrorContains(t, err, "timeout")
	})
	t.Run("at another address of the server", func(t *testing.T) {
		other := free(t)
		server.Newcomer(other, initiation())
		c.connect(t, other)
		tcp, err := c.tcp(ctx, site)
		require.NoError(t, err)
		require.NoError(t, tcp.Close())
	})
	t.Run("its end is that of what is open", func(t *testing.T) {
		tcp, err := c.tcp(ctx, site)
		require.NoError(t, err)
		defer tcp.Close()
		require.Eventually(t, func() bool { return open.Load() == 1 }, patience, interval, "those before have ended")
		require.NoError(t, server.Close())
		require.NoError(t, server.Close(), "a second time")
		require.Eventually(t, func() bool { return open.Load() == 0 }, patience, interval)
		server.Newcomer(free(t), initiation())
		assert.Empty(t, server.Addresses())
	})
}

// packet is one of IPv4 from the client to the site.
func packet(protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	out := make([]byte, header.IPv4MinimumSize+len(payload))
	ip := header.IPv4(out)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(out)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 67, 12, 34}), DstAddr: tcpip.AddrFrom4(site.Addr().As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	copy(ip.Payload(), payload)
	return out
}

func TestTheExitAnswersNoPing(t *testing.T) {
	e, err := newExit(&own{t: t}, exitAddress)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	echo := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}
	knock := make([]byte, header.TCPMinimumSize)
	header.TCP(knock).Encode(&header.TCPFields{SrcPort: 40000, DstPort: 80, SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1024})
	sum := header.PseudoHeaderChecksum(tcp.ProtocolNumber, tcpip.AddrFrom4([4]byte{10, 67, 12, 34}), tcpip.AddrFrom4(site.Addr().As4()), uint16(len(knock)))
	header.TCP(knock).SetChecksum(^header.TCP(knock).CalculateChecksum(sum))
	six := packet(tcp.ProtocolNumber, knock)
	six[0] = 6 << 4
	for _, p := range [][]byte{packet(header.ICMPv4ProtocolNumber, echo), six, {}, {0x45}, packet(tcp.ProtocolNumber, knock)} {
		_, err := e.Write([][]byte{p}, 0)
		require.NoError(t, err)
	}
	sizes, got := []int{0}, [][]byte{make([]byte, mtu)}
	_, err = e.Read(got, sizes, 0)
	require.NoError(t, err)
	assert.Equal(t, uint8(tcp.ProtocolNumber), header.IPv4(got[0][:sizes[0]]).Protocol(), "the refusal of who is not there is the first answer")
}

func TestNewcomers(t *testing.T) {
	s := serve(t, &own{t: t})
	begin, at := initiation(), free(t)
	for i := range begin[:132] { // what a client signs, and the signature
		wrong := bytes.Clone(begin)
		wrong[i] ^= 1
		s.Newcomer(at, wrong)
	}
	s.Newcomer(at, begin[:len(begin)-1])
	s.Newcomer(at, append(bytes.Clone(begin), 0))
	s.Newcomer(at, nil)
	assert.Empty(t, s.Addresses())
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	s.Newcomer(netip.MustParseAddrPort(taken.LocalAddr().String()), begin)
	assert.Empty(t, s.Addresses(), "somebody else has the address")
	for range maxAddresses + 3 {
		at := free(t)
		s.Newcomer(at, begin)
		s.Newcomer(at, begin)
	}
	assert.Len(t, s.Addresses(), maxAddresses)
}

func TestAServerNeedsItsOptions(t *testing.T) {
	good := Options{Network: &own{}, Exit: exitAddress, Key: vpnkeys.Server(), Client: vpnkeys.Client().PublicKey()}
	for name, change := range map[string]func(*Options){
		"network": func(o *Options) { o.Network = nil }, "key": func(o *Options) { o.Key = nil }, "client": func(o *Options) { o.Client = nil },
		"exit": func(o *Options) { o.Exit = netip.MustParseAddr("2001:db8::1") },
	} {
		o := good
		change(&o)
		_, err := Start(o)
		require.ErrorContains(t, err, "are all required", name)
	}
}
