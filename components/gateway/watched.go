package gateway

import (
	"fmt"
	"net/netip"
	"path"
	"slices"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/caddyfile"
	"homelab/components/gateway/internal/crowdsec"
	"homelab/components/internal/access"
	"homelab/components/internal/memory"
	"homelab/components/internal/watch"
	"homelab/components/workload"
)

// ProxyName is the proxy's container.
const ProxyName = caddyName

// Where the gateway's containers have their metrics, or why they have none.
var (
	proxyMetrics     = workload.Scrape(caddyfile.DefaultListen().Metrics, "/metrics")
	detectionMetrics = workload.Scrape(crowdsec.MetricsPort, "/metrics")
	identityMetrics  = workload.Scrape(authelia.MetricsPort, "/metrics")
	storeMetrics     = workload.NoMetrics("the session store is on a network of its own, which Prometheus is not on")
)

// sharedLogs is where whoever reads the gateway's log files finds them.
const sharedLogs = "/logs"

// Watched are the gateway's containers as the monitoring sees them. The portal's hostname is
// portal; upstreams are the containers that the proxy forwards to.
func Watched(portal string, visibility access.Visibility, upstreams []string) []watch.Subject {
	target := func(m workload.Metrics) watch.Target { return watch.Target{Port: m.Port(), Path: m.Path()} }
	uses := append([]string{autheliaName, crowdsecName}, upstreams...)
	slices.Sort(uses)
	logs := caddyfile.DefaultPaths()
	return []watch.Subject{
		{
			Name: autheliaName, Title: "Authelia", Summary: "Password, second factor, sign out", Layer: watch.Gateway, Hostname: portal, Public: visibility == access.Public,
			// Its log file says what its container prints, too.
			Target: target(identityMetrics), MemoryMiB: memory.Authelia, Uses: []string{storeName},
		},
		{Name: storeName, Title: "Session store", Layer: watch.Gateway, NoMetrics: storeMetrics.Reason(), MemoryMiB: memory.AutheliaStore},
		{
			Name: caddyName, Title: "Caddy", Layer: watch.Gateway, Target: target(proxyMetrics), MemoryMiB: memory.Caddy, Uses: slices.Compact(uses),
			LogFiles: []string{
				path.Join(sharedLogs, caddyName, path.Base(logs.AccessLog)),
				path.Join(sharedLogs, caddyName, path.Base(path.Dir(logs.KnownLog)), path.Base(logs.KnownLog)),
			},
		},
		{Name: crowdsecName, Title: "CrowdSec", Layer: watch.Gateway, Target: target(detectionMetrics), MemoryMiB: memory.CrowdSec},
	}
}

// Probe is where the certificate for a hostname is measured: at the origin, past the edge.
func Probe(hostname string, visibility access.Visibility) watch.Probe {
	port := caddyfile.DefaultListen().Tailnet
	if visibility == access.Public {
		port = caddyfile.DefaultListen().Public
	}
	return watch.Probe{Hostname: hostname, Address: fmt.Sprintf("%s:%d", caddyName, port)}
}

// Shares are the log folders of what its container does not print, for a program that reads them.
func (l *Logs) Shares() []workload.Mount {
	return []workload.Mount{
		{Folder: l.caddy, Target: path.Join(sharedLogs, caddyName), ReadOnly: true},
	}
}

// Watched are the gateway's containers that have metrics.
func (p *Proxy) Watched() []*workload.Container { return p.watched }

// Listeners are the proxy's ports at which certificates are measured, through a network.
func (p *Proxy) Listeners(n *workload.Network) ([]workload.Endpoint, error) {
	var out []workload.Endpoint
	for _, port := range []int{caddyfile.DefaultListen().Public, caddyfile.DefaultListen().Tailnet} {
		endpoint, err := p.watched[0].Endpoint(port).Through(n)
		if err != nil {
			return nil, err
		}
		out = append(out, endpoint)
	}
	return out, nil
}

// InnerAddress is the proxy's address in a network.
func InnerAddress(n *workload.Network) (netip.Addr, error) { return n.Address(proxySlot) }

// Inner is where a service asks the portal who a user is, through a network, without a way out of
// the machine: at the portal's own name, which it must find at InnerAddress.
func (p *Proxy) Inner(n *workload.Network) (workload.Endpoint, error) {
	return p.watched[0].Endpoint(caddyfile.DefaultListen().Inner).Through(n)
}
