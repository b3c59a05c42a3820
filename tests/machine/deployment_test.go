//go:build machine

package machine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// part is something that is done with a deployment.
type part struct {
	name string
	try  func(*lab)
}

// TestDeployment deploys all of Pulumi.prod.yaml to a machine, and then does to it what happens to
// servers. Each part begins with all healthy and leaves all healthy. All the time somebody looks at
// the machine from everywhere, and nothing may be open that is not declared.
func TestDeployment(t *testing.T) {
	l := newLab(t)
	l.machineImages()
	l.run("up")
	run := func(parts ...part) {
		for _, p := range parts {
			t.Run(p.name, func(t *testing.T) {
				l := l.on(t)
				l.settled()
				p.try(l)
				l.settled()
			})
		}
	}
	l.probed(func() {
		run(
			part{"what runs is what was declared", (*lab).whatRuns},
			part{"nothing is left to change", (*lab).nothingToChange},
			part{"visitors", (*lab).visitors},
			part{"a power cut", (*lab).powerCut},
			part{"a clean reboot", (*lab).reboot},
			part{"each container is killed", (*lab).kills},
			part{"daemons restart", (*lab).daemons},
			part{"memory runs out in a service", (*lab).memoryRunsOut},
			part{"a service fills the disk", (*lab).diskRunsOut},
			part{"the media box is away at boot", (*lab).mediaAway},
			part{"the tailnet is away at boot", (*lab).tailnetAway},
			part{"who starts again after a change", (*lab).blastRadius},
			part{"this computer is cut off", (*lab).cutOff},
			part{"the power is cut while something is deployed", (*lab).powerCutInUp},
		)
	})
	// Without the filter ports refuse, to whoever gets past Hetzner's firewall; that nothing is open
	// is as true as before.
	l.probed(func() { run(part{"the packet filter is broken at boot", (*lab).filterBroken}) }, "--first-boot")
	run(
		part{"Tailscale is gone", (*lab).lockedOut},
		part{"a new machine", (*lab).newMachine},
	)
}

// probed has somebody look at the machine from everywhere while something is done with it.
func (l *lab) probed(during func(), flags ...string) {
	l.t.Helper()
	cmd, out := l.command(l.t.Context(), append([]string{"machine", "probe", "--simulate", "--state", l.state, "--for", "12h"}, flags...)...)
	require.NoError(l.t, cmd.Start())
	during()
	require.NoError(l.t, cmd.Process.Signal(os.Interrupt))
	err := cmd.Wait() // it says what it saw
	l.t.Logf("what was seen:\n%s", out)
	assert.NoError(l.t, err, "something was open that is not declared, or could not be looked at")
}

// whatRuns compares Docker with the declaration, container by container.
func (l *lab) whatRuns() {
	declared := l.declared()
	running, states, err := l.running(declared)
	require.NoError(l.t, err)
	assert.Equal(l.t, slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(running)))
	for name, want := range declared {
		got := running[name]
		assert.Equal(l.t, want, got, name)
		assert.False(l.t, states[name].OOMKilled, name)
	}
}

// nothingToChange previews, and asks the machine what has drifted.
func (l *lab) nothingToChange() {
	l.run("preview", "--expect-no-changes")
	l.run("refresh", "--expect-no-changes")
}

// cut cuts the power, and waits until the machine has booted again.
func (l *lab) cut() {
	l.t.Helper()
	before := l.boot()
	l.machine("cut")
	l.booted(before)
}

// boot is what the kernel calls its present boot.
func (l *lab) boot() string {
	l.t.Helper()
	out, err := l.shell("cat /proc/sys/kernel/random/boot_id")
	require.NoError(l.t, err)
	return strings.TrimSpace(out)
}

// booted waits for another boot than the one before.
func (l *lab) booted(before string) {
	l.t.Helper()
	l.eventually(boots, func() []string {
		out, err := l.shell("cat /proc/sys/kernel/random/boot_id")
		if err != nil || strings.TrimSpace(out) == before {
			return []string{fmt.Sprintf("the machine has not booted again (%v)", err)}
		}
		return nil
	})
}

func (l *lab) powerCut() {
	l.cut()
	l.settled()
	l.nothingToChange()
}

func (l *lab) reboot() {
	before := l.boot()
	l.root("systemctl reboot")
	l.booted(before)
}

// kills kills the first process of each container in turn: as a crash, not as an operator's stop,
// after which Docker would leave it stopped.
func (l *lab) kills() {
	for _, name := range slices.Sorted(maps.Keys(l.declared())) {
		before := l.healthy()
		l.root(fmt.Sprintf("kill -9 $(docker inspect --format '{{.State.Pid}}' %s)", name))
		l.eventually(boots, func() []string {
			_, states, err := l.running(l.declared())
			if err != nil || states[name].StartedAt == before[name].StartedAt {
				return []string{fmt.Sprintf("%s was not started again (%v)", name, err)}
			}
			return nil
		})
	}
}

// daemons restarts what the containers live on. The packet filter is what it was, and Docker's own
// rules with it.
func (l *lab) daemons() {
	const filters = `nft --stateless list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*/counter/; /elements = {/,/}/d'`
	before := l.root(filters)
	for _, unit := range []string{"tailscaled", "homelab-firewall", "nftables", "docker", "fail2ban", "homelab-containers"} {
		l.root("systemctl list-unit-files --no-legend " + unit + ".service | grep -q . || exit 0\nsystemctl restart " + unit + ".service")
		l.settled()
		assert.Equal(l.t, before, l.root(filters), "after %s", unit)
	}
}

// memoryRunsOut lets a program in a service take all the memory that there is: the service pays, and
// nobody else.
func (l *lab) memoryRunsOut() {
	before := l.healthy()
	const victim = "jellyseerr"
	_, err := l.shell("docker exec " + victim + ` sh -c 'a=x; while :; do a=$a$a; done'`)
	require.Error(l.t, err)
	now := l.healthy()
	for _, name := range restarted(before, now) {
		assert.Equal(l.t, victim, name)
	}
}

// diskRunsOut lets a service fill the disk of the machine. The chain goes on, and all is well once
// there is room again.
func (l *lab) diskRunsOut() {
	before := l.healthy()
	free := func() int {
		out, err := l.shell("df --output=avail --block-size=1M / | tail -n 1")
		require.NoError(l.t, err)
		n, err := strconv.Atoi(strings.TrimSpace(out))
		require.NoError(l.t, err)
		return n
	}
	had := free()
	const fill = "/opt/homelab/jellyfin/config/filled"
	l.root(fmt.Sprintf("fallocate --length %dM %s", had-1, fill))
	assert.Less(l.t, free(), 100)
	_, err := l.shell("sleep 60")
	require.NoError(l.t, err)
	problems, _ := l.unwell(l.declared())
	assert.Empty(l.t, problems, "a minute with a full disk")
	l.root("rm " + fill)
	now := l.healthy()
	assert.Empty(l.t, restarted(before, now))
}

// mediaAway boots without the media box: what looks into the library does not start and finds it
// empty, the rest runs, and all runs once the box is back.
func (l *lab) mediaAway() {
	declared := l.declared()
	var watchers []string
	for name, c := range declared {
		if slices.ContainsFunc(c.Mounts, func(m string) bool { return strings.Contains(m, "/mnt/storagebox") }) {
			watchers = append(watchers, name)
		}
	}
	slices.Sort(watchers)
	require.NotEmpty(l.t, watchers)
	back := l.away(rehearsal.BoxParty(l.box("media")))
	l.cut()
	l.eventually(boots, func() []string {
		problems, _ := l.unwell(declared)
		return slices.DeleteFunc(problems, func(p string) bool {
			name, _, _ := strings.Cut(p, " ")
			return slices.Contains(watchers, name)
		})
	})
	_, states, err := l.running(declared)
	require.NoError(l.t, err)
	for _, name := range watchers {
		assert.NotEqual(l.t, "running", states[name].Status, "%s looks into a library that is away", name)
	}
	back()
}

// tailnetAway boots without Tailscale's servers: all runs before they are back.
func (l *lab) tailnetAway() {
	before := l.boot()
	back := l.away(rehearsal.TailnetServers)
	l.machine("cut")
	l.eventually(boots, func() []string {
		if err := l.handshake(); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	back()
	l.booted(before)
	problems, _ := l.unwell(l.declared())
	assert.Empty(l.t, problems, "all runs as soon as somebody can look again")
}

// cloudflare is an address out of those that Cloudflare publishes.
var cloudflare = netip.MustParseAddr("173.245.48.10")

// handshake asks the machine's public port as Cloudflare does, without its certificate: whoever
// refuses that is the proxy.
func (l *lab) handshake() error {
	l.t.Helper()
	all, err := l.client.Machines(l.t.Context())
	require.NoError(l.t, err)
	require.Len(l.t, all, 1)
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := l.client.Dial(ctx, rehearsal.Target{
		Origin: rehearsal.FromInternet, From: cloudflare, Network: "tcp", Address: netip.AddrPortFrom(all[0].IPv4, 443).String(),
	})
	if err != nil {
		return fmt.Errorf("nobody answers Cloudflare: %w", err)
	}
	defer func() { _ = conn.Close() }() // whatever it was
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	// The origin's certificate is not what this is about.
	client := tls.Client(conn, &tls.Config{ServerName: "requests.example.com", InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	err = client.HandshakeContext(ctx)
	if err == nil {
		_, err = client.Read(make([]byte, 1)) // with TLS 1.3 that is where a missing certificate shows
	}
	var alert tls.AlertError
	if !errors.As(err, &alert) {
		return fmt.Errorf("the proxy does not ask Cloudflare for its certificate: %w", err)
	}
	return nil
}

// filterBroken boots with a packet filter that cannot be loaded: no container runs, and the proxy is
// not reached. Once the file is mended all runs.
func (l *lab) filterBroken() {
	const file, kept = "/etc/homelab/firewall.nft", "/root/firewall.nft.kept"
	before := l.boot()
	l.root("cp --archive " + file + " " + kept + "\necho 'this is no rule' >>" + file + "\nsystemctl reboot")
	l.booted(before)
	l.eventually(boots, func() []string {
		out, err := l.shell("systemctl is-failed homelab-firewall.service && systemctl is-active docker.service")
		if err != nil {
			return []string{fmt.Sprintf("%s (%v)", out, err)}
		}
		return nil
	})
	assert.Contains(l.t, l.root("nft list chain inet homelab input"), "policy drop", "the base stands alone")
	for range 12 {
		out, err := l.shell("docker ps --format '{{.Names}}'")
		require.NoError(l.t, err)
		assert.Empty(l.t, strings.TrimSpace(out), "no container runs without the packet filter")
		require.ErrorContains(l.t, l.handshake(), "nobody answers")
		time.Sleep(5 * time.Second)
	}
	l.root("mv " + kept + " " + file + "\nsystemctl start homelab-firewall.service")
}
