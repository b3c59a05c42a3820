// Package vpn is the VPN of a rehearsal: a provider's WireGuard server on the rehearsal's internet,
// at whatever address a machine expects it, with an exit there.
//
// The server speaks WireGuard with the keys of homelab/internal/vpnkeys. Its exit passes on what TCP
// and UDP carry over IPv4, from an address of its own. Nobody reaches a client by that address, and
// pings get no answer.
package vpn

import (
	"context"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/tailscale/wireguard-go/device"
)

// Network is the internet that the server and its exit are on; *link.Network is one.
type Network interface {
	// ListenPacket receives UDP at an address.
	ListenPacket(at netip.AddrPort) (net.PacketConn, error)
	// Dial connects from an address.
	Dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error)
}

// Options describe a server. All but Log are required.
type Options struct {
	// Network is the internet.
	Network Network
	// Exit is the address from which clients reach it; nobody else has it.
	Exit netip.Addr
	// Key is the server's own, and Client the public key of its only client.
	Key    *ecdh.PrivateKey
	Client *ecdh.PublicKey
	// Log gets lines about what goes wrong. Default: nobody.
	Log io.Writer
}

// Server is a VPN server. Its methods may be called at the same time.
type Server struct {
	network Network
	checker device.CookieChecker
	bind    *bind
	device  *device.Device
	exit    *exit

	mu    sync.Mutex
	conns map[netip.AddrPort]net.PacketConn
}

// maxAddresses bounds where a server answers: a deployment has one VPN.
const maxAddresses = 16

// Start starts a server. It answers nowhere until Newcomer is told of somebody who expects it. Close
// ends it.
func Start(o Options) (*Server, error) {
	if o.Network == nil || !o.Exit.Is4() || o.Key == nil || o.Client == nil {
		return nil, errors.New("starting a VPN: network, IPv4 exit, key and client are all required")
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	s := &Server{network: o.Network, bind: newBind(), conns: map[netip.AddrPort]net.PacketConn{}}
	s.checker.Init(device.NoisePublicKey(o.Key.PublicKey().Bytes()))
	var err error
	if s.exit, err = newExit(o.Network, o.Exit); err != nil {
		return nil, fmt.Errorf("starting a VPN: %w", err)
	}
	say := log.New(o.Log, "VPN: ", 0)
	s.device = device.NewDevice(s.exit, s.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: say.Printf})
	// The deployment alone knows the addresses that the provider has given it, so the client may have
	// any.
	settings := fmt.Sprintf("private_key=%s\npublic_key=%s\nallowed_ip=0.0.0.0/0\n", hex.EncodeToString(o.Key.Bytes()), hex.EncodeToString(o.Client.Bytes()))
	if err := errors.Join(s.device.IpcSet(settings), s.device.Up()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a VPN: %w", err), s.Close())
	}
	return s, nil
}

// Newcomer is told of datagrams before they arrive, for link.Network.Newcomers. One that begins a
// handshake with this server makes it answer at the address that it was sent to: no other server can
// be meant, because such a datagram proves that its sender knows the server's public key.
func (s *Server) Newcomer(to netip.AddrPort, datagram []byte) {
	if len(datagram) != device.MessageInitiationSize || datagram[0] != device.MessageInitiationType || !s.checker.CheckMAC1(datagram) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil || s.conns[to] != nil || len(s.conns) >= maxAddresses {
		return
	}
	conn, err := s.network.ListenPacket(to)
	if err != nil {
		return // the address is somebody else's, who does not answer
	}
	s.conns[to] = conn
	go s.bind.receive(conn)
}

// Addresses are where the server answers, sorted.
func (s *Server) Addresses() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []netip.AddrPort
	for at := range s.conns {
		out = append(out, at)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// Close ends the server, and what clients have open.
func (s *Server) Close() error {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	var problems []error
	for _, conn := range conns {
		problems = append(problems, conn.Close())
	}
	s.device.Close() // and the exit with it
	return errors.Join(problems...)
}
