package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
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
	local, _ := address(netip.AddrPortFrom(from, 0))
	remote, _ := address(netip.AddrPortFrom(to, 0))
	if err := echo(ctx, n.stack, local, remote); err != nil {
		return fmt.Errorf("pinging %s from %s: %w", to, from, err)
	}
	return nil
}

func echo(ctx context.Context, from *stack.Stack, local, remote tcpip.FullAddress) error {
	transport, protocol, message := icmp.ProtocolNumber4, header.IPv4ProtocolNumber, make([]byte, header.ICMPv4MinimumSize+32)
	header.ICMPv4(message).SetType(header.ICMPv4Echo)
	if remote.Addr.Len() == header.IPv6AddressSize {
		transport, protocol = icmp.ProtocolNumber6, header.IPv6ProtocolNumber
		header.ICMPv6(message).SetType(header.ICMPv6EchoRequest)
	}
	var queue waiter.Queue
	endpoint, err := from.NewEndpoint(transport, protocol, &queue)
	if err != nil {
		return errors.New(err.String())
	}
	defer endpoint.Close()
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err := endpoint.Bind(local); err != nil {
		return errors.New(err.String())
	}
	if err := endpoint.Connect(remote); err != nil {
		return errors.New(err.String())
	}
	if _, err := endpoint.Write(bytes.NewReader(message), tcpip.WriteOptions{}); err != nil {
		return errors.New(err.String())
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-readable:
		}
		_, err := endpoint.Read(&bytes.Buffer{}, tcpip.ReadOptions{})
		if _, again := err.(*tcpip.ErrWouldBlock); again {
			continue
		}
		if err != nil {
			return errors.New(err.String())
		}
		return nil
	}
}
