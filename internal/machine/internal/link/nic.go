package link

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const nicID tcpip.NICID = 1

// nic is the stack's only interface. It carries IP packets; the frames around them are made for each
// machine.
type nic struct {
	network    *Network
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

// inject gives the stack a packet; the bytes are copied.
func (i *nic) inject(ip []byte) {
	dispatcher := i.dispatcher.Load()
	if dispatcher == nil {
		return
	}
	protocol := header.IPv4ProtocolNumber
	if header.IPVersion(ip) == header.IPv6Version {
		protocol = header.IPv6ProtocolNumber
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(ip)})
	(*dispatcher).DeliverNetworkPacket(protocol, packet)
	packet.DecRef()
}

// WritePackets takes what the stack sends.
func (i *nic) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range packets.AsSlice() {
		frame := newFrame(p.Size())
		at := frame.ip()
		for _, part := range p.AsSlices() {
			at = at[copy(at, part):]
		}
		i.network.fromInternet(frame)
	}
	return packets.Len(), nil
}

// Attach implements stack.LinkEndpoint.
func (i *nic) Attach(dispatcher stack.NetworkDispatcher) {
	if dispatcher == nil {
		i.dispatcher.Store(nil)
		return
	}
	i.dispatcher.Store(&dispatcher)
}

// IsAttached implements stack.LinkEndpoint.
func (i *nic) IsAttached() bool { return i.dispatcher.Load() != nil }

// MTU implements stack.LinkEndpoint.
func (*nic) MTU() uint32 { return mtu }

// SetMTU implements stack.LinkEndpoint: the MTU is fixed.
func (*nic) SetMTU(uint32) {}

// MaxHeaderLength implements stack.LinkEndpoint.
func (*nic) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.LinkEndpoint.
func (*nic) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint: there is none.
func (*nic) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint: the stack computes and checks every checksum.
func (*nic) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }

// Wait implements stack.LinkEndpoint: it has no workers.
func (*nic) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (*nic) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (*nic) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (*nic) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.LinkEndpoint.
func (*nic) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (*nic) SetOnCloseAction(func()) {}

// SupportedGSO implements stack.GSOEndpoint: TCP builds large segments and cuts them late.
func (*nic) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// GSOMaxSize implements stack.GSOEndpoint, in bytes.
func (*nic) GSOMaxSize() uint32 { return stack.GVisorGSOMaxSize }
