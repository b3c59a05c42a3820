package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	hops = 64
	// firstSequence and a port make the number that a SYN begins with, so that an answer shows that it
	// is one.
	firstSequence uint32 = 0x68_6f_00_00
)

func stackAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// packet is what is above IP with IP's header before it.
func packet(from, to netip.Addr, protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	if from.Is4() {
		b := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
		ip := header.IPv4(b)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(cap(b)), TTL: hops, Protocol: uint8(protocol), SrcAddr: stackAddress(from), DstAddr: stackAddress(to),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		return append(b, payload...)
	}
	b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(payload))
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: protocol, HopLimit: hops, SrcAddr: stackAddress(from), DstAddr: stackAddress(to),
	})
	return append(b, payload...)
}

func segment(from, to netip.AddrPort, sequence uint32, flags header.TCPFlags) []byte {
	tcp := header.TCP(make([]byte, header.TCPMinimumSize))
	tcp.Encode(&header.TCPFields{
		SrcPort: from.Port(), DstPort: to.Port(), SeqNum: sequence, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 1024,
	})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, stackAddress(from.Addr()), stackAddress(to.Addr()), uint16(len(tcp)))
	tcp.SetChecksum(^tcp.CalculateChecksum(sum))
	return packet(from.Addr(), to.Addr(), header.TCPProtocolNumber, tcp)
}

// synTo asks for a connection.
func synTo(from, to netip.AddrPort) []byte {
	return segment(from, to, firstSequence|uint32(to.Port()), header.TCPFlagSyn)
}

// datagram is one of UDP.
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	udp := header.UDP(make([]byte, header.UDPMinimumSize+len(payload)))
	udp.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(len(udp))})
	copy(udp.Payload(), payload)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, stackAddress(from.Addr()), stackAddress(to.Addr()), udp.Length())
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(payload, sum)))
	return packet(from.Addr(), to.Addr(), header.UDPProtocolNumber, udp)
}

// echoTo is a ping.
func echoTo(from, to netip.Addr, number uint16) []byte {
	message := make([]byte, header.ICMPv4MinimumSize+8) // as long in ICMPv6
	binary.BigEndian.PutUint16(message[6:], number)
	if from.Is4() {
		icmp := header.ICMPv4(message)
		icmp.SetType(header.ICMPv4Echo)
		icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
		return packet(from, to, header.ICMPv4ProtocolNumber, message)
	}
	icmp := header.ICMPv6(message)
	icmp.SetType(header.ICMPv6EchoRequest)
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: stackAddress(from), Dst: stackAddress(to)}))
	return packet(from, to, header.ICMPv6ProtocolNumber, message)
}

// answer is what a packet says about a port.
type answer struct {
	protocol string
	port     uint16
	answer   Answer
	what     string
	// reset makes the packet that gives up a connection which is offered; nil: none is.
	reset func(from netip.Addr) []byte
}

// readAnswer reads a packet of the machine; false: it answers nothing that was asked.
func readAnswer(b []byte, machine netip.Addr) (answer, bool) {
	protocol, src, payload, ok := open(b)
	if !ok {
		return answer{}, false
	}
	switch {
	case protocol == header.ICMPv4ProtocolNumber || protocol == header.ICMPv6ProtocolNumber:
		// An error may come from somebody on the way.
		return readICMP(payload, src, machine)
	case src != machine:
		return answer{}, false
	case protocol == header.TCPProtocolNumber && len(payload) >= header.TCPMinimumSize:
		return readTCP(header.TCP(payload), machine)
	case protocol == header.UDPProtocolNumber && len(payload) >= header.UDPMinimumSize:
		return answer{protocol: "udp", port: header.UDP(payload).SourcePort(), answer: Open}, true
	}
	return answer{}, false
}

// open takes IP's header off.
func open(b []byte) (protocol tcpip.TransportProtocolNumber, src netip.Addr, payload []byte, ok bool) {
	switch header.IPVersion(b) {
	case header.IPv4Version:
		ip := header.IPv4(b)
		if len(b) < header.IPv4MinimumSize || len(b) < int(ip.HeaderLength()) {
			return 0, src, nil, false
		}
		return ip.TransportProtocol(), netip.AddrFrom4(ip.SourceAddress().As4()), b[ip.HeaderLength():], true
	case header.IPv6Version:
		ip := header.IPv6(b)
		if len(b) < header.IPv6MinimumSize {
			return 0, src, nil, false
		}
		return ip.TransportProtocol(), netip.AddrFrom16(ip.SourceAddress().As16()), b[header.IPv6MinimumSize:], true
	}
	return 0, src, nil, false
}

func readTCP(tcp header.TCP, machine netip.Addr) (answer, bool) {
	port := tcp.SourcePort()
	out := answer{protocol: "tcp", port: port}
	if !tcp.Flags().Contains(header.TCPFlagAck) || tcp.AckNumber() != (firstSequence|uint32(port))+1 {
		return out, false
	}
	switch {
	case tcp.Flags().Contains(header.TCPFlagRst):
		out.answer = Refused
	case tcp.Flags().Contains(header.TCPFlagSyn):
		out.answer = Open
		asked, next := tcp.DestinationPort(), tcp.AckNumber()
		out.reset = func(from netip.Addr) []byte {
			return segment(netip.AddrPortFrom(from, asked), netip.AddrPortFrom(machine, port), next, header.TCPFlagRst)
		}
	default:
		return out, false
	}
	return out, true
}

// readICMP reads the reply to a ping, or an error about something else that was sent.
func readICMP(b []byte, src, machine netip.Addr) (answer, bool) {
	if len(b) < header.ICMPv4MinimumSize {
		return answer{}, false
	}
	kind, code := b[0], b[1]
	four := machine.Is4()
	switch {
	case four && kind == uint8(header.ICMPv4EchoReply), !four && kind == uint8(header.ICMPv6EchoReply):
		return answer{protocol: "icmp", answer: Open}, src == machine
	case four && kind == uint8(header.ICMPv4DstUnreachable), !four && kind == uint8(header.ICMPv6DstUnreachable):
	default:
		return answer{}, false
	}
	protocol, port, ok := about(b[header.ICMPv4MinimumSize:])
	if !ok {
		return answer{}, false
	}
	out := answer{protocol: protocol, port: port, answer: Unreachable, what: fmt.Sprintf("ICMP %d.%d from %s", kind, code, src)}
	if four && code == uint8(header.ICMPv4PortUnreachable) || !four && code == uint8(header.ICMPv6PortUnreachable) {
		out.answer, out.what = Refused, ""
	}
	return out, true
}

// about returns what an error is about.
func about(quoted []byte) (protocol string, port uint16, ok bool) {
	number, _, payload, ok := open(quoted)
	if !ok || len(payload) < 4 {
		return "", 0, false
	}
	switch number {
	case header.TCPProtocolNumber:
		return "tcp", binary.BigEndian.Uint16(payload[2:]), true
	case header.UDPProtocolNumber:
		return "udp", binary.BigEndian.Uint16(payload[2:]), true
	case header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber:
		return "icmp", 0, true
	}
	return "", 0, false
}
