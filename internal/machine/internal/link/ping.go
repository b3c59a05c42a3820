package link

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Ping sends one ICMP echo as a host of the internet, and waits for the reply until ctx ends.
func (n *Network) Ping(ctx context.Context, from, to netip.Addr) error {
	if from.Is4() != to.Is4() {
		return fmt.Errorf("%s cannot ping %s, which has the other version of IP", from, to)
	}
	if err := n.settle(from); err != nil {
		return err
	}
	local, protocol := address(netip.AddrPortFrom(from, 0))
	remote, _ := address(netip.AddrPortFrom(to, 0))
	transport, message := icmp.ProtocolNumber4, make([]byte, header.ICMPv4MinimumSize+32)
	header.ICMPv4(message).SetType(header.ICMPv4Echo)
	if to.Is6() {
		transport = icmp.ProtocolNumber6
		header.ICMPv6(message).SetType(header.ICMPv6EchoRequest)
	}
	var queue waiter.Queue
	endpoint, err := n.stack.NewEndpoint(transport, protocol, &queue)
	if err != nil {
		return fmt.Errorf("pinging %s: %s", to, err)
	}
	defer endpoint.Close()
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err := endpoint.Bind(local); err != nil {
		return fmt.Errorf("pinging %s from %s: %s", to, from, err)
	}
	if err := endpoint.Connect(remote); err != nil {
		return fmt.Errorf("pinging %s: %s", to, err)
	}
	if _, err := endpoint.Write(bytes.NewReader(message), tcpip.WriteOptions{}); err != nil {
		return fmt.Errorf("pinging %s: %s", to, err)
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("pinging %s: %w", to, ctx.Err())
		case <-readable:
		}
		_, err := endpoint.Read(&bytes.Buffer{}, tcpip.ReadOptions{})
		if _, again := err.(*tcpip.ErrWouldBlock); again {
			continue
		}
		if err != nil {
			return fmt.Errorf("pinging %s: %s", to, err)
		}
		return nil
	}
}
