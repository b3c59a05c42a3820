package link

import (
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// maxQuoted is how much of a packet an ICMP error repeats: all of it stays below 576 bytes, which
// every link carries (RFC 1812, section 4.3.2.3).
const maxQuoted = 520

// ndpHops is the hop limit that shows that a neighbour message crossed no router (RFC 4861).
const ndpHops = 255

// arp answers for the gateway, to the machine's own address.
func (s *station) arp(m Machine, b []byte) {
	request := header.ARP(b)
	if !request.IsValid() {
		s.counts.malformed.Add(1)
		return
	}
	sender := netip.AddrFrom4([4]byte(request.ProtocolAddressSender()))
	if sender != m.IPv4 && !sender.IsUnspecified() {
		s.counts.spoofed.Add(1)
		return
	}
	target := netip.AddrFrom4([4]byte(request.ProtocolAddressTarget()))
	if request.Op() != header.ARPRequest || target != GatewayIPv4 || !m.IPv4.IsValid() {
		return
	}
	f := newFrame(header.ARPSize)
	reply := header.ARP(f.ip())
	reply.SetIPv4OverEthernet()
	reply.SetOp(header.ARPReply)
	copy(reply.HardwareAddressSender(), gatewayMAC)
	copy(reply.ProtocolAddressSender(), request.ProtocolAddressTarget())
	copy(reply.HardwareAddressTarget(), request.HardwareAddressSender())
	copy(reply.ProtocolAddressTarget(), request.ProtocolAddressSender())
	s.send(f, header.ARPProtocolNumber)
}

// local deals with what stays on the link; it reports whether the packet was for nobody else.
func (s *station) local(m Machine, p *packet) bool {
	if p.src.Is4() {
		switch {
		case isDHCP(p):
			s.dhcp(m, p)
		case p.dst == GatewayIPv4 && p.src == m.IPv4:
			s.echo(p)
		case !p.dst.IsMulticast():
			return false
		}
		return true
	}
	onLink := p.src.IsLinkLocalUnicast() || p.src.IsUnspecified()
	if p.dst.IsGlobalUnicast() || !onLink && !m.has(p.src) {
		return false
	}
	switch {
	case p.proto != protoICMPv6 || p.later:
	case p.kind == uint8(header.ICMPv6NeighborSolicit):
		s.advertise(m, p)
	case p.dst == GatewayIPv6 && !p.src.IsUnspecified():
		s.echo(p)
	}
	return true
}

// advertise answers the question who has the gateway's IPv6 address.
func (s *station) advertise(m Machine, p *packet) {
	question := header.ICMPv6(p.data)
	if p.hops != ndpHops || !m.IPv6.IsValid() || len(p.data) < header.ICMPv6NeighborSolicitMinimumSize || checksumICMPv6(p.data, p.src, p.dst) != question.Checksum() {
		return
	}
	target := netip.AddrFrom16(header.NDPNeighborSolicit(question.MessageBody()).TargetAddress().As16())
	if target != GatewayIPv6 {
		return
	}
	to, asked := p.src, true
	if to.IsUnspecified() {
		// The machine wants the address for itself.
		to, asked = netip.IPv6LinkLocalAllNodes(), false
	}
	options := header.NDPOptionsSerializer{header.NDPTargetLinkLayerAddressOption(gatewayMAC)}
	message := make([]byte, header.ICMPv6NeighborAdvertMinimumSize+options.Length())
	header.ICMPv6(message).SetType(header.ICMPv6NeighborAdvert)
	advert := header.NDPNeighborAdvert(header.ICMPv6(message).MessageBody())
	advert.SetTargetAddress(tcpip.AddrFrom16(target.As16()))
	advert.SetRouterFlag(true)
	advert.SetSolicitedFlag(asked)
	advert.SetOverrideFlag(true)
	advert.Options().Serialize(options)
	s.sendIP(frameICMP(GatewayIPv6, to, ndpHops, message))
}

// echo answers a ping of the gateway.
func (s *station) echo(p *packet) {
	message := append([]byte(nil), p.data...)
	switch {
	case p.later || p.more:
		return
	case p.proto == protoICMP && p.kind == uint8(header.ICMPv4Echo):
		header.ICMPv4(message).SetType(header.ICMPv4EchoReply)
	case p.proto == protoICMPv6 && p.kind == uint8(header.ICMPv6EchoRequest):
		header.ICMPv6(message).SetType(header.ICMPv6EchoReply)
	default:
		return
	}
	s.sendIP(frameICMP(p.dst, p.src, 64, message))
}

// unreachable is the gateway's answer to a packet for an address that nobody has. Errors, and what is
// not the beginning of a packet, get none (RFC 1122, section 3.2.2).
func unreachable(p *packet) (frame, bool) {
	if p.icmpError() || p.later {
		return nil, false
	}
	quoted := p.bytes[:min(len(p.bytes), maxQuoted)]
	message := make([]byte, header.ICMPv4MinimumSize+len(quoted)) // the size is the same for IPv6
	copy(message[header.ICMPv4MinimumSize:], quoted)
	from := GatewayIPv4
	if p.src.Is4() {
		header.ICMPv4(message).SetType(header.ICMPv4DstUnreachable)
		header.ICMPv4(message).SetCode(header.ICMPv4HostUnreachable)
	} else {
		from = GatewayIPv6
		header.ICMPv6(message).SetType(header.ICMPv6DstUnreachable)
		header.ICMPv6(message).SetCode(header.ICMPv6AddressUnreachable)
	}
	return frameICMP(from, p.src, 64, message), true
}

// frameICMP makes a frame of a message whose checksum is still missing.
func frameICMP(from, to netip.Addr, hops uint8, message []byte) frame {
	if from.Is4() {
		icmp := header.ICMPv4(message)
		icmp.SetChecksum(0)
		icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
		return frameIP(from, to, protoICMP, hops, message)
	}
	header.ICMPv6(message).SetChecksum(checksumICMPv6(message, from, to))
	return frameIP(from, to, protoICMPv6, hops, message)
}

// frameUDP makes a frame of a datagram.
func frameUDP(from, to netip.AddrPort, payload []byte) frame {
	datagram := make([]byte, header.UDPMinimumSize+len(payload))
	udp := header.UDP(datagram)
	udp.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(len(datagram))})
	copy(udp.Payload(), payload)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, tcpip.AddrFromSlice(from.Addr().AsSlice()), tcpip.AddrFromSlice(to.Addr().AsSlice()), udp.Length())
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(payload, sum)))
	return frameIP(from.Addr(), to.Addr(), protoUDP, 64, datagram)
}

// frameIP makes a frame of what is above IP.
func frameIP(from, to netip.Addr, proto, hops uint8, payload []byte) frame {
	if from.Is4() {
		f := newFrame(header.IPv4MinimumSize + len(payload))
		ip := header.IPv4(f.ip())
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(ip)), TTL: hops, Protocol: proto, SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(to.As4()),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		copy(ip[header.IPv4MinimumSize:], payload)
		return f
	}
	f := newFrame(header.IPv6MinimumSize + len(payload))
	header.IPv6(f.ip()).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: tcpip.TransportProtocolNumber(proto), HopLimit: hops,
		SrcAddr: tcpip.AddrFrom16(from.As16()), DstAddr: tcpip.AddrFrom16(to.As16()),
	})
	copy(f.ip()[header.IPv6MinimumSize:], payload)
	return f
}

func checksumICMPv6(message []byte, from, to netip.Addr) uint16 {
	return header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: message, Src: tcpip.AddrFrom16(from.As16()), Dst: tcpip.AddrFrom16(to.As16()),
	})
}

// GatewayMAC is the hardware address of both gateways.
func GatewayMAC() net.HardwareAddr { return append(net.HardwareAddr(nil), gatewayMAC...) }
