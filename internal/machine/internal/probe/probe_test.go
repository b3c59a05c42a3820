package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/link"
	"homelab/internal/simcloud/policyfile"
)

var (
	cloudflare4 = netip.MustParseAddr("173.245.48.9")
	cloudflare6 = netip.MustParseAddr("2400:cb00::9")
	stranger4   = netip.MustParseAddr("203.0.113.66")
	stranger6   = netip.MustParseAddr("2001:db8:66::66")
	behind4     = netip.MustParseAddr("203.0.113.67")
	behind6     = netip.MustParseAddr("2001:db8:66::67")
)

// rules are those of a firewall as the deployment's is.
func rules(t *testing.T) []link.Rule {
	t.Helper()
	var out []link.Rule
	for _, r := range []struct {
		protocol, port string
		sources        []string
	}{
		{"tcp", "443", []string{"173.245.48.0/20", "2400:cb00::/32"}},
		{"udp", "41641", []string{"0.0.0.0/0", "::/0"}},
		{"icmp", "", []string{"0.0.0.0/0", "::/0"}},
	} {
		rule, err := link.ParseRule(r.protocol, r.port, r.sources)
		require.NoError(t, err)
		out = append(out, rule)
	}
	return out
}

func TestWhatAFirewallLeavesOpen(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []Door{{"tcp", 443, 443}, {"udp", 41641, 41641}, {"icmp", 0, 0}}, Behind(rules(t), cloudflare4))
	assert.Equal(t, []Door{{"tcp", 443, 443}, {"udp", 41641, 41641}, {"icmp", 0, 0}}, Behind(rules(t), cloudflare6))
	assert.Equal(t, []Door{{"udp", 41641, 41641}, {"icmp", 0, 0}}, Behind(rules(t), stranger4))
	assert.Empty(t, Behind(nil, stranger4))
}

// everybody probes from all the places that there are.
func everybody(rules []link.Rule) []Outside {
	return []Outside{
		{Name: "a stranger, IPv4", From: stranger4, To: machine4, Allowed: Behind(rules, stranger4), Silent: true},
		{Name: "a stranger, IPv6", From: stranger6, To: machine6, Allowed: Behind(rules, stranger6), Silent: true},
		{Name: "Cloudflare, IPv4", From: cloudflare4, To: machine4, Allowed: Behind(rules, cloudflare4), Silent: true},
		{Name: "Cloudflare, IPv6", From: cloudflare6, To: machine6, Allowed: Behind(rules, cloudflare6), Silent: true},
		{Name: "behind, IPv4", From: behind4, To: machine4, Behind: true, Allowed: []Door{{"tcp", 22, 22}, {"icmp", 0, 0}}},
		{Name: "behind, IPv6", From: behind6, To: machine6, Behind: true, Allowed: []Door{{"tcp", 22, 22}, {"icmp", 0, 0}}},
	}
}

// quick is a rate that a machine without emulation stands.
const quick = 100_000

func start(t *testing.T, options Options) *Running {
	t.Helper()
	r, err := Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { r.Stop() })
	return r
}

// brief are findings without their times.
func brief(all []Finding) []string {
	var out []string
	for _, f := range all {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s %d %s %s", f.Where, f.Protocol, f.Port, f.Answer, f.What)))
	}
	return out
}

// A probe that finds nothing is worth nothing: each kind of hole that somebody could leave is found,
// and named, and what is declared is no hole.
func TestTheProbeFindsWhatIsOpen(t *testing.T) {
	t.Parallel()
	n := network(t)
	declared := rules(t)
	// By mistake somebody lets the world in at one port, by one version of IP.
	hole, err := link.ParseRule("tcp", "61000", []string{"::/0"})
	require.NoError(t, err)
	require.NoError(t, n.SetFirewall(machine.ID, append(rules(t), hole)))
	g := boot(t, n)
	for _, port := range []uint16{22, 443, 2375, 40404, 61000} {
		g.listen(t, machine4, port)
		g.listen(t, machine6, port)
	}
	g.echo(t, machine4, 53)
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(declared), Rate: quick, Slice: ports})
	require.Eventually(t, func() bool { return r.record.count("behind, IPv6") > 0 }, 3*time.Minute, 10*time.Millisecond)
	report := r.Stop()
	t.Log(report)
	assert.Equal(t, []string{
		"Cloudflare, IPv6: tcp 61000 open",
		"a stranger, IPv6: tcp 61000 open",
		"behind, IPv4: tcp 443 open", "behind, IPv4: tcp 2375 open", "behind, IPv4: tcp 40404 open", "behind, IPv4: tcp 61000 open", "behind, IPv4: udp 53 open",
		"behind, IPv6: tcp 443 open", "behind, IPv6: tcp 2375 open", "behind, IPv6: tcp 40404 open", "behind, IPv6: tcp 61000 open",
	}, brief(report.Forbidden))
	for _, who := range []string{"a stranger", "Cloudflare", "behind"} {
		for _, version := range []string{"IPv4", "IPv6"} {
			assert.True(t, report.Saw(who+", "+version, "icmp", 0, Open), "%s %s", who, version)
		}
	}
	assert.True(t, report.Saw("Cloudflare, IPv4", "tcp", 443, Open))
	assert.True(t, report.Saw("Cloudflare, IPv6", "tcp", 443, Open))
	assert.False(t, report.Saw("a stranger, IPv4", "tcp", 443, Open))
	assert.True(t, report.Saw("behind, IPv4", "tcp", 22, Open))
	assert.True(t, report.Saw("behind, IPv6", "tcp", 0, Refused), "what no filter drops is refused by the machine")
	assert.Empty(t, report.Problems)
	require.Len(t, report.Looks, 6)
	for _, l := range report.Looks {
		assert.GreaterOrEqual(t, l.Sweeps, 1, l.Where)
		assert.Zero(t, l.Absent, l.Where)
	}
	require.ErrorContains(t, report.Err(), "not declared: a stranger, IPv6: tcp 61000 open, ")
	for _, f := range report.Forbidden {
		assert.False(t, f.First.IsZero() || f.Last.Before(f.First) || f.Times == 0, f)
	}
	assert.Equal(t, report, r.Stop(), "the second time it says the same")
}

// What is open for a moment only is seen, with the time.
func TestTheProbeSeesWhatIsOpenForAMoment(t *testing.T) {
	t.Parallel()
	n := network(t)
	require.NoError(t, n.SetFirewall(machine.ID, nil))
	g := boot(t, n)
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(nil)[:1]})
	time.Sleep(time.Second)
	shut := g.listen(t, machine4, 111) // as long as the firewall lets anybody ask, or the machine refuses
	begin := time.Now()
	hole, err := link.ParseRule("tcp", "111", []string{"0.0.0.0/0"})
	require.NoError(t, err)
	require.NoError(t, n.SetFirewall(machine.ID, []link.Rule{hole}))
	time.Sleep(outsideInterval + time.Second)
	require.NoError(t, n.SetFirewall(machine.ID, nil))
	end := time.Now()
	time.Sleep(time.Second) // until what got in before has its answer
	shut()
	report := r.Stop()
	require.Equal(t, []string{"a stranger, IPv4: tcp 111 open"}, brief(report.Forbidden))
	assert.WithinRange(t, report.Forbidden[0].First, begin, end)
	assert.WithinRange(t, report.Forbidden[0].Last, begin, end.Add(time.Second))
	assert.Less(t, report.Looks[0].LongestGap, 2*outsideInterval)
}

// Where a packet filter drops what it does not let in, a refusal says that it does not.
func TestARefusalThroughAFilterIsFound(t *testing.T) {
	t.Parallel()
	n := network(t)
	hole, err := link.ParseRule("tcp", "2000-2001", []string{"0.0.0.0/0"})
	require.NoError(t, err)
	udpHole, err := link.ParseRule("udp", "161", []string{"0.0.0.0/0"})
	require.NoError(t, err)
	require.NoError(t, n.SetFirewall(machine.ID, append(rules(t), hole, udpHole)))
	boot(t, n)
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(rules(t))[:4], Rate: quick, Slice: ports})
	require.Eventually(t, func() bool { return r.record.count("Cloudflare, IPv6") > 0 }, 3*time.Minute, 10*time.Millisecond)
	report := r.Stop()
	assert.Equal(t, []string{
		"Cloudflare, IPv4: tcp 2000 refused", "Cloudflare, IPv4: tcp 2001 refused", "Cloudflare, IPv4: udp 161 refused",
		"a stranger, IPv4: tcp 2000 refused", "a stranger, IPv4: tcp 2001 refused", "a stranger, IPv4: udp 161 refused",
	}, brief(report.Forbidden))
	assert.True(t, report.Saw("a stranger, IPv6", "udp", 41641, Refused), "the firewall lets it in, and nobody is there")
}

func TestAllPortsAreSweptFromAnyMomentOn(t *testing.T) {
	t.Parallel()
	n := network(t)
	require.NoError(t, n.SetFirewall(machine.ID, nil))
	boot(t, n)
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(nil)[:1], Rate: quick, Slice: 1 << 14})
	require.Eventually(t, func() bool { return r.record.count("a stranger, IPv4") > 0 }, time.Minute, time.Millisecond)
	before := n.Stats(machine.ID).Dropped
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, r.Swept(ctx))
	packets := map[uint16]uint64{}
	for _, d := range n.Stats(machine.ID).Dropped {
		if d.Protocol == "tcp" {
			packets[d.Port] = d.Packets
		}
	}
	require.Len(t, packets, ports)
	for _, d := range before {
		if d.Protocol == "tcp" {
			require.Greater(t, packets[d.Port], d.Packets, "port %d was not tried again", d.Port)
		}
	}
	assert.Positive(t, r.Stop().Looks[0].Sweeps)
}

func TestTheRateIsKept(t *testing.T) {
	t.Parallel()
	n := network(t)
	require.NoError(t, n.SetFirewall(machine.ID, nil))
	boot(t, n)
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(nil)[:2], Rate: 1000})
	time.Sleep(3 * time.Second)
	report := r.Stop()
	packets := 0
	for _, l := range report.Looks {
		packets += l.Tries
	}
	// A pass that the end cut off is not counted.
	assert.LessOrEqual(t, packets, int(1000*report.Took.Seconds())+burst)
	assert.GreaterOrEqual(t, packets, 1000)
}

// A machine that is off is not a problem; it says so.
func TestAMachineThatIsOff(t *testing.T) {
	t.Parallel()
	n := network(t)
	require.NoError(t, n.SetFirewall(machine.ID, nil))
	g := boot(t, n)
	var asked atomic.Int32
	r := start(t, Options{Network: n, Machine: machine.ID, Outside: everybody(nil)[:1], Slice: 16, Root: func(context.Context, string) (string, error) {
		asked.Add(1)
		if on, _ := n.Plugged(machine.ID); !on {
			return "", errors.New("off")
		}
		return "filter no\nmetadata-root shut\nmetadata-nobody shut\ndocker-socket absent\ndocker-nobody shut\n", nil
	}})
	require.Eventually(t, func() bool { return asked.Load() > 0 }, 10*time.Second, time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	g.cut()
	require.NoError(t, <-g.ended)
	time.Sleep(outsideInterval)
	boot(t, n)
	time.Sleep(outsideInterval + 500*time.Millisecond)
	report := r.Stop()
	require.NoError(t, report.Err())
	require.Len(t, report.Looks, 2)
	assert.Positive(t, report.Looks[0].Absent)
	assert.Equal(t, "the machine is unplugged", report.Looks[0].Why)
	assert.GreaterOrEqual(t, report.Looks[0].Passes, 2)
	assert.GreaterOrEqual(t, report.Looks[0].LongestGap, outsideInterval)
}

// Passes that fail on a machine that is there are a problem, whatever comes later.
func TestPassesThatCouldNotBeMade(t *testing.T) {
	t.Parallel()
	power := 1
	r := newRecord(func() int { return power })
	r.missed("a", errors.New("early"))
	r.passed("a", power, 1, false)
	r.missed("a", errors.New("while it went off"))
	power = 2
	r.passed("a", power, 1, false)
	r.missed("a", errors.New("nobody knows why"))
	r.missed("a", errors.New("nobody knows why"))
	r.passed("a", power, 1, false)
	r.missed("a", errors.New("the last"))
	r.missed("b", errors.New("never there"))
	report := r.report(true)
	assert.Equal(t, 2, report.Looks[0].Absent)
	require.Len(t, report.Problems, 3)
	assert.Contains(t, report.Problems[0], "a: 2 passes, after ")
	assert.Contains(t, report.Problems[0], ": nobody knows why")
	assert.Contains(t, report.Problems[1], "a: 1 passes, after ")
	assert.Equal(t, "b: not one pass could be made: never there", report.Problems[2])
	require.ErrorContains(t, report.Err(), "not probed: b: not one pass")

	off := newRecord(func() int { return 1 })
	off.passed("a", 1, 1, false)
	off.missed("a", errors.New("off"))
	require.NoError(t, off.report(false).Err(), "it is off now")
}

// A pass that lasts from one switching on to the next was made before what came between.
func TestAPassThatLastsOverAReboot(t *testing.T) {
	t.Parallel()
	power := 2
	r := newRecord(func() int { return power })
	r.passed("a", 1, 1, false)
	r.missed("a", errors.New("it boots"))
	r.passed("a", 2, 1, false)
	report := r.report(true)
	require.NoError(t, report.Err())
	assert.Equal(t, 1, report.Looks[0].Absent)
}

// echoOne answers one datagram, or hangs up.
func echoOne(conn net.Conn, answers bool) {
	b := make([]byte, 2048)
	if n, err := conn.Read(b); err == nil && answers {
		_, _ = conn.Write(b[:n])
	}
	_ = conn.Close()
}

// dialer is a person's computer that reaches what it is told.
func dialer(open, refused []uint16) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		at := netip.MustParseAddrPort(address)
		if network == "udp" {
			near, far := net.Pipe()
			go echoOne(far, slices.Contains(open, at.Port()))
			return near, nil
		}
		for _, port := range open {
			if at.Port() == port {
				near, far := net.Pipe()
				return near, far.Close()
			}
		}
		for _, port := range refused {
			if at.Port() == port {
				return nil, errors.New("connect tcp " + address + ": connection was refused")
			}
		}
		if at.Port() == 22 {
			<-ctx.Done() // silence; that of the others is said at once, so that the test is short
		}
		return nil, context.DeadlineExceeded
	}
}

var tailnetAddresses = []netip.Addr{netip.MustParseAddr("100.64.0.7"), netip.MustParseAddr("fd7a:115c:a1e0::7")}

func TestThePeopleOfTheTailnet(t *testing.T) {
	t.Parallel()
	n := network(t)
	boot(t, n)
	var asked atomic.Int32
	r := start(t, Options{
		Network: n, Machine: machine.ID,
		People: []Person{
			{Name: "an admin", Dial: dialer([]uint16{22, 2375, 53, 7}, []uint16{443}), Allowed: []Door{{"tcp", 22, 22}, {"tcp", 443, 443}, {"tcp", 53, 53}}},
			{Name: "a member", Dial: dialer(nil, []uint16{443, 9100}), Allowed: []Door{{"tcp", 443, 443}}},
		},
		TailnetSlice: 20,
		Node: func(context.Context) ([]netip.Addr, error) {
			if asked.Add(1) == 1 {
				return nil, ErrAbsent
			}
			return tailnetAddresses, nil
		},
	})
	require.Eventually(t, func() bool { return r.record.count("a member") > 0 }, time.Minute, 100*time.Millisecond)
	report := r.Stop()
	assert.Equal(t, []string{
		"a member: tcp 9100 refused", "a member: tcp 9100 refused by IPv6",
		"an admin: tcp 7 open", "an admin: tcp 7 open by IPv6", // none of the known ones
		"an admin: tcp 2375 open", "an admin: tcp 2375 open by IPv6",
		"an admin: udp 53 open", "an admin: udp 53 open by IPv6", "an admin: udp 2375 open", "an admin: udp 2375 open by IPv6",
	}, brief(report.Forbidden))
	assert.Equal(t, []string{
		"a member: tcp 443 refused", "a member: tcp 443 refused by IPv6", "an admin: tcp 22 open", "an admin: tcp 22 open by IPv6", "an admin: tcp 53 open",
		"an admin: tcp 53 open by IPv6", "an admin: tcp 443 refused", "an admin: tcp 443 refused by IPv6",
	}, brief(report.Seen))
	assert.Zero(t, report.Looks[0].Sweeps)
	assert.Equal(t, report.Looks[0].Passes*2*(len(KnownTCP)+len(knownUDP)+20), report.Looks[0].Tries)
	assert.Empty(t, report.Problems)
	assert.Equal(t, 1, report.Looks[0].Absent, "it had not joined")
	assert.Equal(t, ErrAbsent.Error(), report.Looks[0].Why)
}

// Each pass goes on where the last one ended, and the last slice is the rest.
func TestTheSweepOfTheTailnet(t *testing.T) {
	t.Parallel()
	w := &walker{next: 1}
	var all []uint16
	passes := 1
	for ; ; passes++ {
		all = append(all, w.slice(1024)...)
		if w.step(1024) {
			break
		}
	}
	assert.Equal(t, 64, passes)
	require.Len(t, all, ports)
	for i, port := range all {
		require.EqualValues(t, i+1, port)
	}
	assert.Equal(t, []uint16{1, 2}, w.slice(2))
}

func TestWhatAPolicyOpens(t *testing.T) {
	t.Parallel()
	policy, err := policyfile.Parse(`{"tagOwners": {"tag:server": []}, "grants": [
		{"src": ["a@example.com"], "dst": ["tag:server"], "ip": ["tcp:22", "tcp:65530-65535", "tcp:443"]},
		{"src": ["m@example.com"], "dst": ["tag:server"], "ip": ["443"]},
	]}`)
	require.NoError(t, err)
	admin, err := Reachable(policy, "a@example.com", "tag:server")
	require.NoError(t, err)
	assert.Equal(t, []Door{{"tcp", 22, 22}, {"tcp", 443, 443}, {"tcp", 65530, 65535}}, admin)
	member, err := Reachable(policy, "m@example.com", "tag:server")
	require.NoError(t, err)
	assert.Equal(t, []Door{{"tcp", 443, 443}, {"udp", 443, 443}}, member)
	nobody, err := Reachable(policy, "n@example.com", "tag:server")
	require.NoError(t, err)
	assert.Empty(t, nobody)
}

// A machine that is said to be in the tailnet, and answers nobody, was not looked at.
func TestSilenceInTheTailnetIsNoPass(t *testing.T) {
	t.Parallel()
	n := network(t)
	boot(t, n)
	r := start(t, Options{
		Network: n, Machine: machine.ID,
		People: []Person{{Name: "an admin", Dial: dialer(nil, nil), Allowed: []Door{{"tcp", 22, 22}}}, {Name: "a guest", Dial: dialer(nil, nil)}},
		Node:   func(context.Context) ([]netip.Addr, error) { return tailnetAddresses, nil },
	})
	require.Eventually(t, func() bool { return r.record.count("a guest") > 0 && r.record.tried("an admin") }, time.Minute, 10*time.Millisecond)
	report := r.Stop()
	assert.Equal(t, []string{"an admin: not one pass could be made: nothing of what may answer did"}, report.Problems)
}

func TestWhatIsSeenFromInside(t *testing.T) {
	t.Parallel()
	n := network(t)
	boot(t, n)
	for _, c := range []struct {
		said            string
		forbidden, seen []string
		problem         string
	}{
		{"filter no\nmetadata-root reached\nmetadata-nobody reached\ndocker-socket absent\ndocker-nobody shut\n", nil, []string{
			"nobody, inside: tcp 80 open metadata service, as root", "nobody, inside: tcp 80 open metadata service, before the packet filter",
		}, ""},
		{"filter yes\nmetadata-root reached\nmetadata-nobody reached\ndocker-socket 666 root docker\ndocker-nobody reached\n", []string{
			"nobody, inside: tcp 80 open metadata service", "nobody, inside: unix 0 open Docker's socket", "nobody, inside: unix 0 refused Docker's socket is 666 root docker",
		}, []string{"nobody, inside: tcp 80 open metadata service, as root"}, ""},
		{"filter yes\nmetadata-root reached\nmetadata-nobody shut\ndocker-socket 660 root docker\ndocker-nobody shut\n", nil, []string{
			"nobody, inside: tcp 80 open metadata service, as root", "nobody, inside: unix 0 refused Docker's socket is 660 root docker",
		}, ""},
		{"filter yes\n", nil, nil, "said nothing of metadata-root"},
		{"filter yes\nfilter no\n", nil, nil, "the script said"},
		{"bash: setpriv: not found\n", nil, nil, "said nothing of filter"},
	} {
		r := start(t, Options{Network: n, Machine: machine.ID, Root: func(_ context.Context, script string) (string, error) {
			assert.Equal(t, insideScript, script)
			return c.said, nil
		}})
		require.Eventually(t, func() bool { return r.record.count(insideName) > 0 || c.problem != "" && r.record.tried(insideName) }, 10*time.Second, time.Millisecond)
		report := r.Stop()
		assert.Equal(t, c.forbidden, brief(report.Forbidden), c.said)
		assert.Equal(t, c.seen, brief(report.Seen), c.said)
		if c.problem == "" {
			assert.Empty(t, report.Problems)
		} else {
			require.Len(t, report.Problems, 1)
			assert.Contains(t, report.Problems[0], c.problem)
		}
	}
}

func TestOptionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{})
	require.ErrorContains(t, err, "no network")
	require.ErrorContains(t, err, "nobody probes")
	n := network(t)
	twice := everybody(nil)[0]
	_, err = Start(t.Context(), Options{
		Network: n, Machine: machine.ID, Rate: -1, People: []Person{{Name: insideName}},
		Outside: []Outside{twice, twice, {Name: "x", From: stranger4, To: machine6}},
	})
	require.ErrorContains(t, err, "a rate of -1")
	require.ErrorContains(t, err, `"a stranger, IPv4" is no name of its own`)
	require.ErrorContains(t, err, `"nobody, inside" is no name of its own`)
	require.ErrorContains(t, err, "cannot reach "+machine6.String())
	require.ErrorContains(t, err, "no way to dial")
	other := twice
	other.Name = "another"
	_, err = Start(t.Context(), Options{Network: n, Machine: machine.ID, Outside: []Outside{twice, other}})
	require.ErrorContains(t, err, "somebody else's")
	r, err := Start(t.Context(), Options{Network: n, Machine: machine.ID, Outside: []Outside{twice}})
	require.NoError(t, err, "the first address is free again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Swept(ctx), context.Canceled)
	require.ErrorContains(t, r.Stop().Err(), "not one pass could be made")
}

// The user data that the program renders, word for word.
func TestWhatThePacketFilterLetsIn(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../../components/host/testdata/cloud-init.golden")
	require.NoError(t, err)
	doors, err := FilterDoors(string(text))
	require.NoError(t, err)
	assert.ElementsMatch(t, []Door{{"tcp", 22, 22}, {"udp", 41641, 41641}, {"icmp", 0, 0}}, doors)
	for text, want := range map[string]string{
		"#cloud-config\n": "has no packet filter", "chain input {\n tcp dport 22 accept": "not as this program writes it",
		"chain input {\n tcp dport 22 accept }\n        }":               "not as this program writes it",
		"chain input { policy drop\ntcp dport 99999 accept }\n        }": "value out of range",
	} {
		_, err := FilterDoors(text)
		require.ErrorContains(t, err, want)
	}
}
