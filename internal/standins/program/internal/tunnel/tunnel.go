// Package tunnel is what the stand-in for Gluetun does with its network: a kill switch, and a tunnel
// by WireGuard, both as the real one makes them. It needs Linux, CAP_NET_ADMIN and /dev/net/tun.
package tunnel

import (
	"crypto/ecdh"
	"net/netip"
	"time"
)

// Settings describe a tunnel.
type Settings struct {
	// Interface is the tunnel's network interface.
	Interface string
	// Outside is the interface that the tunnel leaves by.
	Outside string
	// Server is where the VPN's server answers, by UDP.
	Server netip.AddrPort
	// Addresses are the interface's own.
	Addresses []netip.Prefix
	// Ports are open to those beyond the tunnel.
	Ports []uint16
	// Key is the tunnel's own, Peer the public key of the server.
	Key  *ecdh.PrivateKey
	Peer *ecdh.PublicKey
}

const (
	// mtu is Gluetun's, in bytes.
	mtu = 1320
	// mark is on the tunnel's own packets, and the number of the table that all others are routed by.
	mark = 51820
	// Priorities of the rules that choose a table: neighbours first.
	neighboursFirst, tunnelNext = 98, 101
)

// fresh is how long WireGuard uses the keys of a handshake.
const fresh = 180 * time.Second
