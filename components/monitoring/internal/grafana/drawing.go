package grafana

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"strings"

	"homelab/components/internal/watch"
)

// The map is an image in a text panel. The panel for graphs of nodes draws only what a data source
// answers, and of SVG in a text Grafana keeps nothing; an image whose address is its own content
// stays, and needs no internet.

// Sizes of the map, in pixels.
const (
	boxWidth    = 170
	boxHeight   = 26
	lineHeight  = 40
	columnWidth = 290
	margin      = 16
	headHeight  = 34
	// gridLine is the height of one line of a dashboard's grid, with the space below.
	gridLine = 38
)

// Where people come from; no subjects, so never a subject's title in the model's order.
const (
	internetTitle = "Internet"
	tailnetTitle  = "Tailnet"
)

// svg is the map's root.
type svg struct {
	XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
	ViewBox string   `xml:"viewBox,attr"`
	Width   int      `xml:"width,attr"`
	Height  int      `xml:"height,attr"`
	Font    string   `xml:"font-family,attr"`
	Size    int      `xml:"font-size,attr"`
	Ground  svgRect  `xml:"rect"`
	Edges   []svgPath
	Boxes   []svgBox
	Heads   []svgText
}

type svgPath struct {
	XMLName xml.Name `xml:"path"`
	D       string   `xml:"d,attr"`
	Fill    string   `xml:"fill,attr"`
	Stroke  string   `xml:"stroke,attr,omitempty"`
	Width   string   `xml:"stroke-width,attr,omitempty"`
	Dashes  string   `xml:"stroke-dasharray,attr,omitempty"`
}

type svgBox struct {
	XMLName xml.Name `xml:"g"`
	Rect    svgRect  `xml:"rect"`
	Text    svgText
}

type svgRect struct {
	X      int    `xml:"x,attr"`
	Y      int    `xml:"y,attr"`
	Width  int    `xml:"width,attr"`
	Height int    `xml:"height,attr"`
	Round  int    `xml:"rx,attr"`
	Fill   string `xml:"fill,attr"`
}

type svgText struct {
	XMLName xml.Name `xml:"text"`
	X       int      `xml:"x,attr"`
	Y       int      `xml:"y,attr"`
	Anchor  string   `xml:"text-anchor,attr"`
	Fill    string   `xml:"fill,attr"`
	Text    string   `xml:",chardata"`
}

// column is the boxes that stand below each other.
type column struct {
	head, color string
	names       []string
}

// node is where a box stands.
type node struct {
	column, line int
	color        string
}

func mapColumns(m watch.Model) []column {
	out := []column{
		{"From", "#5a6270", []string{internetTitle, tailnetTitle}},
		{"Gateway", "#1f60c4", nil}, {"Services", "#37872d", nil}, {"VPN", "#8f3bb8", nil}, {"Monitoring", "#b0630a", nil},
	}
	for i, l := range []watch.Layer{watch.Gateway, watch.Service, watch.VPN, watch.Monitoring} {
		for _, s := range m.Of(l) {
			out[i+1].names = append(out[i+1].names, s.Name)
		}
	}
	kept := out[:0]
	for _, c := range out {
		if len(c.names) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// edge is a connection that one may open to another. Dashed ones are those of a container that has
// another's network.
type edge struct {
	from, to string
	dashed   bool
}

// edges are the model's connections, with those of the people to the proxy.
func edges(m watch.Model) []edge {
	var out []edge
	entries := map[string]bool{}
	for _, s := range m.Subjects {
		if s.Hostname == "" {
			continue
		}
		if s.Public {
			entries[internetTitle] = true
		} else {
			entries[tailnetTitle] = true
		}
	}
	for _, from := range []string{internetTitle, tailnetTitle} {
		if entries[from] && m.Has("caddy") {
			out = append(out, edge{from: from, to: "caddy"})
		}
	}
	for _, s := range m.Subjects {
		for _, to := range s.Uses {
			out = append(out, edge{from: s.Name, to: to})
		}
		if s.Behind != "" {
			out = append(out, edge{from: s.Name, to: s.Behind, dashed: true})
		}
	}
	return out
}

// connections is the map, as HTML. Its alternative text says the same in words.
func connections(m watch.Model) string {
	drawn := draw(m)
	var words []string
	for _, e := range edges(m) {
		words = append(words, e.from+" → "+e.to)
	}
	return fmt.Sprintf(`<img style="max-width:100%%; height:auto;" width="%d" height="%d" alt="%s" src="data:image/svg+xml;base64,%s">`,
		drawn.Width, drawn.Height, html.EscapeString(strings.Join(words, ", ")), base64.StdEncoding.EncodeToString(encodeSVG(drawn)))
}

// mapHeight is the height of the map's panel, in lines of the grid.
func mapHeight(m watch.Model) int { return (draw(m).Height+gridLine-1)/gridLine + 1 }

func encodeSVG(s svg) []byte {
	var out bytes.Buffer
	// A buffer takes everything, and no field is of a kind that cannot be encoded.
	_ = xml.NewEncoder(&out).Encode(s)
	return out.Bytes()
}

func draw(m watch.Model) svg {
	nodes, lines := map[string]node{}, 0
	all := mapColumns(m)
	out := svg{Font: "sans-serif", Size: 13}
	for i, c := range all {
		out.Heads = append(out.Heads, svgText{X: left(i), Y: margin + 14, Anchor: "start", Fill: "#3a3f47", Text: c.head})
		for j, name := range c.names {
			n := node{i, j, c.color}
			nodes[name] = n
			out.Boxes = append(out.Boxes, svgBox{
				Rect: svgRect{X: left(i), Y: n.top(), Width: boxWidth, Height: boxHeight, Round: 5, Fill: c.color},
				Text: svgText{X: left(i) + boxWidth/2, Y: n.top() + 18, Anchor: "middle", Fill: "#ffffff", Text: name},
			})
		}
		lines = max(lines, len(c.names))
	}
	for _, e := range edges(m) {
		out.Edges = append(out.Edges, arrow(nodes[e.from], nodes[e.to], e.dashed)...)
	}
	out.Width = left(len(all)-1) + boxWidth + columnWidth - boxWidth
	out.Height = margin + headHeight + lines*lineHeight
	out.ViewBox = fmt.Sprintf("0 0 %d %d", out.Width, out.Height)
	// The image does not know whether Grafana is light or dark: it brings its own ground.
	out.Ground = svgRect{Width: out.Width, Height: out.Height, Round: 6, Fill: "#f4f5f8"}
	return out
}

func left(column int) int { return margin + column*columnWidth }

func (n node) top() int    { return margin + headHeight + n.line*lineHeight }
func (n node) middle() int { return n.top() + boxHeight/2 }

// arrow leaves on the side that is nearer and arrives in a point; within a column it goes round on
// the right.
func arrow(from, to node, dashed bool) []svgPath {
	x1, x2 := left(from.column)+boxWidth, left(to.column)
	bend1, bend2, tip := x1+50, x2-50, -7
	switch {
	case from.column == to.column:
		x2 = left(to.column) + boxWidth
		bend := x1 + 30 + 6*abs(from.line-to.line)
		bend1, bend2, tip = bend, bend, 7
	case from.column > to.column:
		x1, x2 = left(from.column), left(to.column)+boxWidth
		bend1, bend2, tip = x1-50, x2+50, 7
	}
	y1, y2 := from.middle(), to.middle()
	line := svgPath{
		D:    fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, bend1, y1, bend2, y2, x2+tip, y2),
		Fill: "none", Stroke: from.color, Width: "1.3",
	}
	if dashed {
		line.Dashes = "5 4"
	}
	head := svgPath{D: fmt.Sprintf("M%d %dl%d -4v8z", x2, y2, tip), Fill: from.color}
	return []svgPath{line, head}
}

func abs(n int) int { return max(n, -n) }
