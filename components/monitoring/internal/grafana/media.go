package grafana

import (
	"regexp"
	"slices"
	"strings"

	"homelab/components/internal/watch"
)

// exported is what an exporter (exportarr) says of an application.
type exported struct {
	// wanted is what the application looks for.
	wanted []query
	// queue is what it waits for.
	queue []query
}

// exporters are the applications whose exporters have their own panels, by the subject's name.
func exporters() map[string]exported {
	return map[string]exported{
		"radarr": {
			wanted: []query{{"radarr_movie_missing_total", "films missing"}, {"radarr_movie_wanted_total", "films wanted"}},
			queue:  []query{{"sum by (download_state) (radarr_queue_total)", "films {{download_state}}"}},
		},
		"sonarr": {
			wanted: []query{{"sonarr_episode_missing_total", "episodes missing"}},
			queue:  []query{{"sum by (download_state) (sonarr_queue_total)", "episodes {{download_state}}"}},
		},
	}
}

// media shows the way of a film: asked for, found, loaded, put into the library.
func media(m watch.Model) dashboard {
	b := newBoard(mediaUID, "Media", "From the request to the library.", "now-24h")
	b.row("State")
	b.add(4, 4,
		mediaMounted(),
		stat("Library", "The free part of the library.", look{unit: fraction, steps: falling(0.05, 0.1)}, freePart("media")),
		stat("Downloads", "The free part of the downloads' file system.", look{unit: fraction, steps: falling(0.1, 0.2)}, freePart("downloads")),
	)
	if m.Has("gluetun") {
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
	wanted, queue := exporterQueries(m)
	if len(wanted) > 0 {
		b.row("Wanted and on the way")
		b.add(12, 8, graph("Wanted", "What the applications look for.", short, wanted...),
			stacked("Queue", "What is being loaded or put into the library.", short, queue...))
	}
	return b.dashboard
}

// wiring adds what the program says that connects the services.
func wiring(b *board) {
	b.add(12, 7,
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

// exporterQueries are those of the applications that have an exporter.
func exporterQueries(m watch.Model) (wanted, queue []query) {
	known := exporters()
	for _, s := range m.Subjects {
		if e, ok := known[s.Name]; ok && s.Exporter != "" {
			wanted, queue = append(wanted, e.wanted...), append(queue, e.queue...)
		}
	}
	return wanted, queue
}
