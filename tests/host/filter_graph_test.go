//go:build host

package host

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/monitoring"
	"homelab/components/service"
	"homelab/components/stack"
	"homelab/components/workload"
)

// pair is one container's connection to a port of another.
type pair struct {
	from, to string
	port     int
}

// The containers of the deployment that are no services.
const (
	theTunnel = "gluetun"
	theWiring = "wire"
)

// theShipper is the log shipper of the stack's own settings.
const theShipper = "alloy"

// graph is what may talk to what.
type graph struct {
	edges    map[pair]bool
	internet map[string]bool
	vpn      netip.AddrPort // the VPN's server, which the tunnel reaches by UDP
}

// whatTheGraphSays is the graph that follows from the declarations, and not from the filter's
// files: the gateway's and the test's own services here, the others from their definitions.
func whatTheGraphSays(t *testing.T) graph {
	t.Helper()
	g := graph{
		edges: map[pair]bool{
			{"caddy", "crowdsec", 8080}: true, {"caddy", "crowdsec", 7422}: true, {"caddy", "authelia", 9091}: true,
			{"authelia", "authelia-store", 6379}: true, {"authelia-store", "authelia", 9091}: true,
			{"caddy", "custom-homepage", 3000}: true, {"caddy", "custom-quiet", 8080}: true,
		},
		internet: map[string]bool{"caddy": true, "crowdsec": true, "custom-homepage": true},
		vpn:      theVPN(t),
	}
	offered := offeredServices()
	allow := func(from, to string) {
		used, runs := offered[to]
		if !runs {
			return
		}
		if used.BehindTunnel {
			to = theTunnel // whose addresses it has
		}
		g.edges[pair{from, to, used.Port}] = true
	}
	for _, used := range ownUses {
		allow("custom-homepage", used.(string))
	}
	for name, d := range offered {
		if !d.Internal {
			allow("caddy", name)
		}
		if d.Wired {
			allow(theWiring, name)
		}
		for _, use := range append(d.Uses, d.Later...) {
			allow(name, use.Name())
		}
		if d.WayOut == workload.Internet {
			g.internet[name] = true
		}
	}
	g.observe(offered)
	return g
}

// offeredServices are the definitions of what runs with the stack's own settings, by name.
func offeredServices() map[string]service.Definition {
	out := map[string]service.Definition{}
	for _, d := range stack.Catalog() {
		if !d.Default.Off && (!d.Monitored || monitoring.Runs(d.Name, theShipper)) {
			out[d.Name] = d
		}
	}
	return out
}

// observe adds what the programs of the monitoring look at: everything that has metrics, the
// proxy's certificates, and the portal.
func (g graph) observe(offered map[string]service.Definition) {
	prometheus, proxy := monitoring.Prometheus().Name, "caddy"
	scraped := map[string]int{proxy: 9180, "crowdsec": 6060, "authelia": 9959, theWiring: 9797}
	for name, d := range offered {
		if port := d.Metrics.Port(); port != 0 && name != prometheus {
			scraped[name] = port
		}
	}
	for name, port := range scraped {
		g.edges[pair{prometheus, name, port}] = true
	}
	for _, port := range []int{8443, 9443} {
		g.edges[pair{monitoring.Blackbox().Name, proxy, port}] = true
	}
	g.edges[pair{monitoring.Grafana().Name, proxy, 443}] = true
}

// theVPN is the VPN's server in the stack's own settings.
func theVPN(t *testing.T) netip.AddrPort {
	t.Helper()
	text, err := os.ReadFile("../../Pulumi.prod.yaml")
	require.NoError(t, err)
	var stack struct {
		Config struct {
			VPN struct {
				WireGuard struct {
					Address netip.Addr
					Port    uint16
				}
			} `yaml:"homelab:vpn"`
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &stack))
	server := stack.Config.VPN.WireGuard
	require.True(t, server.Address.IsValid() && server.Port > 0, "the stack has no VPN, so its tests prove nothing of a tunnel")
	return netip.AddrPortFrom(server.Address, server.Port)
}

const anyDigest = "sha256:753eeb0cc22ab7baad39ed47cbd1aae14e193dd1b264e965f193a9ea1d1e1bdd"

// ownUses are services that one of the operator's own uses: one of them is behind the tunnel.
var ownUses = []any{"jellyfin", "jellyseerr", "qbittorrent"}

// ownServices are two of the operator's own: one with all ways, one with none.
var ownServices = map[string]any{"homelab:customServices": map[string]any{
	"homepage": map[string]any{
		"image": "ghcr.io/gethomepage/homepage:v2.2.0@" + anyDigest, "port": 3000, "user": "2002:2002", "memoryMiB": 64,
		"health": map[string]any{"path": "/"}, "uses": ownUses, "reaches": "internet",
	},
	"quiet": map[string]any{
		"image": "ghcr.io/gethomepage/homepage:v2.2.0@" + anyDigest, "port": 8080, "user": "2002:2002", "memoryMiB": 64,
		"health": map[string]any{"path": "/"},
	},
}}
