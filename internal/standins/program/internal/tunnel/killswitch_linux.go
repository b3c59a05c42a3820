package tunnel

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is the name of what Shut loads.
const table = "gluetun"

// Shut loads the kill switch, in one step: as Gluetun's rules, it lets out the tunnel to its server,
// what goes by the tunnel, and what is for neighbours; in it lets answers, neighbours, and those
// beyond the tunnel who come to an open port. It stays when the program ends.
func Shut(s Settings) error {
	neighbours, err := s.neighbours()
	if err != nil {
		return err
	}
	nft := &nftables.Conn{}
	rules := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	// What an earlier start has left is replaced; to remove it, it must be there.
	nft.AddTable(rules)
	nft.DelTable(rules)
	nft.AddTable(rules)
	chain := func(name string, hook *nftables.ChainHook) func(all ...[]expr.Any) {
		drop := nftables.ChainPolicyDrop
		c := nft.AddChain(&nftables.Chain{Table: rules, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &drop})
		return func(all ...[]expr.Any) {
			var parts []expr.Any
			for _, one := range all {
				parts = append(parts, one...)
			}
			nft.AddRule(&nftables.Rule{Table: rules, Chain: c, Exprs: append(parts, &expr.Verdict{Kind: expr.VerdictAccept})})
		}
	}
	chain("forward", nftables.ChainHookForward)

	in := chain("input", nftables.ChainHookInput)
	in(by(expr.MetaKeyIIFNAME, "lo"))
	in(answers())
	for _, n := range neighbours {
		in(by(expr.MetaKeyIIFNAME, s.Outside), within(destination, n.subnet))
	}
	for _, port := range s.Ports {
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			in(by(expr.MetaKeyIIFNAME, s.Interface), to(protocol, port))
		}
	}

	out := chain("output", nftables.ChainHookOutput)
	out(by(expr.MetaKeyOIFNAME, "lo"))
	out(answers())
	out(by(expr.MetaKeyOIFNAME, s.Interface))
	out(by(expr.MetaKeyOIFNAME, s.Outside), within(destination, only(s.Server.Addr())), to(unix.IPPROTO_UDP, s.Server.Port()))
	for _, n := range neighbours {
		out(by(expr.MetaKeyOIFNAME, s.Outside), within(source, &net.IPNet{IP: n.own, Mask: net.CIDRMask(32, 32)}), within(destination, n.subnet))
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("loading the kill switch: %w", err)
	}
	return nil
}

// by is the interface's name.
func by(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
}

// answers belong to what was let through before.
func answers() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// Offsets in the header of IPv4.
const (
	source      = 12
	destination = 16
)

// within is an address of IPv4 in a network.
func within(offset uint32, network *net.IPNet) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: network.Mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network.IP.To4()},
	}
}

// only is the network of one address.
func only(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// to is a port of a protocol.
func to(protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}
