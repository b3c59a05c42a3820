//go:build host

package host

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	components "homelab/components/host"
	"homelab/tests/internal/netns"
)

// The VPN's two servers, and the tunnel's container on a network of its own.
const (
	vpnServer      = "193.138.218.74"
	otherServer    = "193.138.218.75"
	vpnPort        = 51820
	tunnelAddress  = "172.30.99.5"
	tunnelGateway  = "172.30.99.1"
	tunnelSubnet   = "172.30.99.0/24"
	gatewayMAC     = "02:42:ac:1e:63:01"
	tunnelMAC      = "02:42:ac:1e:63:05"
	wireguardMark  = 51820
	insideTheVPN   = "10.64.0.2"
	tunnelsElement = "container-tunnel-under-test.nft"
)

// killswitch is the machine of the filter's tests with a tunnel's container on it, and a VPN's
// server on its internet.
type killswitch struct {
	*filtered
	at      tunnelPlace
	vpn     *netns.Namespace
	tunnel  *netns.Namespace // the container's
	outer   *capture         // what leaves the machine
	inner   *capture         // what leaves the container
	client  *ecdh.PrivateKey
	server  *ecdh.PrivateKey
	replies chan string // where the internet's name server is asked from
	stop    func()      // the torrent client
	down    func()      // the tunnel
	links   int
}

// tunnelPlace is where the tunnel's container is.
type tunnelPlace struct{ address, gateway, subnet string }

func newKillSwitch(t *testing.T) *killswitch {
	t.Helper()
	f, _ := newFilter(t)
	k := withTunnel(f, tunnelPlace{tunnelAddress, tunnelGateway, tunnelSubnet})
	k.wireInternet()
	k.wireVPN()
	k.wireMachine()
	k.outer = captureAt(t, f.outside, "net0", f.machine)
	k.load()
	return k
}

// withTunnel is the machine with the keys of a tunnel.
func withTunnel(f *filtered, at tunnelPlace) *killswitch {
	f.t.Helper()
	k := &killswitch{filtered: f, at: at, replies: make(chan string, 1<<16), stop: func() {}, down: func() {}}
	for _, key := range []**ecdh.PrivateKey{&k.client, &k.server} {
		made, err := ecdh.X25519().GenerateKey(rand.Reader)
		require.NoError(f.t, err)
		*key = made
	}
	return k
}

// wireMachine makes the container's network as Docker would, with IPv6 and the translation of
// addresses, so that nothing but the filter is in the way of a packet.
func (k *killswitch) wireMachine() {
	require.NoError(k.t, k.machine.Switch("br-vpn", tunnelGateway+"/24"))
	k.ip(k.machine, "link set br-vpn address "+gatewayMAC, "address add fd00:99::1/64 dev br-vpn nodad",
		"address add 2a01:4f8::2/64 dev pub0 nodad", "route add default via 2a01:4f8::1",
		"neigh add fd00:99::5 lladdr "+tunnelMAC+" dev br-vpn nud permanent")
	k.sysctl(k.machine, "net/ipv6/conf/all/forwarding")
	k.nft(k.machine, `table inet docker { chain postrouting {
		type nat hook postrouting priority srcnat
		oifname "pub0" ip saddr 172.30.99.0/24 masquerade
		oifname "pub0" ip6 saddr fd00:99::/64 masquerade
	}
	}`)
	k.showBridgedPackets("1")
}

func (k *killswitch) wireInternet() {
	require.NoError(k.t, k.outside.Forward())
	k.ip(k.outside, "address add 2a01:4f8::1/64 dev net0 nodad", "address add 1.1.1.1/32 dev lo", "address add 45.83.220.9/32 dev lo")
	for _, address := range swarm6 {
		k.ip(k.outside, "address add "+address+"/128 dev lo nodad")
		k.serve(k.outside, address, 80)
	}
	for _, address := range []string{"1.1.1.1", "45.83.220.9"} {
		k.serve(k.outside, address, 443)
	}
	var server net.PacketConn
	require.NoError(k.t, k.outside.Do(func() (err error) {
		server, err = net.ListenPacket("udp", theInternet+":53")
		return err
	}))
	k.t.Cleanup(func() { _ = server.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			select {
			case k.replies <- netip.MustParseAddrPort(from.String()).Addr().String():
			default:
			}
			_, _ = server.WriteTo(buffer[:n], from)
		}
	}()
}

// wireVPN makes the VPN's server, which also answers where no tunnel goes.
func (k *killswitch) wireVPN() {
	var err error
	k.vpn, err = netns.New("vpn")
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = k.vpn.Close() })
	require.NoError(k.t, netns.Connect(k.outside, "vpn0", k.vpn, "eth0"))
	k.ip(k.outside, "address add 193.138.218.1/24 dev vpn0", "link set vpn0 up")
	k.ip(k.vpn, "address add "+vpnServer+"/24 dev eth0", "address add "+otherServer+"/24 dev eth0", "link set eth0 up", "route add default via 193.138.218.1")
	require.NoError(k.t, k.vpn.Forward())
	k.nft(k.vpn, `table ip nat { chain postrouting {
		type nat hook postrouting priority srcnat
		oifname "eth0" ip saddr 10.64.0.0/24 masquerade
	}
	}`)
	for _, port := range []int{80, 443} {
		k.serve(k.vpn, vpnServer, port)
	}
}

func (k *killswitch) sysctl(n *netns.Namespace, name string) {
	k.t.Helper()
	require.NoError(k.t, n.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte("1"), 0o600) }))
}

func (k *killswitch) nft(n *netns.Namespace, rules string) {
	k.t.Helper()
	require.NoError(k.t, n.Run(strings.NewReader(rules), "nft", "--file", "-"))
}

// newContainer makes the tunnel's container anew, at the same address, without a rule inside, and
// has a torrent client send from its first moment. What was there before is gone.
func (k *killswitch) newContainer() {
	t := k.t
	k.removeContainer()
	var err error
	k.tunnel, err = netns.New("tunnel")
	require.NoError(t, err)
	k.links++
	link := fmt.Sprintf("tunnel%d", k.links)
	require.NoError(t, netns.Connect(k.machine, link, k.tunnel, "eth0"))
	k.inner = captureAt(t, k.machine, link, k.tunnel)
	k.stop = startClient(t, k.tunnel)
	k.ip(k.machine, "link set "+link+" master br-vpn", "link set "+link+" up")
	// The machine takes nothing from a container, so no question for an address over IPv6 either:
	// both know the other's by other means.
	k.ip(k.tunnel, "link set eth0 address "+tunnelMAC, "address add "+tunnelAddress+"/24 dev eth0", "address add fd00:99::5/64 dev eth0 nodad", "link set eth0 up",
		"neigh add fd00:99::1 lladdr "+gatewayMAC+" dev eth0 nud permanent", "route add default via "+tunnelGateway, "route add default via fd00:99::1 dev eth0")
	t.Cleanup(k.removeContainer)
}

// removeContainer takes the container's link away while its client and its tunnel still send.
func (k *killswitch) removeContainer() {
	if k.tunnel != nil {
		_ = k.machine.IP(fmt.Sprintf("link delete tunnel%d", k.links))
		k.stop()
		k.down()
		_ = k.tunnel.Close()
		k.tunnel = nil
	}
}

// allow gives the container what a deployment would, and loads the filter.
func (k *killswitch) allow(r components.Reach) {
	k.t.Helper()
	r.Container = "tunnel-under-test"
	content, err := r.Render()
	require.NoError(k.t, err)
	require.NoError(k.t, os.WriteFile(filepath.Join(k.dir, "files", tunnelsElement), []byte(content), 0o600))
	k.load()
}

// tunnelTo is the reach of a tunnel by WireGuard.
func tunnelTo(server string) components.Reach {
	return components.Reach{Tunnel: []components.TunnelWay{{
		From: netip.MustParseAddr(tunnelAddress), To: netip.MustParseAddr(server), Protocol: components.UDP, Port: vpnPort,
	}}}
}

// removeReach is what a deployment does that removes the container.
func (k *killswitch) removeReach() {
	k.t.Helper()
	require.NoError(k.t, os.Remove(filepath.Join(k.dir, "files", tunnelsElement)))
	k.load()
}

// loadGluetunsRules are the rules that Gluetun 3.41 makes before it starts the tunnel: what is
// known of them is in its internal/firewall, and nothing here relies on them.
func (k *killswitch) loadGluetunsRules(server string) {
	k.t.Helper()
	var commands []string
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, rule := range []string{
			"-P INPUT DROP", "-P OUTPUT DROP", "-P FORWARD DROP", "-A INPUT -i lo -j ACCEPT", "-A OUTPUT -o lo -j ACCEPT",
			"-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
			"-A OUTPUT -o tun0 -j ACCEPT",
		} {
			commands = append(commands, program+" "+rule)
		}
	}
	commands = append(commands,
		fmt.Sprintf("iptables -A OUTPUT -d %s -o eth0 -p udp -m udp --dport %d -j ACCEPT", server, vpnPort),
		"iptables -A OUTPUT -o eth0 -s "+k.at.address+" -d "+k.at.subnet+" -j ACCEPT", "iptables -A INPUT -i eth0 -d "+k.at.subnet+" -j ACCEPT",
		"ip6tables -A OUTPUT -o eth0 -d ff02::1:ff00:0/104 -j ACCEPT")
	require.NoError(k.t, k.tunnel.Run(nil, "sh", "-ec", strings.Join(commands, "\n")))
	// Neighbours are reached by the main table. What comes in by the container's address is
	// answered by its interface: this is also a way past the tunnel for who binds to that address.
	k.ip(k.tunnel, "rule add to "+k.at.subnet+" table 254 priority 98", "rule add from "+k.at.address+" table 200 priority 100",
		"route add default via "+k.at.gateway+" dev eth0 table 200")
}

// openGluetunsRules is what Gluetun falls back to when it cannot make its rules.
func (k *killswitch) openGluetunsRules() {
	k.t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, rule := range []string{"-F", "-X", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT", "-P FORWARD ACCEPT"} {
			require.NoError(k.t, k.tunnel.Run(nil, program, strings.Fields(rule)...))
		}
	}
}

// wireguard starts WireGuard in user space. It returns what stops it, with its interface.
func (k *killswitch) wireguard(space *netns.Namespace, name, config string) (stop func()) {
	t := k.t
	t.Helper()
	program := exec.Command("wireguard-go", "--foreground", name)
	require.NoError(t, space.Start(program))
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = program.Process.Signal(os.Interrupt)
			_ = program.Wait()
		})
	}
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		return space.IP("link show dev "+name) == nil && space.Run(nil, "wg", "show", name) == nil
	}, 5*time.Second, 20*time.Millisecond, "WireGuard does not start")
	require.NoError(t, space.Run(strings.NewReader(config), "wg", "setconf", name, "/dev/stdin"))
	return stop
}

func wireguardKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// startServer lets the VPN answer, on both of its addresses.
func (k *killswitch) startServer() {
	k.t.Helper()
	k.wireguard(k.vpn, "wg0", fmt.Sprintf("[Interface]\nPrivateKey=%s\nListenPort=%d\n[Peer]\nPublicKey=%s\nAllowedIPs=%s/32\n",
		wireguardKey(k.server.Bytes()), vpnPort, wireguardKey(k.client.PublicKey().Bytes()), insideTheVPN))
	k.ip(k.vpn, "address add 10.64.0.1/24 dev wg0", "link set wg0 up")
}

// startTunnel makes the interface tun0 and the routes as Gluetun does: all but the tunnel's own
// packets go by it. It returns what ends it.
func (k *killswitch) startTunnel(server string) (stop func()) {
	k.t.Helper()
	ended := k.wireguard(k.tunnel, "tun0", fmt.Sprintf("[Interface]\nPrivateKey=%s\nFwMark=%d\n[Peer]\nPublicKey=%s\nEndpoint=%s:%d\nAllowedIPs=0.0.0.0/0, ::/0\nPersistentKeepalive=1\n",
		wireguardKey(k.client.Bytes()), wireguardMark, wireguardKey(k.server.PublicKey().Bytes()), server, vpnPort))
	k.ip(k.tunnel, "address add "+insideTheVPN+"/32 dev tun0", "link set tun0 up", fmt.Sprintf("route add default dev tun0 table %d", wireguardMark),
		fmt.Sprintf("-6 route add default dev tun0 table %d", wireguardMark))
	for _, family := range []string{"-4", "-6"} {
		k.ip(k.tunnel, fmt.Sprintf("%s rule add not fwmark %d table %d priority 101", family, wireguardMark, wireguardMark))
	}
	k.down = func() {
		ended()
		for _, family := range []string{"-4", "-6"} {
			_ = k.tunnel.IP(fmt.Sprintf("%s rule delete not fwmark %d table %d", family, wireguardMark, wireguardMark))
		}
		k.down = func() {}
	}
	return k.down
}

// throughTheTunnel reports whether the internet answers the container.
func (k *killswitch) throughTheTunnel() bool {
	return len(connect(k.tunnel, []string{theInternet + ":80", "1.1.1.1:443", "45.83.220.9:443"})) == 3
}

// askedFrom returns the addresses from which the internet's name server has been asked.
func (k *killswitch) askedFrom() map[string]bool {
	out := map[string]bool{}
	for {
		select {
		case from := <-k.replies:
			out[from] = true
		default:
			return out
		}
	}
}
