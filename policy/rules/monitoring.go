package rules

import (
	"path"
	"slices"
	"strings"
)

// Programs of a monitoring, by the last part of their images' names: who makes an image may make
// several of them.
const (
	prometheus   = "prometheus"
	alertmanager = "alertmanager"
	loki         = "loki"
	alloy        = "alloy"
	promtail     = "promtail"
	grafana      = "grafana"
	nodeExporter = "node-exporter"
	cadvisor     = "cadvisor"
	blackbox     = "blackbox-exporter"
	socketProxy  = "socket-proxy"
	startPage    = "home"
)

var monitoringPrograms = []string{prometheus, alertmanager, loki, alloy, promtail, grafana, nodeExporter, cadvisor, blackbox, socketProxy, startPage}

// program is the last part of the name of a container's image; empty for a service of the
// operator's own, which is one like any other, whatever it runs.
func (g *Graph) program(c *Resource) string {
	parent := g.Get(c.Parent)
	for range len(g.resources) { // parents that go in a circle, which no engine makes, end
		if parent == nil {
			break
		}
		if parent.Type == typeCustom {
			return ""
		}
		parent = g.Get(parent.Parent)
	}
	name := path.Base(g.layers.image[c.URN])
	if name == "grafana-oss" || name == "grafana-enterprise" {
		return grafana
	}
	return name
}

// named returns the containers that run one of the programs.
func (g *Graph) named(programs ...string) []*Resource {
	return slices.DeleteFunc(g.Of(typeContainer), func(c *Resource) bool { return !slices.Contains(programs, g.program(c)) })
}

// reachesTo are the ways to a container from others, in the order of their lines.
func (g *Graph) reachesTo(c *Resource) []reach {
	var out []reach
	for _, from := range g.Of(typeContainer) {
		for _, r := range g.layers.reaches[from.URN] {
			if r.to == c && from != c {
				out = append(out, r)
			}
		}
	}
	return out
}

// undecidedReaches leaves a rule open for each file of the filter that is not known.
func (g *Graph) undecidedReaches(out *report) {
	for _, f := range g.layers.reachFiles {
		if f.At("stdin").Hidden() {
			out.undecided(f, "what it allows is not known")
		}
	}
}

// mayReach says who may open a connection to a program of the monitoring. Who is none of these has
// no business there: whoever reaches Prometheus or Loki reads everything that is measured and
// logged, and what reaches Alertmanager can silence it. None of them has a login of its own.
var mayReach = map[string][]string{
	prometheus:   {grafana, startPage},
	loki:         {alloy, promtail, grafana, prometheus},
	alertmanager: {prometheus, grafana, startPage},
	socketProxy:  {alloy, promtail},
	alloy:        {prometheus},
	promtail:     {prometheus},
	nodeExporter: {prometheus},
	cadvisor:     {prometheus},
	blackbox:     {prometheus},
	grafana:      {caddy, prometheus},
}

var monitoringRules = []Rule{
	{
		ID: "monitoring-internal", Title: "The monitoring is on one internal network, and only Alertmanager leaves it", Severity: High, Layer: LayerMonitoring,
		Remedy:  "make the network internal, put the program on no other, and give it no way out",
		Unknown: "a file of the filter that is unknown is left open",
		check:   judgeMonitoringNetwork,
	},
	{
		ID: "monitoring-reach", Title: "Only what shows the measurements and logs, and what sends them, reaches those who keep them", Severity: High, Layer: LayerMonitoring,
		Remedy:  "remove the use: a program of the monitoring has no login of its own, and the filter is what keeps others off it",
		Unknown: "a file of the filter that is unknown is left open",
		check: func(g *Graph, out *report) {
			out.absent("program of a monitoring")
			for _, to := range g.named(monitoringPrograms...) {
				allowed, judged := mayReach[g.program(to)]
				if !judged {
					continue
				}
				out.look()
				for _, r := range g.reachesTo(to) {
					fits := slices.Contains(allowed, g.program(r.from)) || slices.Contains(allowed, caddy) && slices.Contains(g.running(caddy), r.from)
					out.require(fits, r.file, "%s may reach %s on port %s", r.from.Name(), to.Name(), r.port)
				}
			}
			if out.looked {
				g.undecidedReaches(out)
			}
		},
	},
	{
		ID: "monitoring-complete", Title: "Prometheus measures every container that has metrics, and every other says why it has none", Severity: Medium, Layer: LayerMonitoring,
		Remedy:  "add the container to Prometheus' targets with an edge to its port, or give a reason for no metrics",
		Unknown: "an unknown configuration, file of the filter or label is left open",
		check:   judgeTargets,
	},
	{
		ID: "monitoring-grafana", Title: "Nobody gets into Grafana but by the portal, with two factors and the role that his group has", Severity: High, Layer: LayerMonitoring,
		Remedy:  "switch every other login of Grafana off, set role_attribute_strict, and set its access to two-factor",
		Unknown: unknownOpen,
		check:   judgeGrafana,
	},
	{
		ID: "monitoring-alerts", Title: "Somebody is told of an alert", Severity: Medium, Layer: LayerMonitoring,
		Remedy:  "set homelab:alerts to a webhook or mail; where it says why nobody need know, this advice stays",
		Unknown: unknownOpen,
		check:   judgeReceivers,
	},
	{
		ID: "home-identity", Title: "Only the proxy reaches the start page, which believes it who a visitor is", Severity: High, Layer: LayerMonitoring,
		Remedy:  "remove the use of the start page's port, and let its site ask the portal; its metrics have a port of their own",
		Unknown: unknownOpen,
		check:   judgeStartPage,
	},
}

// judgeMonitoringNetwork judges the networks of what measures, by those of Prometheus.
func judgeMonitoringNetwork(g *Graph, out *report) {
	out.absent("Prometheus")
	networks := map[string]bool{}
	for _, p := range g.named(prometheus) {
		if p.At("networksAdvanced").Hidden() {
			out.undecided(p, "the networks of %s are not known", p.Name())
			return
		}
		out.require(len(p.At("networksAdvanced").List()) == 1, p, "%s is in %d networks", p.Name(), len(p.At("networksAdvanced").List()))
		g.judgeNetworksOf(p, out)
		for _, n := range p.At("networksAdvanced").List() {
			networks[n.text("name")] = true
		}
	}
	if !out.looked {
		return
	}
	g.undecidedReaches(out)
	for _, c := range g.named(monitoringPrograms...) {
		if g.program(c) == alertmanager {
			continue // who is told is elsewhere
		}
		for _, n := range c.At("networksAdvanced").List() {
			out.require(networks[n.text("name")], c, "%s is in the network %s, where Prometheus is not", c.Name(), n.text("name"))
		}
		for _, r := range g.layers.reaches[c.URN] {
			out.require(!r.internet && r.server == "", r.file, "%s has a way out", c.Name())
		}
	}
}

// judgeStartPage judges who reaches the start page where it believes headers that say who a visitor
// is.
func judgeStartPage(g *Graph, out *report) {
	out.absent("start page")
	for _, page := range g.named(startPage) {
		out.look()
		believes := map[string]bool{}
		for _, s := range g.layers.blocks {
			for _, u := range s.upstreams {
				if name, port, _ := strings.Cut(u, ":"); name == page.Text("name") {
					believes[port] = true
					out.require(s.guarded(), s.file, "%s leads to %s and asks nobody who a visitor is", s.hostname, page.Name())
				}
			}
		}
		g.undecidedReaches(out)
		for _, r := range g.reachesTo(page) {
			measures := g.program(r.from) == prometheus && !believes[r.port]
			out.require(measures || slices.Contains(g.running(caddy), r.from), r.file, "%s may reach %s on port %s, and say that it is anybody", r.from.Name(), page.Name(), r.port)
		}
	}
}
