package lab

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/probe"
	"homelab/internal/rehearsal"
	"homelab/internal/simcloud/policyfile"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// probed is a server of a deployment, with the user data that the program renders.
func probed(t *testing.T) rehearsal.Server {
	t.Helper()
	userData, err := os.ReadFile("../../../../components/host/testdata/cloud-init.golden")
	require.NoError(t, err)
	return rehearsal.Server{
		ID: "100000007", Name: "homelab", Image: "debian-13", UserData: string(userData), IPv4: netip.MustParseAddr("198.51.100.7"), IPv6: netip.MustParsePrefix("2001:db8:7::1/64"),
		Firewall: []rehearsal.Rule{
			{Protocol: "tcp", First: 443, Last: 443, Sources: prefixes("173.245.48.0/20", "2400:cb00::/32")},
			{Protocol: "udp", First: 41641, Last: 41641, Sources: prefixes("0.0.0.0/0", "::/0")},
			{Protocol: "icmp", Sources: prefixes("0.0.0.0/0", "::/0")},
		},
	}
}

func TestWhatAProbeMayMeet(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	server := probed(t)
	m := l.newMachine(server)
	policy, err := os.ReadFile("../../../../components/tailnet/testdata/admins-and-members.golden")
	require.NoError(t, err)
	l.options.Operator = "a@example.com"
	tailnet, err := l.joined(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.SetPolicy(t.Context(), string(policy)))
	declared := rehearsal.Declared{PublicPort: 443, TailnetPort: 443, Hostnames: []rehearsal.DeclaredHost{{Name: "a.example.com", Public: true}}}
	options, err := l.probeOptions(t.Context(), m, server, tailnet, rehearsal.ProbeOptions{Declared: declared})
	require.NoError(t, err)

	everybody := []probe.Door{{Protocol: "udp", First: 41641, Last: 41641}, {Protocol: "icmp"}}
	cloudflare := append([]probe.Door{{Protocol: "tcp", First: 443, Last: 443}}, everybody...)
	own := []probe.Door{{Protocol: "udp", First: 41641, Last: 41641}, {Protocol: "tcp", First: 22, Last: 22}, {Protocol: "icmp"}}
	v4, v6 := server.IPv4, server.IPv6.Addr()
	assert.Equal(t, []probe.Outside{
		{Name: "a stranger, IPv4", From: strangers[0], To: v4, Allowed: everybody, Silent: true},
		{Name: "past Hetzner's firewall, IPv4", From: behind[0], To: v4, Behind: true, Allowed: own, Silent: true},
		{Name: "Cloudflare, IPv4", From: netip.MustParseAddr("173.245.48.201"), To: v4, Allowed: cloudflare, Silent: true},
		{Name: "a stranger, IPv6", From: strangers[1], To: v6, Allowed: everybody, Silent: true},
		{Name: "past Hetzner's firewall, IPv6", From: behind[1], To: v6, Behind: true, Allowed: own, Silent: true},
		{Name: "Cloudflare, IPv6", From: netip.MustParseAddr("2400:cb00::c9"), To: v6, Allowed: cloudflare, Silent: true},
	}, options.Outside)
	require.Len(t, options.People, 2)
	assert.Equal(t, []probe.Door{{Protocol: "tcp", First: 22, Last: 22}, {Protocol: "tcp", First: 443, Last: 443}}, options.People[0].Allowed, "an admin")
	assert.Equal(t, []probe.Door{{Protocol: "tcp", First: 443, Last: 443}}, options.People[1].Allowed, "a member")
	connects := map[string]bool{}
	for _, v := range options.Hostnames.Visitors {
		connects[v.Name] = v.Connects
	}
	assert.Equal(t, map[string]bool{
		"hostnames, a stranger, IPv4": false, "hostnames, a stranger, IPv6": false, "hostnames, Cloudflare, IPv4": true, "hostnames, Cloudflare, IPv6": true,
		"hostnames, an admin": true, "hostnames, a member": true,
	}, connects)
	assert.Equal(t, []netip.Addr{v4, v6}, options.Containers.Machine)
	assert.Len(t, options.Containers.Internet, 3, "a name server, and a host of each version of IP")
	_, err = options.Node(t.Context())
	require.ErrorIs(t, err, probe.ErrAbsent)
	_, err = options.Root(t.Context(), "true")
	require.ErrorContains(t, err, "the machine is off")

	first, err := l.probeOptions(t.Context(), m, server, tailnet, rehearsal.ProbeOptions{Declared: declared, FirstBoot: true})
	require.NoError(t, err)
	assert.False(t, first.Outside[1].Silent, "until the filter is there, ports refuse")
	assert.Contains(t, first.Outside[1].Allowed, probe.ImageDoors[0])
	assert.True(t, first.Outside[0].Silent)
	server.UserData = "#cloud-config\n"
	_, err = l.probeOptions(t.Context(), m, server, tailnet, rehearsal.ProbeOptions{})
	require.ErrorContains(t, err, "no packet filter")
}

func TestSomebodyElseOfTheTailnet(t *testing.T) {
	grants := `"tagOwners": {"tag:s": []}, "grants": [{"src": ["group:a"], "dst": ["tag:s"], "ip": ["tcp:22"]}, {"src": ["group:a", "group:m"], "dst": ["tag:s"], "ip": ["tcp:443"]}]}`
	for groups, want := range map[string]string{
		`{"groups": {"group:a": ["a@x.de", "b@x.de"], "group:m": ["z@x.de"]}, `: "z@x.de", // b is an admin
		`{"groups": {"group:a": ["a@x.de", "b@x.de"], "group:m": []}, `:         "b@x.de",
		`{"groups": {"group:a": ["a@x.de"], "group:m": ["a@x.de"]}, `:           nobodyElse,
	} {
		policy, err := policyfile.Parse(groups + grants)
		require.NoError(t, err)
		got, err := someMember(policy, "a@x.de", []string{"tag:s"})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestAProbesLife(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	require.ErrorIs(t, l.AwaitProbe(t.Context()), errNoProbe)
	_, err := l.StopProbe(t.Context())
	require.ErrorIs(t, err, errNoProbe)
	server := probed(t)
	require.ErrorContains(t, l.StartProbe(t.Context(), rehearsal.ProbeOptions{Machine: server.ID}), "no machine")
	l.newMachine(server)
	require.NoError(t, l.SetPolicy(t.Context(), ""))
	// Its place on the network is there; it is off.
	require.NoError(t, l.network.SetFirewall(server.ID, linkRules(server.Firewall)))
	options := rehearsal.ProbeOptions{Machine: server.ID, Declared: rehearsal.Declared{PublicPort: 443}}
	require.NoError(t, l.StartProbe(t.Context(), options))
	require.ErrorContains(t, l.StartProbe(t.Context(), options), "machine 100000007 is probed already: wait until that ends, at ")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorIs(t, l.AwaitProbe(ctx), context.DeadlineExceeded, "nothing can be looked at")
	report, err := l.StopProbe(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, report.Err(), "a stranger, IPv4: not one pass could be made: the machine is unplugged")
	require.ErrorContains(t, report.Err(), "an admin: not one pass could be made: "+probe.ErrAbsent.Error())
	assert.Empty(t, report.Forbidden)
	// One whose owner is gone ends by itself, and what it saw can be asked for.
	options.Longest = time.Millisecond
	require.NoError(t, l.StartProbe(t.Context(), options), "its addresses are free again")
	p := l.probe
	require.Eventually(t, func() bool { return p.Ended() }, 30*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, l.AwaitProbe(t.Context()), "the probe has ended")
	report, err = l.StopProbe(t.Context())
	require.NoError(t, err)
	assert.Less(t, report.Took, time.Minute)
	require.NoError(t, l.StartProbe(t.Context(), options))
	p = l.probe
	require.Eventually(t, func() bool { return p.Ended() }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, l.StartProbe(t.Context(), options), "nobody has to ask for what one saw that ended; and one that runs ends with the rehearsal")
}
