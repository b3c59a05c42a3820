package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"

	"homelab/policy/rules"
)

// Picture is a graph to draw: what may open a connection to what, from whoever visits to whoever
// answers.
type Picture struct {
	// Nodes are sorted by their columns, from the visitors on, and then by name.
	Nodes []Node `json:"nodes"`
	// Links are sorted.
	Links []Link `json:"links"`
}

// Node is a place in the picture.
type Node struct {
	// ID names the node.
	ID string `json:"id"`
	// Label is what is written in it.
	Label string `json:"label"`
	// Column is its place from left to right, from 0.
	Column int `json:"column"`
	// Missing is whether it is a layer that ought to be there and is not.
	Missing bool `json:"missing,omitempty"`
}

// Link leads from one node to another.
type Link struct {
	// From is the ID of the node that it leaves.
	From string `json:"from"`
	// To is the ID of the node that it leads to.
	To string `json:"to"`
	// Label is written beside it.
	Label string `json:"label,omitempty"`
}

// Chain is the picture of one hostname: the layers that it depends on, in the order in which a request
// meets them.
func Chain(h rules.Hostname) Picture {
	visitors := "the tailnet"
	if h.Public {
		visitors = "the internet"
	}
	p := Picture{Nodes: []Node{{ID: "visitors", Label: visitors}}}
	last := "visitors"
	for i, e := range h.Chain {
		label := e.Layer
		if e.Layer == "service" && h.Container != "" {
			label = h.Container
		}
		n := Node{ID: fmt.Sprintf("layer%d", i), Label: label, Column: i + 1, Missing: len(e.Resources) == 0}
		p.Nodes = append(p.Nodes, n)
		p.Links = append(p.Links, Link{From: last, To: n.ID})
		last = n.ID
	}
	return p
}

// Whole is the picture of a stack: visitors, hostnames, and containers with their edges.
func Whole(i rules.Inventory) Picture {
	var p Picture
	column := map[string]int{}
	add := func(id, label string, at int) {
		if _, ok := column[id]; !ok {
			column[id] = at
			p.Nodes = append(p.Nodes, Node{ID: id, Label: label, Column: at})
		}
	}
	proxies := map[string]bool{}
	for _, port := range i.Ports {
		if port.Where != "firewall" {
			proxies[port.For] = true
		}
	}
	for _, h := range i.Hostnames {
		visitors := "tailnet"
		if h.Public {
			visitors = "internet"
		}
		add(visitors, map[string]string{"tailnet": "the tailnet", "internet": "the internet"}[visitors], 0)
		add("host:"+h.Name, h.Name, 1)
		p.Links = append(p.Links, Link{From: visitors, To: "host:" + h.Name})
		for proxy := range proxies {
			p.Links = append(p.Links, Link{From: "host:" + h.Name, To: "container:" + proxy})
		}
	}
	depth := depths(i, proxies)
	for _, c := range i.Containers {
		at := depth[c.Name]
		if tunnel := c.Behind(); tunnel != "" {
			at = depth[tunnel] + 1
			p.Links = append(p.Links, Link{From: "container:" + tunnel, To: "container:" + c.Name, Label: "its network"})
		}
		add("container:"+c.Name, c.Name, 2+at)
	}
	for _, e := range i.Edges { // sorted, so the ports of one pair follow each other
		if e.ToVPN() {
			// A node has no room for the whole.
			server := e.To[strings.LastIndexByte(e.To, ' ')+1:]
			address, port, _ := strings.Cut(server, ":")
			add(e.To, "VPN "+address, 2+depth[e.From]+1)
			p.Links = append(p.Links, Link{From: "container:" + e.From, To: e.To, Label: port})
			continue
		}
		link := Link{From: "container:" + e.From, To: "container:" + e.To, Label: fmt.Sprint(e.Port)}
		if last := len(p.Links) - 1; last >= 0 && p.Links[last].From == link.From && p.Links[last].To == link.To {
			p.Links[last].Label += ", " + link.Label
			continue
		}
		p.Links = append(p.Links, link)
	}
	slices.SortFunc(p.Nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Column, b.Column), strings.Compare(a.ID, b.ID)) })
	slices.SortFunc(p.Links, func(a, b Link) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), strings.Compare(a.Label, b.Label))
	})
	return p
}

// depths are how many edges each container is away from the proxies; what no way leads to is beside
// them.
func depths(i rules.Inventory, proxies map[string]bool) map[string]int {
	depth := map[string]int{}
	for changed := true; changed; {
		changed = false
		for _, e := range i.Edges {
			if _, known := depth[e.To]; known || proxies[e.To] {
				continue
			}
			if from, known := depth[e.From]; known || proxies[e.From] {
				depth[e.To], changed = from+1, true
			}
		}
	}
	return depth
}

// Mermaid is the picture as a flowchart of Mermaid, which GitHub draws.
func (p Picture) Mermaid() string {
	var out strings.Builder
	out.WriteString("flowchart LR\n")
	for i, n := range p.Nodes {
		fmt.Fprintf(&out, "  n%d[\"%s\"]\n", i, strings.ReplaceAll(n.Label, `"`, "#quot;"))
	}
	for _, l := range p.Links {
		label := ""
		if l.Label != "" {
			label = "|" + l.Label + "|"
		}
		fmt.Fprintf(&out, "  n%d -->%s n%d\n", p.index(l.From), label, p.index(l.To))
	}
	for i, n := range p.Nodes {
		if n.Missing {
			fmt.Fprintf(&out, "  style n%d stroke-dasharray: 4\n", i)
		}
	}
	return out.String()
}

// DOT is the picture in the language of Graphviz.
func (p Picture) DOT() string {
	var out strings.Builder
	out.WriteString("digraph homelab {\n  rankdir=LR;\n  node [shape=box];\n")
	for _, n := range p.Nodes {
		style := ""
		if n.Missing {
			style = ", style=dashed"
		}
		fmt.Fprintf(&out, "  %q [label=%q%s];\n", n.ID, n.Label, style)
	}
	for _, l := range p.Links {
		fmt.Fprintf(&out, "  %q -> %q [label=%q];\n", l.From, l.To, l.Label)
	}
	out.WriteString("}\n")
	return out.String()
}

// JSON is the picture's nodes and links.
func (p Picture) JSON() (string, error) {
	text, err := json.MarshalIndent(p, "", "  ")
	return string(text) + "\n", err
}

func (p Picture) index(id string) int {
	return slices.IndexFunc(p.Nodes, func(n Node) bool { return n.ID == id })
}

// Sizes of a drawing, in pixels.
const (
	nodeWidth, nodeHeight = 168, 34
	gapX, gapY            = 64, 18
	margin                = 12
	// rowLength is how many layers of a chain are drawn in a row.
	rowLength = 5
)

// SVG is the picture as a drawing that needs nothing else. It takes its colours from the reader's
// choice of light or dark.
func (p Picture) SVG(title string) string {
	place := p.places()
	width, height := 0, 0
	for _, at := range place {
		width, height = max(width, at[0]+nodeWidth+margin), max(height, at[1]+nodeHeight+margin)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`, width, height, width, height, html.EscapeString(title))
	out.WriteString(`<style>.b{fill:#f6f8fa;stroke:#57606a}.m{fill:#fff1f0;stroke:#cf222e;stroke-dasharray:4}.l{fill:none;stroke:#57606a}.t{fill:#1f2328;font:13px sans-serif}.s{fill:#57606a;font:11px sans-serif}` +
		`@media(prefers-color-scheme:dark){.b{fill:#161b22;stroke:#8b949e}.m{fill:#3d1513;stroke:#ff7b72}.l{stroke:#8b949e}.t{fill:#e6edf3}.s{fill:#9da7b3}}</style>`)
	out.WriteString(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" class="t"/></marker></defs>`)
	for _, l := range p.Links {
		d, x, y := line(place[l.From], place[l.To])
		fmt.Fprintf(&out, `<path class="l" marker-end="url(#arrow)" d="%s"/>`, d)
		if l.Label != "" {
			fmt.Fprintf(&out, `<text class="s" x="%d" y="%d" text-anchor="middle">%s</text>`, x, y, html.EscapeString(l.Label))
		}
	}
	for _, n := range p.Nodes {
		class := "b"
		if n.Missing {
			class = "m"
		}
		at := place[n.ID]
		label := n.Label
		if len(label) > 24 {
			label = label[:23] + "…"
		}
		fmt.Fprintf(&out, `<g><title>%s</title><rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="6"/><text class="t" x="%d" y="%d" text-anchor="middle">%s</text></g>`,
			html.EscapeString(n.Label), class, at[0], at[1], nodeWidth, nodeHeight, at[0]+nodeWidth/2, at[1]+nodeHeight/2+5, html.EscapeString(label))
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// line is the path of an arrow between two nodes, and where its label goes.
func line(from, to [2]int) (d string, x, y int) {
	x1, y1, x2, y2 := from[0]+nodeWidth, from[1]+nodeHeight/2, to[0], to[1]+nodeHeight/2
	switch {
	case to[0] > from[0]:
		middle := (x1 + x2) / 2
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, middle, y1, middle, y2, x2, y2), x2 - gapX/2, y2 - 5
	case to[0] == from[0]: // within a column, by its right side
		out := x1 + gapX/2
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, out, y1, out, y2, x1, y2), out + 6, (y1+y2)/2 + 4
	}
	// Back, or to the next row of a chain: from below, or from above.
	x1, y1, x2, y2 = from[0]+nodeWidth/2, from[1]+nodeHeight, to[0]+nodeWidth/2, to[1]
	if to[1] <= from[1] {
		y2 = to[1] + nodeHeight
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, y1+gapY, x2, y2+gapY, x2, y2), (x1 + x2) / 2, max(y1, y2) + gapY - 4
	}
	middle := (y1 + y2) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, middle, x2, middle, x2, y2), (x1 + x2) / 2, middle
}

// places are where nodes are drawn. A chain, in which each column has one node, goes on in further
// rows.
func (p Picture) places() map[string][2]int {
	inColumn := map[int]int{}
	for _, n := range p.Nodes {
		inColumn[n.Column]++
	}
	isChain := len(inColumn) == len(p.Nodes) && len(p.Nodes) > rowLength
	out, row := map[string][2]int{}, map[int]int{}
	for _, n := range p.Nodes {
		x, y := n.Column, row[n.Column]
		row[n.Column]++
		if isChain {
			x, y = n.Column%rowLength, n.Column/rowLength*2
		}
		out[n.ID] = [2]int{margin + x*(nodeWidth+gapX), margin + y*(nodeHeight+gapY)}
	}
	return out
}
