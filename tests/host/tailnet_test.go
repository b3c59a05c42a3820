//go:build host

package host

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Tailscale writes where it uses nftables itself, and where it calls iptables, for a machine
// that forwards; with %s the rule that --snat-subnet-routes=false leaves out.
const (
	tailscaleNFT = `nft -f - <<'END'
table ip filter {
	chain ts-forward {
		iifname "tailscale0" meta mark set meta mark & 0xff00ffff | 0x00040000
		meta mark & 0x00ff0000 == 0x00040000 accept
	}
	chain FORWARD { type filter hook forward priority filter; policy accept; jump ts-forward; }
}
table ip nat {
	chain ts-postrouting { %s; }
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; jump ts-postrouting; }
}
END`
	tailscaleIptables = `iptables -N ts-forward
iptables -A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
iptables -A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
iptables -I FORWARD -j ts-forward
iptables -t nat -N ts-postrouting
iptables -t nat -I POSTROUTING -j ts-postrouting
%s`
)

// A visitor of the tailnet arrives at a container with an address of the tailnet, and the machine's
// own check says so exactly when that is true: a real packet is the judge.
func TestTheTailnetsAddressesArriveAtContainers(t *testing.T) {
	b := newBoot(t)
	assert.Regexp(t, `tailscale up [^\n]* --snat-subnet-routes=false`, b.files["/usr/local/sbin/homelab-bootstrap"])
	check := b.save(t, "homelab-check", "/usr/local/sbin/homelab-check")
	for name, c := range map[string]struct {
		rules, masquerade string
		kept              bool
	}{
		"nftables as it is by default": {tailscaleNFT, "meta mark & 0x00ff0000 == 0x00040000 masquerade", false},
		"nftables as it is deployed":   {tailscaleNFT, "counter", true},
		"iptables as they are by default": {
			tailscaleIptables, "iptables -t nat -A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE", false,
		},
		"iptables as they are deployed": {tailscaleIptables, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTailnet(t)
			n.in("sh", "-ec", fmt.Sprintf(c.rules, c.masquerade))
			source := n.visit()
			assert.Equal(t, c.kept, source == "100.64.0.1", "the container sees %s", source)
			said, _ := exec.Command("ip", "netns", "exec", n.machine, "bash", check).CombinedOutput()
			assert.Equal(t, c.kept, !strings.Contains(string(said), "Tailscale's rules masquerade"), "%s", said)
		})
	}
}

// tailnet is a machine between a visitor of the tailnet and a container with a published port.
type tailnet struct {
	t                           *testing.T
	visitor, machine, container string
}

func newTailnet(t *testing.T) *tailnet {
	t.Helper()
	n := &tailnet{t: t}
	for role, name := range map[string]*string{"tail": &n.visitor, "host": &n.machine, "cont": &n.container} {
		*name = fmt.Sprintf("hl-%s-%d", role, os.Getpid())
		run(t, "ip", "netns", "add", *name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", *name).Run() })
	}
	run(t, "ip", "link", "add", "tailscale0", "netns", n.machine, "type", "veth", "peer", "name", "tail0", "netns", n.visitor)
	run(t, "ip", "link", "add", "br0", "netns", n.machine, "type", "veth", "peer", "name", "eth0", "netns", n.container)
	for _, a := range [][]string{
		{n.visitor, "tail0", "100.64.0.1/24"}, {n.machine, "tailscale0", "100.64.0.2/24"},
		{n.machine, "br0", "172.30.1.1/24"}, {n.container, "eth0", "172.30.1.2/24"},
	} {
		run(t, "ip", "-n", a[0], "address", "add", a[2], "dev", a[1])
		run(t, "ip", "-n", a[0], "link", "set", a[1], "up")
		run(t, "ip", "-n", a[0], "link", "set", "lo", "up")
	}
	run(t, "ip", "-n", n.container, "route", "add", "default", "via", "172.30.1.1")
	n.in("sysctl", "-qw", "net.ipv4.ip_forward=1")
	// As Docker publishes a port.
	n.in("nft", "add", "table", "ip", "docker")
	n.in("nft", "add", "chain", "ip", "docker", "nat", "{ type nat hook prerouting priority dstnat ; }")
	n.in("nft", "add", "rule", "ip", "docker", "nat", "tcp", "dport", "443", "dnat", "to", "172.30.1.2:8443")
	return n
}

// in runs a program on the machine.
func (n *tailnet) in(words ...string) {
	n.t.Helper()
	run(n.t, "ip", append([]string{"netns", "exec", n.machine}, words...)...)
}

// visit connects from the tailnet to the published port, and returns the address that the container
// saw.
func (n *tailnet) visit() string {
	n.t.Helper()
	server := exec.Command("ip", "netns", "exec", n.container, "python3", "-c",
		"import socket; s=socket.create_server(('',8443)); print(s.accept()[1][0])")
	var seen strings.Builder
	server.Stdout = &seen
	require.NoError(n.t, server.Start())
	require.Eventually(n.t, func() bool {
		return exec.Command("ip", "netns", "exec", n.visitor, "python3", "-c",
			"import socket; socket.create_connection(('100.64.0.2',443),2).close()").Run() == nil
	}, 20*time.Second, 100*time.Millisecond, "the visitor does not reach the container")
	require.NoError(n.t, server.Wait())
	return strings.TrimSpace(seen.String())
}
