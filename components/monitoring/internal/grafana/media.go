package grafana

import (
	"regexp"
	"slices"
	"strings"

	"homelab/components/internal/watch"
)

// media shows the way of a film: asked for, found, loaded, put into the library.
func media(m watch.Model) dashboard {
	b := newBoard(mediaUID, "Media", "From the request to the library.", "now-24h")
	b.row("State")
	b.add(4, 4,
		mediaMounted(),
		stat("Library", "The free part of the library.", free(), freePart("media")),
		stat("Downloads", "The free part of the downloads' file system.", free(), freePart("downloads")),
	)
	if len(m.Of(watch.VPN)) > 0 {
		b.add(4, 4, vpnUp(),
			stat("Address", "Whether what is behind the tunnel shows another address than the server's.",
				look{words: yesNo("the server's own", "hidden", 0), steps: plain(), none: "unknown"}, query{"homelab_vpn_leaking", ""}),
			stat("Ports", "The port that the VPN forwards, and the one on which the torrent client listens: they must be equal.",
				look{unit: "none", steps: plain(), byName: true, none: "none"},
				query{"homelab_vpn_forwarded_port", "forwarded"}, query{"homelab_torrent_listening_port", "listening"}),
		)
	}
	if m.Has("wire") {
		b.row("Connections between the services")
		wiring(b)
	}
	b.row("Visits")
	people := ofServices(m)
	b.add(12, 8,
		stacked("Requests", "Requests of people, by service.", perSecond,
			query{sum(rate(series(answers+"_count", people...)), "hostname"), "{{hostname}}"}),
		graph("Slow answers", "The time within which nine of ten answers begin.", seconds,
			query{quantile(0.9, series(answers+"_bucket", people...), "hostname"), "{{hostname}}"}),
	)
	if said := saidBy(m); len(said) > 0 {
		b.row("From the request to the library")
		b.add(12, 8, said...)
	}
	return b.dashboard
}

// wiring adds what the program says that connects the services.
func wiring(b *board) {
	b.add(12, 7,
		timeline("Answering", "When each service answered what is asked of it every minute.", yesNo("answering", "not answering", 1),
			query{"homelab_app_up", "{{app}}"}),
		timeline("Connected", "When each service was connected with the others.", yesNo("connected", "not connected", 1),
			query{"homelab_wire_up", "{{app}}"}),
		graph("Changed by hand", "Settings that somebody changed by hand.", short, query{"homelab_wire_drift", "{{app}}"}),
		graph("Indexers that do not work", "They do not keep the services from being connected.", short, query{"homelab_wire_warnings", "{{app}}"}),
		graph("Changes", "What was added, updated or removed within an hour.", short, query{increase("homelab_wire_changes_total", "1h"), "{{app}}"}),
	)
}

func freePart(mount string) query {
	return query{series("homelab_filesystem_avail_bytes", "mount", mount) + " / " + series("homelab_filesystem_size_bytes", "mount", mount), ""}
}

// ofServices selects the visits of the services: not those of the portal or of the monitoring. It
// names the hostnames that are left out, so that a service more changes nothing.
func ofServices(m watch.Model) []string {
	var others []string
	for _, s := range m.Subjects {
		if s.Hostname != "" && s.Layer != watch.Service {
			others = append(others, regexp.QuoteMeta(s.Hostname))
		}
	}
	slices.Sort(others)
	return visitors("hostname", "!~"+strings.Join(others, "|"))
}

// said is a panel about what some applications say of themselves, by the subjects' names.
type said struct {
	by    []string
	panel panel
}

// applications are these panels, on the way of a film. They show every application that says it, so
// one more changes nothing.
func applications() []said {
	downloaders := []string{"radarr", "sonarr"}
	return []said{
		{[]string{"jellyseerr"}, stacked("Requests for films and series", "By what has become of them.", short,
			query{series("homelab_app_requests", "status", "~pending|processing|available|declined|completed"), "{{status}}"})},
		{downloaders, graph("Wanted", "What the applications look for; of films also those that are not out yet.", short, query{"homelab_app_missing", "{{app}}"})},
		{[]string{"jackett", "prowlarr"}, graph("Indexers", "Those that are switched on, and those of them that fail.", short,
			query{"homelab_app_indexers", "{{app}} {{state}}"})},
		{downloaders, stacked("Queue", "What is being loaded or put into the library.", short,
			query{series("homelab_app_queue", "state", "total"), "{{app}}"})},
		{downloaders, graph("Stuck in the queue", "Downloads with an error or a warning.", short,
			query{series("homelab_app_queue", "state", "~errors|warnings"), "{{app}} {{state}}"})},
		{[]string{"qbittorrent"}, stacked("Torrents", "By what they do; stalled are downloads that get nothing.", short,
			query{sum("homelab_app_torrents", "state"), "{{state}}"})},
		{[]string{"qbittorrent"}, graph("Torrents' traffic", "What is loaded and given away.", bytesPerS,
			query{rate("homelab_app_transfer_bytes_total"), "{{direction}}"})},
		{append([]string{"prowlarr"}, downloaders...), stacked("Problems", "What the applications find wrong themselves.", short,
			query{series("homelab_app_health_issues", "type", "~error|warning"), "{{app}} {{type}}"})},
		{[]string{"jellyfin"}, graph("Library", "How much there is to watch.", short, query{"homelab_app_library_items", "{{type}}"})},
		{[]string{"jellyfin"}, graph("Watching", "Clients that play something.", short, query{"homelab_app_streams", "clients"})},
	}
}

// saidBy returns the panels about the applications that are there and measured.
func saidBy(m watch.Model) []panel {
	var out []panel
	for _, a := range applications() {
		if slices.ContainsFunc(m.Subjects, func(s watch.Subject) bool { return s.Exporter != "" && slices.Contains(a.by, s.Name) }) {
			out = append(out, a.panel)
		}
	}
	return out
}
