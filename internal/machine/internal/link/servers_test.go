package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/beevik/ntp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"homelab/internal/machine/internal/authority"
)

// client is an HTTP client on the machine, which asks Hetzner's name servers.
func (g *guest) client(t *testing.T, ca *authority.Authority) *http.Client {
	transport := &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			a, err := netip.ParseAddr(host)
			if err != nil {
				m := ask(t, g, NameServers[2], host, dns.TypeA)
				if len(m.Answer) == 0 {
					return nil, fmt.Errorf("%s has no address", host)
				}
				a = netip.MustParseAddr(m.Answer[0].(*dns.A).A.String())
			}
			at, err := netip.ParseAddrPort(net.JoinHostPort(a.String(), port))
			if err != nil {
				return nil, err
			}
			return g.dial(at)
		},
	}
	if ca != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.Pool()}
	}
	return &http.Client{Transport: transport, Timeout: patience}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	r, err := c.Get(url)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Body.Close()) }()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

func TestMetadataIsForTheMachineThatAsks(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	const root = "http://169.254.169.254/hetzner/v1"
	for _, m := range []Machine{first, second} {
		g := boot(t, n, m)
		c := g.client(t, nil)
		for path, want := range map[string]string{
			"/userdata": string(m.Metadata.UserData), "/metadata/hostname": m.Metadata.Hostname, "/metadata/instance-id": m.ID,
			"/metadata/public-ipv4": m.IPv4.String(), "/metadata/availability-zone": m.Metadata.AvailabilityZone, "/metadata/region": m.Metadata.Region,
		} {
			code, body := get(t, c, root+path)
			assert.Equal(t, http.StatusOK, code, path)
			assert.Equal(t, want, body, path)
		}
		code, _ := get(t, c, root+"/metadata/user-data")
		assert.Equal(t, http.StatusNotFound, code)
		_, body := get(t, c, root+"/metadata")
		var all struct {
			Instance int    `yaml:"instance-id"`
			Hostname string `yaml:"hostname"`
			Network  struct {
				Version int `yaml:"version"`
				Config  []struct {
					MAC     string           `yaml:"mac_address"`
					Subnets []map[string]any `yaml:"subnets"`
				} `yaml:"config"`
			} `yaml:"network-config"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(body), &all))
		assert.Equal(t, m.ID, fmt.Sprint(all.Instance))
		assert.Equal(t, m.MAC.String(), all.Network.Config[0].MAC)
		assert.Equal(t, "dhcp", all.Network.Config[0].Subnets[0]["type"])
		assert.Equal(t, own6(m).String()+"/64", all.Network.Config[0].Subnets[1]["address"])
		assert.Equal(t, "fe80::1", all.Network.Config[0].Subnets[1]["gateway"])
	}
}

func TestTheTimeIsThisComputers(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	g := boot(t, n, first)
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, host := range []string{"debian.pool.ntp.org", "0.debian.pool.ntp.org", "3.debian.pool.ntp.org", "ntp1.hetzner.de"} {
			m := ask(t, g, NameServers[0], host, kind)
			require.Len(t, m.Answer, 1, host)
			address := strings.Fields(m.Answer[0].String())[4]
			r, err := ntp.QueryWithOptions(address, ntp.QueryOptions{Dialer: func(_, remote string) (net.Conn, error) {
				return g.dialUDP(t, netip.MustParseAddrPort(remote)), nil
			}})
			require.NoError(t, err)
			require.NoError(t, r.Validate(), "the client would not set its clock by it")
			assert.Less(t, r.ClockOffset.Abs(), time.Second)
		}
	}
}

func TestDHCPGivesTheAddressAsHetznerDoes(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	g := boot(t, n, first)
	replies := make(chan *dhcpv4.DHCPv4, 4)
	g.mu.Lock()
	g.watch = func(b []byte) {
		p, err := parse(b[header.EthernetMinimumSize:])
		if err != nil || p.proto != protoUDP || p.dport != dhcpv4.ClientPort {
			return
		}
		if m, err := dhcpv4.FromBytes(p.data[header.UDPMinimumSize:]); err == nil {
			replies <- m
		}
	}
	g.mu.Unlock()
	send := func(m *dhcpv4.DHCPv4, wait time.Duration) *dhcpv4.DHCPv4 {
		g.sendIP(tcpip.LinkAddress(first.MAC), frameUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpv4.ClientPort), netip.AddrPortFrom(broadcast, dhcpv4.ServerPort), m.ToBytes()).ip())
		select {
		case r := <-replies:
			return r
		case <-time.After(wait):
			return nil
		}
	}
	discover, err := dhcpv4.NewDiscovery(first.MAC)
	require.NoError(t, err)
	offer := send(discover, patience)
	require.NotNil(t, offer)
	assert.Equal(t, dhcpv4.MessageTypeOffer, offer.MessageType())
	request, err := dhcpv4.NewRequestFromOffer(offer)
	require.NoError(t, err)
	ack := send(request, patience)
	require.NotNil(t, ack)
	assert.Equal(t, dhcpv4.MessageTypeAck, ack.MessageType())
	assert.Equal(t, first.IPv4.String(), ack.YourIPAddr.String())
	assert.Equal(t, "ffffffff", ack.SubnetMask().String())
	assert.Equal(t, "media", ack.HostName())
	assert.Equal(t, []string{"172.31.1.1/32 via 0.0.0.0", "0.0.0.0/0 via 172.31.1.1"}, routes(ack))
	assert.Equal(t, "185.12.64.1 185.12.64.2", strings.Trim(fmt.Sprint(ack.DNS()), "[]"))

	request.UpdateOption(dhcpv4.OptRequestedIPAddress(net.IP(second.IPv4.AsSlice())))
	refusal := send(request, patience)
	require.NotNil(t, refusal)
	assert.Equal(t, dhcpv4.MessageTypeNak, refusal.MessageType(), "another's address")
	request.UpdateOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1)))
	assert.Nil(t, send(request, silence), "the machine chose another server")
	stranger, err := dhcpv4.NewDiscovery(second.MAC)
	require.NoError(t, err)
	assert.Nil(t, send(stranger, silence), "another machine's hardware address")
}

func routes(m *dhcpv4.DHCPv4) []string {
	var out []string
	for _, r := range m.ClasslessStaticRoute() {
		out = append(out, fmt.Sprintf("%s via %s", r.Dest, r.Router))
	}
	return out
}

func TestTheGatewaysAnswer(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	g := boot(t, n, first)
	require.NoError(t, g.ping(GatewayIPv4))
	for _, a := range append([]netip.Addr{metadataAddress}, NameServers...) {
		require.NoError(t, g.ping(a))
	}
	replies := make(chan packet, 4)
	g.mu.Lock()
	g.watch = func(b []byte) {
		if p, err := parse(append([]byte(nil), b[header.EthernetMinimumSize:]...)); err == nil && p.src == GatewayIPv6 {
			replies <- p
		}
	}
	g.mu.Unlock()
	self := netip.MustParseAddr("fe80::9400:ff:fe01:203")
	ping := make([]byte, header.ICMPv6MinimumSize+4)
	header.ICMPv6(ping).SetType(header.ICMPv6EchoRequest)
	g.sendIP(tcpip.LinkAddress(first.MAC), frameICMP(self, GatewayIPv6, 64, ping).ip())
	reply := <-replies
	assert.Equal(t, header.ICMPv6EchoReply, header.ICMPv6(reply.data).Type())
	assert.Equal(t, checksumICMPv6(reply.data, reply.src, reply.dst), header.ICMPv6(reply.data).Checksum())

	// Who else wants the gateway's address learns that it is taken; a question that crossed a router
	// is none.
	question := make([]byte, header.ICMPv6NeighborSolicitMinimumSize)
	header.ICMPv6(question).SetType(header.ICMPv6NeighborSolicit)
	header.NDPNeighborSolicit(header.ICMPv6(question).MessageBody()).SetTargetAddress(tcpip.AddrFrom16(GatewayIPv6.As16()))
	group := netip.MustParseAddr("ff02::1:ff00:1")
	g.sendIP(tcpip.LinkAddress(first.MAC), frameICMP(self, group, 64, append([]byte(nil), question...)).ip())
	g.sendIP(tcpip.LinkAddress(first.MAC), frameICMP(netip.IPv6Unspecified(), group, ndpHops, question).ip())
	advert := <-replies
	assert.Equal(t, netip.IPv6LinkLocalAllNodes(), advert.dst)
	assert.False(t, header.NDPNeighborAdvert(header.ICMPv6(advert.data).MessageBody()).SolicitedFlag())
	assert.Empty(t, replies)
}

func TestSitesHaveCertificatesOfTheRehearsal(t *testing.T) {
	ca, err := authority.Open(t.TempDir())
	require.NoError(t, err)
	n := network(t, Options{})
	require.NoError(t, n.SetFirewall(first.ID, nil))
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Proto, " ", r.Host) })
	secure, err := n.Serve(Site{Hosts: []string{"pkgs.example.com", "www.example.com"}, Addresses: []netip.Addr{server, server6}, Authority: ca, Handler: answer})
	require.NoError(t, err)
	_, err = n.Serve(Site{Hosts: []string{"deb.example.com"}, Addresses: []netip.Addr{server}, Plain: true, Handler: answer})
	require.NoError(t, err)
	_, err = n.Serve(Site{Hosts: []string{"again.example.com"}, Addresses: []netip.Addr{server}, Authority: ca, Handler: answer})
	require.ErrorContains(t, err, "in use")
	_, err = n.Serve(Site{Hosts: []string{"none.example.com"}, Addresses: []netip.Addr{server}, Handler: answer})
	require.ErrorContains(t, err, "an authority or to be plain")

	g := boot(t, n, first)
	c := g.client(t, ca)
	for url, want := range map[string]string{
		"https://pkgs.example.com/": "HTTP/2.0 pkgs.example.com", "https://www.example.com/": "HTTP/2.0 www.example.com",
		"http://deb.example.com/": "HTTP/1.1 deb.example.com",
	} {
		code, body := get(t, c, url)
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, want, body)
	}
	_, err = c.Get("https://203.0.113.80/")
	require.ErrorContains(t, err, "certificate")
	_, err = g.client(t, nil).Get("https://pkgs.example.com/")
	require.ErrorContains(t, err, "unknown authority", "who does not trust the rehearsal is not fooled")
	assert.Equal(t, dns.RcodeNameError, ask(t, g, NameServers[0], "again.example.com", dns.TypeA).Rcode)

	require.NoError(t, secure.Close())
	require.NoError(t, secure.Close())
	assert.Equal(t, dns.RcodeNameError, ask(t, g, NameServers[0], "pkgs.example.com", dns.TypeA).Rcode)
	_, err = g.dial(netip.AddrPortFrom(server, 443))
	require.ErrorContains(t, err, "refused", "the host is there still")
}

func TestRecordsOfAllKinds(t *testing.T) {
	n := network(t, Options{})
	require.NoError(t, n.Records(`example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 5`))
	require.NoError(t, n.Records(`_acme-challenge.example.com. 60 IN TXT "one"`, `_acme-challenge.Example.com. 60 IN TXT "two"`))
	require.NoError(t, n.Records(`alias.example.com. IN CNAME www.example.com.`))
	require.NoError(t, n.Records(`loop.example.com. IN CNAME loop.example.com.`))
	n.Name("www.example.com", server)
	for problem, lines := range map[string][]string{
		"no DNS records":               nil,
		"is empty":                     {""},
		"DNS record \"www":             {"www.example.com. IN A 300.1.1.1"},
		"has not the name and type of": {"a.example.com. IN A 192.0.2.1", "b.example.com. IN A 192.0.2.1"},
	} {
		require.ErrorContains(t, n.Records(lines...), problem)
	}
	require.ErrorContains(t, n.RemoveRecords("www.example.com", "NONSENSE"), "NONSENSE")

	g := boot(t, n, first)
	assert.Len(t, ask(t, g, NameServers[0], "_acme-challenge.example.com", dns.TypeTXT).Answer, 2)
	assert.Len(t, ask(t, g, NameServers[0], "example.com", dns.TypeSOA).Answer, 1)
	m := ask(t, g, NameServers[0], "alias.example.com", dns.TypeA)
	require.Len(t, m.Answer, 2)
	assert.Equal(t, server.String(), m.Answer[1].(*dns.A).A.String())
	assert.Equal(t, dns.RcodeServerFailure, ask(t, g, NameServers[0], "loop.example.com", dns.TypeA).Rcode)
	require.NoError(t, n.RemoveRecords("_acme-challenge.example.com", "TXT"))
	assert.Equal(t, dns.RcodeNameError, ask(t, g, NameServers[0], "_acme-challenge.example.com", dns.TypeTXT).Rcode)

	// What does not fit is asked for again over TCP.
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf(`many.example.com. IN TXT "%s%d"`, strings.Repeat("x", 60), i))
	}
	require.NoError(t, n.Records(many...))
	assert.True(t, ask(t, g, NameServers[0], "many.example.com", dns.TypeTXT).Truncated)
	stream, err := g.dial(netip.AddrPortFrom(NameServers[2], 53))
	require.NoError(t, err)
	c := &dns.Conn{Conn: stream}
	require.NoError(t, c.WriteMsg(new(dns.Msg).SetQuestion("many.example.com.", dns.TypeTXT)))
	whole, err := c.ReadMsg()
	require.NoError(t, err)
	assert.False(t, whole.Truncated)
	assert.Len(t, whole.Answer, 40)
}
