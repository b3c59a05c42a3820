package probe

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"homelab/internal/machine/internal/link"
)

const nic tcpip.NICID = 1

var (
	machine = link.Machine{
		ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 3}, IPv4: netip.MustParseAddr("116.203.10.1"), IPv6: netip.MustParsePrefix("2a01:4f8:c17:1::/64"),
	}
	machine4 = machine.IPv4
	machine6 = machine.IPv6.Addr().Next()
)

func network(t *testing.T) *link.Network {
	t.Helper()
	n, err := link.New(link.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	return n
}

// guest is a small machine on the link, with a stack of its own.
type guest struct {
	stack *stack.Stack
	link  *channel.Endpoint
	conn  net.Conn
	ended chan error
}

// boot plugs the machine in.
func boot(t *testing.T, n *link.Network) *guest {
	t.Helper()
	near, far := pair(t)
	g := &guest{link: channel.New(1<<14, 1500, tcpip.LinkAddress(machine.MAC)), conn: far, ended: make(chan error, 1)}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	require.Nil(t, g.stack.CreateNIC(nic, ethernet.New(g.link)))
	// A thousand refusals a second are many more than Linux or this stack send by themselves.
	g.stack.SetICMPLimit(1 << 20)
	g.stack.SetICMPBurst(1 << 20)
	for _, a := range []netip.Addr{machine4, machine6} {
		require.Nil(t, g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol: protocolOf(a), AddressWithPrefix: stackAddress(a).WithPrefix(),
		}, stack.AddressProperties{}))
	}
	gateway4, gateway6 := stackAddress(link.GatewayIPv4), stackAddress(link.GatewayIPv6)
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: gateway4.WithPrefix().Subnet(), NIC: nic}, {Destination: gateway6.WithPrefix().Subnet(), NIC: nic},
		{Destination: header.IPv4EmptySubnet, Gateway: gateway4, NIC: nic}, {Destination: header.IPv6EmptySubnet, Gateway: gateway6, NIC: nic},
	})
	require.Nil(t, g.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, gateway4, tcpip.LinkAddress(link.GatewayMAC())))
	require.Nil(t, g.stack.AddStaticNeighbor(nic, ipv6.ProtocolNumber, gateway6, tcpip.LinkAddress(link.GatewayMAC())))
	_, before := n.Plugged(machine.ID)
	go func() { g.ended <- n.Attach(near, machine) }()
	go g.send()
	go g.receive()
	t.Cleanup(g.cut)
	require.Eventually(t, func() bool {
		now, times := n.Plugged(machine.ID)
		return now && times == before+1
	}, 20*time.Second, time.Millisecond)
	return g
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// pair is two ends of a Unix socket, as QEMU's.
func pair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return ends[0], ends[1]
}

// cut pulls the cable.
func (g *guest) cut() {
	_ = g.conn.Close()
	g.link.Close()
	g.stack.Close()
}

func (g *guest) send() {
	for {
		p := g.link.ReadContext(context.Background())
		if p == nil {
			return
		}
		b := make([]byte, 4, 4+p.Size())
		for _, part := range p.AsSlices() {
			b = append(b, part...)
		}
		p.DecRef()
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		if _, err := g.conn.Write(b); err != nil {
			return
		}
	}
}

func (g *guest) receive() {
	length := make([]byte, 4)
	for {
		if _, err := io.ReadFull(g.conn, length); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(length))
		if _, err := io.ReadFull(g.conn, b); err != nil {
			return
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		g.link.InjectInbound(0, p)
		p.DecRef()
	}
}

func full(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: stackAddress(a), Port: port}
}

// listen opens a TCP port, until the function that it returns is called.
func (g *guest) listen(t *testing.T, a netip.Addr, port uint16) (shut func()) {
	t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(a, port), protocolOf(a))
	require.NoError(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return func() { l.Shutdown(); _ = l.Close() }
}

// echo answers every datagram at a port.
func (g *guest) echo(t *testing.T, a netip.Addr, port uint16) {
	t.Helper()
	at := full(a, port)
	c, err := gonet.DialUDP(g.stack, &at, nil, protocolOf(a))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			size, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:size], from)
		}
	}()
}
