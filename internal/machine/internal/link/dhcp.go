package link

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// leaseTime is Hetzner's.
const leaseTime = 24 * time.Hour

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func isDHCP(p *packet) bool {
	return p.proto == protoUDP && !p.later && p.dport == dhcpv4.ServerPort && p.sport == dhcpv4.ClientPort && (p.dst == broadcast || p.dst == GatewayIPv4)
}

// dhcp gives the machine its address as Hetzner does: a /32, and a gateway that is reached by a route
// to itself.
func (s *station) dhcp(m Machine, p *packet) {
	if p.src != m.IPv4 && !p.src.IsUnspecified() {
		s.counts.spoofed.Add(1)
		return
	}
	udp := header.UDP(p.data)
	if !m.IPv4.IsValid() || p.more || int(udp.Length()) > len(udp) || int(udp.Length()) < header.UDPMinimumSize {
		return
	}
	request, err := dhcpv4.FromBytes(udp[header.UDPMinimumSize:udp.Length()])
	if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest || !bytes.Equal(request.ClientHWAddr, m.MAC) {
		s.counts.malformed.Add(1)
		return
	}
	reply, ok := lease(m, request)
	if !ok {
		return
	}
	to := m.IPv4
	if request.IsBroadcast() || reply.MessageType() == dhcpv4.MessageTypeNak {
		to = broadcast
	}
	s.sendIP(frameUDP(netip.AddrPortFrom(GatewayIPv4, dhcpv4.ServerPort), netip.AddrPortFrom(to, dhcpv4.ClientPort), reply.ToBytes()))
}

// lease is the answer to a request, if it gets one.
func lease(m Machine, request *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, bool) {
	gateway, own := net.IP(GatewayIPv4.AsSlice()), net.IP(m.IPv4.AsSlice())
	if chosen := request.ServerIdentifier(); chosen != nil && !chosen.Equal(gateway) {
		return nil, false
	}
	kind := dhcpv4.MessageTypeOffer
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
		wanted := request.RequestedIPAddress()
		if wanted == nil {
			wanted = request.ClientIPAddr
		}
		if !wanted.Equal(own) {
			kind = dhcpv4.MessageTypeNak
		}
	default:
		return nil, false
	}
	options := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway))}
	if kind != dhcpv4.MessageTypeNak {
		_, everything, _ := net.ParseCIDR("0.0.0.0/0")
		self := &net.IPNet{IP: gateway, Mask: net.CIDRMask(32, 32)}
		var servers []net.IP
		for _, a := range NameServers {
			if a.Is4() {
				servers = append(servers, a.AsSlice())
			}
		}
		options = append(options, dhcpv4.WithYourIP(own), dhcpv4.WithServerIP(gateway),
			dhcpv4.WithNetmask(net.CIDRMask(32, 32)), dhcpv4.WithRouter(gateway), dhcpv4.WithDNS(servers...), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)),
			dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
				&dhcpv4.Route{Dest: self, Router: net.IPv4zero}, &dhcpv4.Route{Dest: everything, Router: gateway})))
		if m.Metadata.Hostname != "" {
			options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(m.Metadata.Hostname)))
		}
	}
	reply, err := dhcpv4.NewReplyFromRequest(request, options...)
	return reply, err == nil
}
