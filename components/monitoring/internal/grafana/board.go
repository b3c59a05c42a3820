package grafana

import "homelab/components/internal/watch"

// columns is the width of a dashboard.
const columns = 24

// tag marks our dashboards, by which they link to each other.
const tag = "homelab"

// The dashboards' identifiers, which are in their addresses.
const (
	overviewUID = "homelab-overview"
	chainUID    = "homelab-chain"
	servicesUID = "homelab-services"
	mediaUID    = "homelab-media"
	machineUID  = "homelab-machine"
	backupsUID  = "homelab-backups"
	logsUID     = "homelab-logs"
)

// dashboards are all of them, sorted by identifier.
func dashboards(m watch.Model) []dashboard {
	return []dashboard{
		backups(), chain(m), logsBoard(), machine(), media(m), overview(m), services(m),
	}
}

// board lays out a dashboard: panels stand beside each other until one has no room.
type board struct {
	dashboard
	x, y, height int
}

func newBoard(uid, title, description, from string) *board {
	return &board{dashboard: dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{tag}, Timezone: "",
		// 1: the same moment in every panel.
		GraphTooltip: 1, SchemaVersion: 42, Refresh: "1m", Time: timeRange{From: from, To: "now"},
		Templating: variables{List: []variable{}}, Annotations: annotations{List: []struct{}{}},
		Links: []link{{Title: "Dashboards", Type: "dashboards", Icon: "external link", Tags: []string{tag}, AsDropdown: true, KeepTime: true}},
	}}
}

// row begins a row with a head.
func (b *board) row(title string) {
	b.end()
	b.place(panel{Type: "row", Title: title, Collapsed: ptr(false), Panels: &[]panel{}}, columns, 1)
	b.end()
}

// end makes the next panel begin a line.
func (b *board) end() { b.x, b.y, b.height = 0, b.y+b.height, 0 }

// add places panels of the same size.
func (b *board) add(width, height int, panels ...panel) {
	for _, p := range panels {
		b.place(p, width, height)
	}
}

func (b *board) place(p panel, width, height int) {
	if b.x+width > columns {
		b.end()
	}
	p.ID = len(b.Panels) + 1
	p.GridPos = gridPos{H: height, W: width, X: b.x, Y: b.y}
	b.Panels = append(b.Panels, p)
	b.x, b.height = b.x+width, max(b.height, height)
}
