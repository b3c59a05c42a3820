package link

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Newcomers are told of each datagram that a machine sends to the internet, before it gets there.
// Who answers at an address that only the deployment's settings know can begin to listen there then,
// and gets this datagram as well: f returns when it listens. The bytes are valid during the call. It
// is set before a machine is plugged in; nil: nobody comes.
func (n *Network) Newcomers(f func(to netip.AddrPort, datagram []byte)) {
	n.newcomers.Store(&f)
}

// announce tells the newcomers of a packet.
func (n *Network) announce(p *packet) {
	if p.proto != protoUDP || p.later || p.more {
		return
	}
	if f := n.newcomers.Load(); f != nil && *f != nil {
		(*f)(netip.AddrPortFrom(p.dst, p.dport), p.data[header.UDPMinimumSize:])
	}
}
