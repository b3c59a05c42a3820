package link

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Protocol numbers of IP, for IPv6 after its extension headers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoESP    = 50
	protoICMPv6 = 58
)

var errMalformed = errors.New("malformed packet")

// packet is what the switch looks at.
type packet struct {
	src, dst netip.Addr
	// proto is the protocol above IP.
	proto uint8
	// sport and dport are the ports of TCP and UDP, and both the identifier of an ICMP echo.
	sport, dport uint16
	// kind is ICMP's type.
	kind uint8
	// tcp are TCP's flags.
	tcp header.TCPFlags
	// hops is the time to live, or hop limit.
	hops uint8
	// bytes is the whole packet without padding, data what follows IP's headers.
	bytes, data []byte
	// later: this is a fragment that is not the first, without ports. more: others follow.
	later, more bool
	fragment    uint32
}

// parse reads an IP packet; padding after it is cut off.
func parse(ip []byte) (packet, error) {
	switch header.IPVersion(ip) {
	case header.IPv4Version:
		return parseIPv4(ip)
	case header.IPv6Version:
		return parseIPv6(ip)
	}
	return packet{}, errMalformed
}

func parseIPv4(b []byte) (packet, error) {
	ip := header.IPv4(b)
	if !ip.IsValid(len(b)) || !ip.IsChecksumValid() {
		return packet{}, errMalformed
	}
	ip = ip[:ip.TotalLength()]
	p := packet{
		src: netip.AddrFrom4(ip.SourceAddress().As4()), dst: netip.AddrFrom4(ip.DestinationAddress().As4()),
		proto: ip.Protocol(), hops: ip.TTL(), bytes: ip, data: ip.Payload(),
		later: ip.FragmentOffset() != 0, more: ip.More(), fragment: uint32(ip.ID()),
	}
	return p.ports()
}

func parseIPv6(b []byte) (packet, error) {
	ip := header.IPv6(b)
	if !ip.IsValid(len(b)) {
		return packet{}, errMalformed
	}
	ip = ip[:header.IPv6MinimumSize+int(ip.PayloadLength())]
	p := packet{
		src: netip.AddrFrom16(ip.SourceAddress().As16()), dst: netip.AddrFrom16(ip.DestinationAddress().As16()),
		proto: ip.NextHeader(), hops: ip.HopLimit(), bytes: ip, data: ip.Payload(),
	}
	// As long as the header is one that another follows (RFC 8200, section 4).
	for range 8 {
		switch p.proto {
		case uint8(header.IPv6HopByHopOptionsExtHdrIdentifier), uint8(header.IPv6RoutingExtHdrIdentifier), uint8(header.IPv6DestinationOptionsExtHdrIdentifier):
			if len(p.data) < 8 || len(p.data) < 8+8*int(p.data[1]) {
				return packet{}, errMalformed
			}
			p.proto, p.data = p.data[0], p.data[8+8*int(p.data[1]):]
		case uint8(header.IPv6FragmentExtHdrIdentifier):
			if len(p.data) < header.IPv6FragmentHeaderSize {
				return packet{}, errMalformed
			}
			f := header.IPv6Fragment(p.data)
			p.later, p.more, p.fragment = f.FragmentOffset() != 0, f.More(), f.ID()
			p.proto, p.data = f.NextHeader(), p.data[header.IPv6FragmentHeaderSize:]
			if p.later {
				return p, nil
			}
		default:
			return p.ports()
		}
	}
	return packet{}, errMalformed
}

// ports reads the header above IP.
func (p packet) ports() (packet, error) {
	if p.later {
		return p, nil
	}
	need := 0
	switch p.proto {
	case protoTCP:
		need = header.TCPMinimumSize
	case protoUDP, protoICMP, protoICMPv6:
		need = 8
	}
	if len(p.data) < need {
		return packet{}, errMalformed
	}
	p.read()
	return p, nil
}

// read fills in what can be read from the first 8 bytes, which is all that an ICMP error repeats.
func (p *packet) read() {
	switch p.proto {
	case protoTCP, protoUDP:
		p.sport, p.dport = binary.BigEndian.Uint16(p.data), binary.BigEndian.Uint16(p.data[2:])
		if p.proto == protoTCP && len(p.data) >= header.TCPMinimumSize {
			p.tcp = header.TCP(p.data).Flags()
		}
	case protoICMP, protoICMPv6:
		p.kind = p.data[0]
		if p.echo() {
			p.sport = binary.BigEndian.Uint16(p.data[4:])
			p.dport = p.sport
		}
	}
}

// echo reports whether it is an ICMP echo or the reply to one.
func (p *packet) echo() bool {
	switch p.proto {
	case protoICMP:
		return p.kind == uint8(header.ICMPv4Echo) || p.kind == uint8(header.ICMPv4EchoReply)
	case protoICMPv6:
		return p.kind == uint8(header.ICMPv6EchoRequest) || p.kind == uint8(header.ICMPv6EchoReply)
	}
	return false
}

// begins reports whether it asks for a connection, or an echo; UDP and others do not show it.
func (p *packet) begins() bool {
	switch p.proto {
	case protoTCP:
		return p.tcp&(header.TCPFlagSyn|header.TCPFlagAck) == header.TCPFlagSyn
	case protoICMP:
		return p.kind == uint8(header.ICMPv4Echo)
	case protoICMPv6:
		return p.kind == uint8(header.ICMPv6EchoRequest)
	}
	return false
}

// icmpError reports whether it tells of another packet that could not be delivered.
func (p *packet) icmpError() bool {
	switch p.proto {
	case protoICMP:
		switch header.ICMPv4Type(p.kind) {
		case header.ICMPv4DstUnreachable, header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
			return true
		}
	case protoICMPv6:
		return header.ICMPv6Type(p.kind).IsErrorType()
	}
	return false
}

// about returns the packet that an ICMP error repeats the beginning of.
func (p *packet) about() (packet, bool) {
	b := p.data[header.ICMPv4MinimumSize:] // 8 bytes in both versions
	switch header.IPVersion(b) {
	case header.IPv4Version:
		ip := header.IPv4(b)
		if len(b) < header.IPv4MinimumSize || int(ip.HeaderLength()) < header.IPv4MinimumSize || len(b) < int(ip.HeaderLength())+8 {
			return packet{}, false
		}
		inner := packet{
			src: netip.AddrFrom4(ip.SourceAddress().As4()), dst: netip.AddrFrom4(ip.DestinationAddress().As4()),
			proto: ip.Protocol(), data: b[ip.HeaderLength():], later: ip.FragmentOffset() != 0,
		}
		if inner.later {
			return packet{}, false
		}
		inner.read()
		return inner, true
	case header.IPv6Version:
		ip := header.IPv6(b)
		if len(b) < header.IPv6MinimumSize+8 {
			return packet{}, false
		}
		// An extension header is not looked behind: such an error is not known to belong to a flow.
		inner := packet{
			src: netip.AddrFrom16(ip.SourceAddress().As16()), dst: netip.AddrFrom16(ip.DestinationAddress().As16()),
			proto: ip.NextHeader(), data: b[header.IPv6MinimumSize:],
		}
		inner.read()
		return inner, true
	}
	return packet{}, false
}
