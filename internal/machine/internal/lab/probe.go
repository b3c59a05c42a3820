package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/probe"
	"homelab/internal/machine/internal/tailnet"
	"homelab/internal/rehearsal"
	"homelab/internal/simcloud/policyfile"
)

// Where a probe is on the internet, beside addresses of Cloudflare's: IPv4, then IPv6.
var (
	strangers = [2]netip.Addr{netip.MustParseAddr("203.0.113.210"), netip.MustParseAddr("2001:db8:ffff::210")}
	visitors  = [2]netip.Addr{netip.MustParseAddr("203.0.113.211"), netip.MustParseAddr("2001:db8:ffff::211")}
	behind    = [2]netip.Addr{netip.MustParseAddr("203.0.113.212"), netip.MustParseAddr("2001:db8:ffff::212")}
	// answerers take connections, so that a container which reaches the internet is seen to.
	answerers = [2]netip.Addr{netip.MustParseAddr("203.0.113.213"), netip.MustParseAddr("2001:db8:ffff::213")}
	versions  = [2]string{"IPv4", "IPv6"}
)

const (
	answererPort = 443
	// longestProbe ends a probe whose owner is gone.
	longestProbe = 24 * time.Hour
	// nobodyElse is a member of the tailnet where the policy names none.
	nobodyElse = "nobody-else@example.com"
)

// probing is a probe that runs, or has ended by itself.
type probing struct {
	*probe.Running

	machine string
	until   time.Time // when it ends by itself
	ends    *time.Timer
	closers []io.Closer
}

func (p *probing) stop() (rehearsal.ProbeReport, error) {
	p.ends.Stop()
	report := p.Stop()
	return report, closeAll(p.closers)
}

func closeAll(all []io.Closer) error {
	var problems []error
	for _, c := range all {
		problems = append(problems, c.Close())
	}
	return errors.Join(problems...)
}

// StartProbe implements rehearsal.Prober.
func (l *Lab) StartProbe(ctx context.Context, options rehearsal.ProbeOptions) error {
	l.probing.Lock()
	defer l.probing.Unlock()
	if err := l.forgetProbe(); err != nil {
		return err
	}
	m, err := l.machine(options.Machine)
	if err != nil {
		return err
	}
	t, err := l.joined(ctx)
	if err != nil {
		return err
	}
	server, _ := l.present(m)
	what, err := l.probeOptions(ctx, m, server, t, options)
	if err != nil {
		return fmt.Errorf("probing machine %s: %w", server.ID, err)
	}
	closers, err := l.answer()
	if err != nil {
		return err
	}
	running, err := probe.Start(l.ctx, what)
	if err != nil {
		return errors.Join(err, closeAll(closers))
	}
	longest := options.Longest
	if longest <= 0 {
		longest = longestProbe
	}
	l.probe = &probing{
		Running: running, machine: server.ID, closers: closers, until: time.Now().Add(longest), ends: time.AfterFunc(longest, func() { running.Stop() }),
	}
	return nil
}

// forgetProbe makes room for another probe: whoever has started the one before, and has not asked
// what it saw until it ended by itself, is gone. It expects l.probing to be held.
func (l *Lab) forgetProbe() error {
	p := l.probe
	switch {
	case p == nil:
		return nil
	case !p.Ended():
		return fmt.Errorf("machine %s is probed already: wait until that ends, at %s at the latest", p.machine, p.until.Format(time.TimeOnly))
	}
	l.probe = nil
	_, err := p.stop()
	return err
}

// AwaitProbe implements rehearsal.Prober.
func (l *Lab) AwaitProbe(ctx context.Context) error {
	l.probing.Lock()
	p := l.probe
	l.probing.Unlock()
	if p == nil {
		return errNoProbe
	}
	return p.Looked(ctx)
}

// StopProbe implements rehearsal.Prober.
func (l *Lab) StopProbe(context.Context) (rehearsal.ProbeReport, error) {
	l.probing.Lock()
	p := l.probe
	l.probe = nil
	l.probing.Unlock()
	if p == nil {
		return rehearsal.ProbeReport{}, errNoProbe
	}
	return p.stop()
}

var errNoProbe = errors.New("no machine is probed")

// endProbe ends the probe with the rehearsal; nobody asks what it saw.
func (l *Lab) endProbe() error {
	if _, err := l.StopProbe(context.Background()); !errors.Is(err, errNoProbe) {
		return err
	}
	return nil
}

// answer takes connections at the addresses of answerers.
func (l *Lab) answer() (out []io.Closer, err error) {
	for _, a := range answerers {
		listener, err := l.network.Listen(netip.AddrPortFrom(a, answererPort))
		if err != nil {
			return nil, errors.Join(err, closeAll(out))
		}
		out = append(out, listener)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return // it is closed with the probe, or with the network
				}
				_ = conn.Close() // who connected knows enough
			}
		}()
	}
	return out, nil
}

// probeOptions say what may be open to whom: as the firewall's rules, the user data, the tailnet's
// policy and the deployment declare it.
func (l *Lab) probeOptions(ctx context.Context, m *machine, server rehearsal.Server, t *tailnet.Tailnet, options rehearsal.ProbeOptions) (probe.Options, error) {
	inside, err := probe.FilterDoors(server.UserData)
	if err != nil {
		return probe.Options{}, err
	}
	if options.FirstBoot {
		inside = append(inside, probe.ImageDoors...)
	}
	out := probe.Options{
		Network: l.network, Machine: server.ID,
		Node: func(ctx context.Context) ([]netip.Addr, error) { return l.nodeOf(ctx, t, server.Name) },
		Root: func(ctx context.Context, script string) (string, error) { return l.asRoot(ctx, m, script) },
		Containers: &probe.Containers{Declared: options.Declared, Internet: []probe.Outsider{
			{Protocol: "udp", Address: netip.AddrPortFrom(link.NameServers[0], 53)},
		}},
		Hostnames: &probe.Hostnames{Declared: options.Declared},
	}
	rules := linkRules(server.Firewall)
	for i, own := range addressesOf(server) {
		if !own.IsValid() {
			continue
		}
		out.Containers.Machine = append(out.Containers.Machine, own)
		out.Containers.Internet = append(out.Containers.Internet, probe.Outsider{Protocol: "tcp", Address: netip.AddrPortFrom(answerers[i], answererPort)})
		out.Outside = append(out.Outside,
			probe.Outside{Name: "a stranger, " + versions[i], From: strangers[i], To: own, Allowed: probe.Behind(rules, strangers[i]), Silent: true},
			probe.Outside{Name: "past Hetzner's firewall, " + versions[i], From: behind[i], To: own, Behind: true, Allowed: inside, Silent: !options.FirstBoot},
		)
		out.Hostnames.Visitors = append(out.Hostnames.Visitors, l.visitor("hostnames, a stranger, "+versions[i], visitors[i], own, rules, options.Declared))
		if taps, asks, ok := someSource(rules, own); ok {
			out.Outside = append(out.Outside, probe.Outside{Name: "Cloudflare, " + versions[i], From: taps, To: own, Allowed: probe.Behind(rules, taps), Silent: true})
			out.Hostnames.Visitors = append(out.Hostnames.Visitors, l.visitor("hostnames, Cloudflare, "+versions[i], asks, own, rules, options.Declared))
		}
	}
	if out.People, err = l.people(ctx, t, server.Name); err != nil {
		return probe.Options{}, err
	}
	for _, p := range out.People {
		out.Hostnames.Visitors = append(out.Hostnames.Visitors, probe.Visitor{
			Name: "hostnames, " + p.Name, Listener: probe.TailnetListener, Dial: p.Dial, Addresses: out.Node, Connects: true,
		})
	}
	return out, nil
}

// addressesOf are a server's public addresses: IPv4, then IPv6; one that it does not have is not
// valid.
func addressesOf(s rehearsal.Server) [2]netip.Addr {
	out := [2]netip.Addr{s.IPv4}
	if s.IPv6.IsValid() {
		out[1] = s.IPv6.Addr()
	}
	return out
}

// someSource returns two addresses of the range from which the firewall lets somebody in by TCP and
// that is not everybody's, far from its beginning, where a rehearsal has its own Cloudflare.
func someSource(rules []link.Rule, like netip.Addr) (one, other netip.Addr, ok bool) {
	for _, r := range rules {
		if r.Protocol != "tcp" {
			continue
		}
		for _, s := range r.Sources {
			if s.Addr().Is4() != like.Is4() || s.Bits() == 0 || s.Addr().BitLen()-s.Bits() < 8 {
				continue
			}
			bytes := s.Masked().Addr().AsSlice()
			bytes[len(bytes)-1] = 201
			one, _ = netip.AddrFromSlice(bytes)
			return one, one.Next(), true
		}
	}
	return one, other, false
}

// visitor asks for the hostnames from an address of the internet.
func (l *Lab) visitor(name string, from, to netip.Addr, rules []link.Rule, declared rehearsal.Declared) probe.Visitor {
	return probe.Visitor{
		Name: name, Listener: probe.PublicListener,
		Connects: slices.ContainsFunc(probe.Behind(rules, from), func(d probe.Door) bool {
			return d.Protocol == "tcp" && d.First <= declared.PublicPort && declared.PublicPort <= d.Last
		}),
		Addresses: func(context.Context) ([]netip.Addr, error) { return []netip.Addr{to}, nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return l.network.Dial(ctx, network, from, at)
		},
	}
}

// people are the operator, who is an admin, and somebody else of the tailnet.
func (l *Lab) people(ctx context.Context, t *tailnet.Tailnet, hostname string) ([]probe.Person, error) {
	text, err := t.Policy()
	if err != nil {
		return nil, err
	}
	policy, err := policyfile.Parse(text)
	if err != nil {
		return nil, err
	}
	tags, err := serverTags(ctx, t, hostname, policy)
	if err != nil {
		return nil, err
	}
	member, err := someMember(policy, l.options.Operator, tags)
	if err != nil {
		return nil, err
	}
	var out []probe.Person
	for _, who := range []struct{ name, login string }{{"an admin", l.options.Operator}, {"a member", member}} {
		client, err := t.Client(ctx, who.login)
		if err != nil {
			return nil, err
		}
		doors, err := doorsOf(policy, who.login, tags)
		if err != nil {
			return nil, err
		}
		out = append(out, probe.Person{Name: who.name, Dial: client.Dial, Allowed: doors})
	}
	return out, nil
}

// doorsOf are what the policy opens to a person at nodes with any of the tags.
func doorsOf(policy *policyfile.Policy, login string, tags []string) ([]probe.Door, error) {
	var out []probe.Door
	for _, tag := range tags {
		doors, err := probe.Reachable(policy, login, tag)
		if err != nil {
			return nil, err
		}
		out = append(out, doors...)
	}
	return out, nil
}

// serverTags are the tags that the machine has in the tailnet; before it has joined, all that it can
// have.
func serverTags(ctx context.Context, t *tailnet.Tailnet, hostname string, policy *policyfile.Policy) ([]string, error) {
	nodes, err := t.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if len(n.Tags) > 0 && strings.EqualFold(n.Hostname, hostname) {
			return n.Tags, nil
		}
	}
	return slices.Sorted(maps.Keys(policy.TagOwners)), nil
}

// someMember is the person of the policy's groups who reaches least, other than the operator: where
// nobody is in one, somebody whom no group knows.
func someMember(policy *policyfile.Policy, operator string, tags []string) (string, error) {
	people := map[string]bool{}
	for _, members := range policy.Groups {
		for _, m := range members {
			people[m] = m != operator && strings.Contains(m, "@")
		}
	}
	least, fewest := nobodyElse, 0
	for _, m := range slices.Sorted(maps.Keys(people)) {
		if !people[m] {
			continue
		}
		doors, err := doorsOf(policy, m, tags)
		if err != nil {
			return "", err
		}
		reached := 0
		for _, d := range doors {
			reached += int(d.Last) - int(d.First) + 1
		}
		if least == nobodyElse || reached < fewest {
			least, fewest = m, reached
		}
	}
	return least, nil
}

// nodeOf are a machine's addresses in the tailnet.
func (l *Lab) nodeOf(ctx context.Context, t *tailnet.Tailnet, hostname string) ([]netip.Addr, error) {
	nodes, err := t.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if len(n.Tags) > 0 && strings.EqualFold(n.Hostname, hostname) && n.Online && len(n.Addresses) > 0 {
			return n.Addresses, nil
		}
	}
	return nil, probe.ErrAbsent
}

// asRoot runs a script on a machine, as it is switched on now.
func (l *Lab) asRoot(ctx context.Context, m *machine, script string) (string, error) {
	_, now := l.present(m)
	if !now.on() {
		return "", errors.New("the machine is off")
	}
	result, err := now.vm.Run(ctx, "", "bash", "-c", script)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	return result.Stdout, err
}
