package link

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// watched is a tracker whose clock the test moves.
func watched(t *testing.T, rules ...Rule) (*tracker, func(time.Duration)) {
	t.Helper()
	tr, at := newTracker(), time.Now()
	tr.now = func() time.Time { return at }
	tr.set(rules)
	return tr, func(d time.Duration) { at = at.Add(d) }
}

// segment is a TCP packet from one host to another.
func segment(from, to netip.AddrPort, flags header.TCPFlags) *packet {
	return &packet{src: from.Addr(), dst: to.Addr(), proto: protoTCP, sport: from.Port(), dport: to.Port(), tcp: flags}
}

const (
	syn = header.TCPFlagSyn
	ack = header.TCPFlagAck
	fin = header.TCPFlagFin | header.TCPFlagAck
	rst = header.TCPFlagRst
)

var (
	inside  = netip.AddrPortFrom(first.IPv4, 40000)
	web     = netip.AddrPortFrom(server, 443)
	machine = netip.AddrPortFrom(first.IPv4, 22)
	client  = netip.AddrPortFrom(someone, 50000)
)

func TestAConnectionIsTrackedUntilItEnds(t *testing.T) {
	tr, wait := watched(t)
	assert.False(t, tr.in(segment(web, inside, syn|ack)), "nobody asked")
	tr.out(segment(inside, web, syn))
	assert.False(t, tr.in(segment(web, inside, syn)), "a connection from outside, over the same ports")
	assert.True(t, tr.in(segment(web, inside, syn|ack)))
	wait(tcpEstablished - time.Second)
	assert.True(t, tr.in(segment(web, inside, ack)), "idle for days")
	tr.out(segment(inside, web, fin))
	assert.True(t, tr.in(segment(web, inside, fin)))
	assert.True(t, tr.in(segment(web, inside, ack)))
	wait(tcpClosing)
	assert.False(t, tr.in(segment(web, inside, ack)))

	// The same ports again, soon after the end.
	tr.out(segment(inside, web, syn))
	assert.True(t, tr.in(segment(web, inside, rst|ack)))
	tr.out(segment(inside, web, syn))
	assert.True(t, tr.in(segment(web, inside, syn|ack)))
	wait(tcpReset + time.Second)
	assert.True(t, tr.in(segment(web, inside, ack)), "the reset was an earlier connection's")
}

func TestWhatIsOpeningIsForgottenSooner(t *testing.T) {
	tr, wait := watched(t)
	tr.out(segment(inside, web, syn))
	wait(tcpOpening)
	assert.False(t, tr.in(segment(web, inside, syn|ack)))

	query := &packet{src: inside.Addr(), dst: web.Addr(), proto: protoUDP, sport: inside.Port(), dport: 53}
	answer := &packet{src: web.Addr(), dst: inside.Addr(), proto: protoUDP, sport: 53, dport: inside.Port()}
	tr.out(query)
	wait(udpOpening)
	assert.False(t, tr.in(answer))
	tr.out(query)
	assert.True(t, tr.in(answer))
	wait(udpEstablished - time.Second)
	assert.True(t, tr.in(answer))
	wait(udpEstablished)
	assert.False(t, tr.in(answer))
	other := *answer
	tr.out(query)
	other.sport = 54
	assert.False(t, tr.in(&other), "another port of the same host")
}

func TestTunnelsHaveNoPorts(t *testing.T) {
	for _, protocol := range []struct {
		name  string
		proto uint8
	}{{"esp", protoESP}, {"gre", protoGRE}} {
		in := &packet{src: someone, dst: first.IPv4, proto: protocol.proto}
		tr, wait := watched(t)
		assert.False(t, tr.in(in), protocol.name)
		tr.out(&packet{src: first.IPv4, dst: someone, proto: protocol.proto})
		assert.True(t, tr.in(in), protocol.name)
		wait(otherTimeout)
		assert.False(t, tr.in(in), protocol.name)
		assert.Equal(t, []Drop{{protocol.name, 0, 2}}, tr.drops())

		tr, _ = watched(t, rule(t, protocol.name, "", everywhere...))
		assert.True(t, tr.in(in), protocol.name)
	}
	tr, _ := watched(t, rule(t, "tcp", "any", everywhere...), rule(t, "udp", "any", everywhere...), rule(t, "icmp", "", everywhere...))
	assert.False(t, tr.in(&packet{src: someone, dst: first.IPv4, proto: 132}), "no rule can be for SCTP")
	assert.Equal(t, []Drop{{"132", 0, 1}}, tr.drops())
}

// A rule for IPv4 must not open IPv6, and nothing else may match by chance.
func TestSourcesAreOfOneVersionOfIP(t *testing.T) {
	tr, _ := watched(t, rule(t, "tcp", "22", "0.0.0.0/0"))
	assert.True(t, tr.in(segment(client, machine, syn)))
	assert.False(t, tr.in(segment(netip.AddrPortFrom(someone6, 1), netip.AddrPortFrom(own6(first), 22), syn)))
	assert.False(t, tr.in(&packet{src: someone, dst: first.IPv4, proto: protoUDP, sport: 1, dport: 22}))
}

func TestWhoWasLetInIsAnsweredAndNotCalled(t *testing.T) {
	tr, wait := watched(t, rule(t, "tcp", "22", everywhere...))
	require.True(t, tr.in(segment(client, machine, syn)))
	tr.out(segment(machine, client, syn|ack))
	assert.True(t, tr.in(segment(client, machine, ack)))
	wait(tcpOpening + time.Second)
	assert.True(t, tr.in(segment(client, machine, ack)), "it was answered")
	tr.set(nil)
	assert.False(t, tr.in(segment(client, machine, ack)))

	// Answers of the machine after that are its own packets, as they are for Linux.
	other := netip.AddrPortFrom(someone, 50001)
	assert.False(t, tr.in(segment(other, machine, syn)))
	assert.False(t, tr.in(segment(other, machine, ack)))
}

func TestICMPErrorsAreAboutAFlow(t *testing.T) {
	tr, _ := watched(t)
	sent := datagram(first.IPv4, server)
	p, err := parse(sent)
	require.NoError(t, err)
	refusal := func(about []byte) *packet {
		message := append(make([]byte, header.ICMPv4MinimumSize), about...)
		header.ICMPv4(message).SetType(header.ICMPv4DstUnreachable)
		e, err := parse(frameICMP(someone, first.IPv4, 64, message).ip())
		require.NoError(t, err)
		return &e
	}
	assert.False(t, tr.in(refusal(sent)), "about a packet that was not sent")
	tr.out(&p)
	assert.True(t, tr.in(refusal(sent)), "from any router on the way")
	assert.True(t, tr.in(refusal(sent[:header.IPv4MinimumSize+8])), "with as little as must be repeated")
	assert.False(t, tr.in(refusal(sent[:header.IPv4MinimumSize+7])))
	assert.False(t, tr.in(refusal(nil)))
	assert.False(t, tr.in(refusal(datagram(server, first.IPv4))), "about a packet of the other side")

	tr, _ = watched(t, rule(t, "icmp", "", everywhere...))
	assert.True(t, tr.in(refusal(sent)))
}

func TestAnEchoIsAnsweredOnce(t *testing.T) {
	tr, _ := watched(t)
	ping := &packet{src: first.IPv4, dst: someone, proto: protoICMP, kind: uint8(header.ICMPv4Echo), sport: 5, dport: 5}
	pong := &packet{src: someone, dst: first.IPv4, proto: protoICMP, kind: uint8(header.ICMPv4EchoReply), sport: 5, dport: 5}
	assert.False(t, tr.in(pong))
	tr.out(ping)
	assert.True(t, tr.in(pong))
	foreign := *ping
	foreign.src, foreign.dst = someone, first.IPv4
	assert.False(t, tr.in(&foreign), "a ping is not the answer to one")
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	tr, _ := watched(t, rule(t, "udp", "53", everywhere...))
	tr.out(segment(inside, web, syn))
	for i := range maxFlows {
		from := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
		require.True(t, tr.in(&packet{src: from, dst: first.IPv4, proto: protoUDP, sport: 1, dport: 53}))
		if i == maxFlows/2 {
			require.True(t, tr.in(segment(web, inside, syn|ack)), "in use")
		}
	}
	assert.Len(t, tr.flows, maxFlows)
	assert.Equal(t, maxFlows, tr.idle.Len())
	assert.True(t, tr.in(segment(web, inside, ack)), "what was used lately is kept")

	for i := range 3 * maxFragments {
		tr.in(&packet{src: someone, dst: first.IPv4, proto: protoUDP, sport: 1, dport: 53, more: true, fragment: uint32(i)})
		require.LessOrEqual(t, len(tr.fragments), maxFragments)
	}
}

func TestLaterFragmentsFollowTheFirst(t *testing.T) {
	tr, wait := watched(t, rule(t, "udp", "53", everywhere...))
	begin := &packet{src: someone, dst: first.IPv4, proto: protoUDP, sport: 1, dport: 53, more: true, fragment: 7}
	later := &packet{src: someone, dst: first.IPv4, proto: protoUDP, later: true, fragment: 7}
	assert.False(t, tr.in(later), "before the first")
	assert.True(t, tr.in(begin))
	assert.True(t, tr.in(later))
	other := *later
	other.fragment = 8
	assert.False(t, tr.in(&other), "of another packet")
	wait(fragmentsWait)
	assert.False(t, tr.in(later))
	shut := *begin
	shut.dport = 54
	assert.False(t, tr.in(&shut))
	assert.False(t, tr.in(later), "its first was dropped")
}

func TestPacketsAreReadBehindIPv6sOptions(t *testing.T) {
	plain := frameUDP(netip.AddrPortFrom(own6(first), 9999), netip.AddrPortFrom(server6, 7), []byte("hello")).ip()
	udp := plain[header.IPv6MinimumSize:]
	with := func(next uint8, between ...byte) []byte {
		return frameIP(own6(first), server6, next, 64, append(between, udp...)).ip()
	}
	for name, b := range map[string][]byte{
		"nothing":      plain,
		"hop by hop":   with(0, protoUDP, 0, 1, 4, 0, 0, 0, 0),
		"two of them":  with(0, 60, 0, 1, 4, 0, 0, 0, 0, protoUDP, 0, 1, 4, 0, 0, 0, 0),
		"longer":       with(60, append([]byte{protoUDP, 1}, make([]byte, 14)...)...),
		"one fragment": with(44, protoUDP, 0, 0, 0, 0, 0, 0, 9),
		"padded":       append(append([]byte(nil), plain...), make([]byte, 20)...),
	} {
		p, err := parse(b)
		require.NoError(t, err, name)
		assert.Equal(t, []any{uint8(protoUDP), uint16(9999), uint16(7)}, []any{p.proto, p.sport, p.dport}, name)
		assert.Len(t, p.data, len(udp), name)
	}
	later, err := parse(with(44, protoUDP, 0, 0, 8, 0, 0, 0, 9))
	require.NoError(t, err)
	assert.True(t, later.later)
	assert.Zero(t, later.dport, "what is there is no header")

	endless := make([]byte, 0, 80)
	for range 10 {
		endless = append(endless, 0, 0, 1, 4, 0, 0, 0, 0)
	}
	for name, b := range map[string][]byte{
		"no end":        with(0, endless...),
		"cut off":       frameIP(own6(first), server6, 0, 64, []byte{protoUDP, 9, 0, 0, 0, 0, 0, 0}).ip(),
		"too short":     frameIP(own6(first), server6, protoUDP, 64, []byte{1, 2, 3}).ip(),
		"half a header": plain[:header.IPv6MinimumSize-1],
		"no version":    {0x50},
		"nothing":       {},
	} {
		_, err := parse(b)
		assert.ErrorIs(t, err, errMalformed, name)
	}
}
