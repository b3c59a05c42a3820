package grafana

import (
	"fmt"
	"html"

	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/rules"
)

// services has a row for each container, by layer from the outside in.
func services(m watch.Model) dashboard {
	b := newBoard(servicesUID, "Services", "A row for each container.", "now-6h")
	for _, l := range watch.Layers() {
		for _, s := range m.Of(l) {
			subjectRow(b, s)
		}
	}
	return b.dashboard
}

// subjectRow adds a subject's row: what the machine, cAdvisor, the proxy and the subject itself say
// of it.
func subjectRow(b *board, s watch.Subject) {
	b.row(s.Title)
	limit := fmt.Sprintf("%d", s.MemoryMiB<<20)
	memory := series(rules.ContainerMemory, "service", s.Name)
	b.add(3, 5,
		stat("Health", "Its health check, as Docker runs it.", look{words: yesNo("healthy", "unhealthy", 1), steps: plain(), none: "unknown"},
			query{"min(" + series("homelab_container_healthy", "service", s.Name) + ")", ""}),
		metricsPanel(s),
		stat("Restarts", "How often it was started again in the last day.", look{unit: short, steps: rising(1, 4), none: "0"},
			query{"ceil(" + sum(increase(series("homelab_container_restarts_total", "service", s.Name), "1d")) + ")", ""}),
		stat("Memory", fmt.Sprintf("The part in use of its limit of %d MiB. At the limit the kernel ends it.", s.MemoryMiB),
			look{unit: fraction, steps: []step{{nil, green}, {ptr(rules.MemoryShare), yellow}}, none: "unknown"}, query{memory + " / " + limit, ""}),
	)
	b.add(6, 5,
		small("Memory", "What cannot be given back, and its limit.", bytesUnit, query{memory, "in use"}, query{"vector(" + limit + ")", "limit"}),
		small("CPU", "Processors in use.", short, query{series(rules.ContainerCPU, "service", s.Name), "in use"}),
	)
	if s.Hostname != "" {
		site := visitors("hostname", s.Hostname)
		b.add(12, 5,
			stacked("Answers", "Answers of https://"+s.Hostname+", by status, as the proxy sees it.", perSecond,
				query{sum(rate(series(answers+"_count", site...)), "code"), "{{code}}"}),
			graph("Time to answer", "The time within which half, and nine of ten, answers begin.", seconds,
				query{quantile(0.5, series(answers+"_bucket", site...)), "half"},
				query{quantile(0.9, series(answers+"_bucket", site...)), "nine of ten"}),
		)
	}
}

// metricsPanel says whether the subject's metrics arrive, or, where another subject measures it,
// whether it answers that one; or why there are none.
func metricsPanel(s watch.Subject) panel {
	arrive := look{words: yesNo("arrive", "missing", 1), steps: plain(), none: "missing"}
	switch {
	case s.Scraped():
		return stat("Metrics", "Whether Prometheus gets its metrics.", arrive, query{"min(" + series("up", "job", s.Name) + ")", ""})
	case s.Exporter != "":
		return stat("Answering", "Whether it answers what "+s.Exporter+" asks of it every minute.", look{words: yesNo("answering", "not answering", 1), steps: plain(), none: "unknown"},
			query{"min(" + series("homelab_app_up", "app", s.Name) + ")", ""})
	}
	return text("Metrics", "<p>None: "+html.EscapeString(s.NoMetrics)+".</p>")
}
