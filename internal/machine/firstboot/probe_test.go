//go:build machine

package firstboot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/probe"
	"homelab/internal/simcloud/policyfile"
)

// Where the probe is on the internet, beside an address of Cloudflare's.
var (
	strangers = [2]netip.Addr{netip.MustParseAddr("203.0.113.66"), netip.MustParseAddr("2001:db8:66::66")}
	behind    = [2]netip.Addr{netip.MustParseAddr("203.0.113.67"), netip.MustParseAddr("2001:db8:66::67")}
	versions  = [2]string{"IPv4", "IPv6"}
)

const (
	// probeRate is in packets a second. A third of them is not stopped by Hetzner's firewall, and
	// costs the emulated machine something.
	probeRate  = 3000
	probeSlice = 1024
	// sweepPatience is for all ports, which take some two minutes at that rate.
	sweepPatience = 10 * time.Minute
	// past is the beginning of the name of who stands behind Hetzner's firewall.
	past = "past Hetzner's firewall, "
)

// declaredRules are those of Hetzner's firewall, as components/host declares them.
func declaredRules(t *testing.T) []link.Rule {
	t.Helper()
	text, err := os.ReadFile(components + "host/testdata/firewall.golden")
	require.NoError(t, err)
	var declared []struct {
		Direction, Protocol, Port string
		SourceIPs                 []string `json:"sourceIps"`
	}
	require.NoError(t, json.Unmarshal(text, &declared))
	var out []link.Rule
	for _, d := range declared {
		require.Equal(t, "in", d.Direction)
		rule, err := link.ParseRule(d.Protocol, d.Port, d.SourceIPs)
		require.NoError(t, err)
		out = append(out, rule)
	}
	require.NotEmpty(t, out)
	return out
}

// filterState says since when the machine's own packet filter is there.
type filterState bool

const (
	// filterComesLater: the first boot installs it, and until then a port that nobody listens at
	// refuses; what the image itself opens is open at its beginning. Another port is one too many at
	// any time.
	filterComesLater filterState = false
	// filterIsThere: before anything can come in, so nothing refuses ever.
	filterIsThere filterState = true
)

// watch is a probe of a machine.
type watch struct {
	*probe.Running

	filter filterState
	now    atomic.Pointer[machine] // which one is looked into; another one after a power cut
}

// probe begins to look at a machine from everywhere, until judge or the end of the test.
func (w *world) probe(t *testing.T, m *machine, filter filterState) *watch {
	t.Helper()
	p := &watch{filter: filter}
	p.looksInto(m)
	options := probe.Options{
		Network: w.network, Machine: m.server.place.ID, Rate: probeRate, Slice: probeSlice, People: w.people(t), Node: w.node, Root: p.root,
	}
	machine := [2]netip.Addr{m.server.place.IPv4, m.server.place.IPv6.Addr().Next()}
	inside, err := probe.FilterDoors(string(m.server.userData))
	require.NoError(t, err)
	require.Contains(t, inside, probe.Door{Protocol: "icmp"})
	if filter == filterComesLater {
		inside = append(inside, probe.ImageDoors...)
	}
	for i, version := range versions {
		cloudflare := w.cloudflare(t, machine[i])
		options.Outside = append(options.Outside,
			probe.Outside{Name: "a stranger, " + version, From: strangers[i], To: machine[i], Allowed: probe.Behind(w.rules, strangers[i]), Silent: true},
			probe.Outside{Name: "Cloudflare, " + version, From: cloudflare, To: machine[i], Allowed: probe.Behind(w.rules, cloudflare), Silent: true},
			probe.Outside{
				Name: past + version, From: behind[i], To: machine[i], Behind: true, Allowed: inside, Silent: filter == filterIsThere,
			},
		)
	}
	p.Running, err = probe.Start(context.WithoutCancel(t.Context()), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if report := p.Stop(); t.Failed() {
			t.Log(report)
		}
	})
	return p
}

// cloudflare is an address of Cloudflare's, of the same version of IP as another one.
func (w *world) cloudflare(t *testing.T, like netip.Addr) netip.Addr {
	t.Helper()
	for _, r := range w.rules {
		if r.Protocol != "tcp" {
			continue
		}
		for _, s := range r.Sources {
			if s.Addr().Is4() == like.Is4() {
				return s.Addr().Next()
			}
		}
	}
	require.Fail(t, "the firewall lets in nobody by TCP")
	return netip.Addr{}
}

// people are an admin and a member, with what the policy lets them reach.
func (w *world) people(t *testing.T) []probe.Person {
	t.Helper()
	policy, err := policyfile.Parse(w.policy)
	require.NoError(t, err)
	var out []probe.Person
	for _, who := range []struct{ name, login string }{{"an admin", operator}, {"a member", member}} {
		client, err := w.tailnet.Client(t.Context(), who.login)
		require.NoError(t, err)
		p := probe.Person{Name: who.name, Dial: client.Dial}
		p.Allowed, err = probe.Reachable(policy, who.login, serverTag)
		require.NoError(t, err)
		require.NotEmpty(t, p.Allowed, "nothing would show that %s could reach anything", who.name)
		out = append(out, p)
	}
	return out
}

// node are the machine's addresses in the tailnet.
func (w *world) node(ctx context.Context) ([]netip.Addr, error) {
	nodes, err := w.tailnet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Hostname == hostname && n.Online && len(n.Addresses) > 0 {
			return n.Addresses, nil
		}
	}
	return nil, probe.ErrAbsent
}

func (p *watch) looksInto(m *machine) { p.now.Store(m) }

func (p *watch) root(ctx context.Context, script string) (string, error) {
	result, err := p.now.Load().Run(ctx, "", "bash", "-c", script)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	return result.Stdout, err
}

// judge ends the probe once everything was tried on the machine as it is now, and fails for what was
// open and is not declared, and for what could not be probed.
func (p *watch) judge(t *testing.T) {
	ready := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), sweepPatience)
	defer cancel()
	require.NoError(t, p.Swept(ctx))
	report := p.Stop()
	t.Log(report)
	require.NoError(t, report.Err())
	for _, l := range report.Looks {
		assert.Positive(t, l.Passes, l.Where)
	}
	// What must answer does: the probe could see.
	for _, version := range versions {
		for _, who := range []string{"a stranger, ", "Cloudflare, ", past} {
			assert.True(t, report.Saw(who+version, "icmp", 0, probe.Open), "%s%s", who, version)
		}
		assert.True(t, report.Saw(past+version, "tcp", 22, probe.Open), version)
		if p.filter == filterComesLater {
			filterCloses(t, report, past+version, ready)
			imageCloses(t, report, past+version, p.settled(t))
		}
	}
	assert.True(t, report.Saw("an admin", "tcp", 22, probe.Open))
	assert.True(t, report.Saw("a member", "tcp", 443, probe.Refused), "the policy lets a member through, and nobody listens there yet")
	assert.True(t, report.Saw("nobody, inside", "tcp", 80, probe.Open), "root reaches the metadata service")
}

// filterCloses holds of a first boot: the filter is loaded before the machine is ready, and with it
// everything stops answering.
func filterCloses(t *testing.T, report probe.Report, where string, ready time.Time) {
	t.Helper()
	var loaded time.Time // when a port that nobody listens at refused last
	for _, f := range report.Seen {
		if f.Where == where && f.Protocol == "tcp" && f.Port == 0 && f.Answer == probe.Refused {
			loaded = f.Last
		}
	}
	require.False(t, loaded.IsZero(), "%s: nothing was seen of the time before the filter", where)
	assert.True(t, loaded.Before(ready), "%s: the filter does not drop what it must", where)
}

// settled is when the first command of the user data set systemd-resolved, by the machine's clock,
// which is this computer's.
func (p *watch) settled(t *testing.T) time.Time {
	t.Helper()
	said, err := p.root(t.Context(), "stat --format %Y /etc/systemd/resolved.conf.d/10-homelab.conf")
	require.NoError(t, err)
	seconds, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	require.NoError(t, err)
	return time.Unix(seconds, 0)
}

// imageCloses holds of a first boot: what the image opens by itself is closed minutes before the
// filter is there.
func imageCloses(t *testing.T, report probe.Report, where string, settled time.Time) {
	t.Helper()
	const (
		restart = 15 * time.Second // of an emulated machine's resolver
		pass    = 10 * time.Second // two of the probe's take less
	)
	for _, f := range report.Seen {
		for _, d := range probe.ImageDoors {
			if f.Where == where && f.Protocol == d.Protocol && d.First <= f.Port && f.Port <= d.Last && f.Answer == probe.Open {
				assert.WithinRange(t, f.Last, f.First, settled.Add(restart+pass), "%s", f)
			}
		}
	}
}
