package link

import (
	"errors"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// dialUDP connects a UDP socket. gonet.DialUDP's does not wake a reader when an ICMP error comes, so
// that a port that is refused looks like one that is silent; this one does.
func dialUDP(s *stack.Stack, local, remote tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*gonet.UDPConn, error) {
	queue := new(waiter.Queue)
	endpoint, err := s.NewEndpoint(udp.ProtocolNumber, protocol, queue)
	if err != nil {
		return nil, errors.New(err.String())
	}
	// In a goroutine, because the queue is locked while it notifies.
	failed := waiter.NewFunctionEntry(waiter.EventErr, func(waiter.EventMask) { go queue.Notify(waiter.EventIn) })
	queue.EventRegister(&failed)
	if err := endpoint.Bind(local); err != nil {
		endpoint.Close()
		return nil, errors.New(err.String())
	}
	if err := endpoint.Connect(remote); err != nil {
		endpoint.Close()
		return nil, errors.New(err.String())
	}
	return gonet.NewUDPConn(queue, endpoint), nil
}
