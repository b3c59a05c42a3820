package rules

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// labelMetrics is the label by which a container says where its metrics are, as PORT/PATH, or why
// there are none, as none: REASON.
const labelMetrics = "homelab.metrics"

// scraping is what the rules read of Prometheus' configuration.
type scraping struct {
	Jobs []struct {
		Name   string `yaml:"job_name"`
		Static []struct {
			Targets []string `yaml:"targets"`
		} `yaml:"static_configs"`
		Relabel []struct {
			Target      string `yaml:"target_label"`
			Replacement string `yaml:"replacement"`
		} `yaml:"relabel_configs"`
		Others map[string]any `yaml:",inline"`
	} `yaml:"scrape_configs"`
}

// configuration returns the command that writes a program's configuration: the file that a flag
// names, or the one where the program looks without it.
func (g *Graph) configuration(c *Resource, flag, otherwise string) *Resource {
	for _, argument := range c.At("command").Texts() {
		if name, ok := strings.CutPrefix(strings.TrimPrefix(argument, "-"), "-"+flag+"="); ok {
			otherwise = name
		} else if name, ok := strings.CutPrefix(argument, "-"+flag+"="); ok {
			otherwise = name
		}
	}
	return g.inside(c, otherwise)
}

// judgeTargets holds what Prometheus measures to what has metrics.
func judgeTargets(g *Graph, out *report) {
	out.absent("Prometheus")
	for _, p := range g.named(prometheus) {
		file := g.configuration(p, "config.file", "/etc/prometheus/prometheus.yml")
		var read scraping
		switch {
		case file == nil:
			out.fail(p, "nothing writes the configuration of %s", p.Name())
			continue
		case file.At("stdin").Hidden():
			out.undecided(file, "what %s measures is not known", p.Name())
			continue
		}
		if err := yaml.Unmarshal([]byte(file.Text("stdin")), &read); err != nil {
			out.fail(file, "the configuration of %s cannot be read", p.Name())
			continue
		}
		g.undecidedReaches(out)
		g.judgeMeasured(p, file, g.judgeJobs(p, file, read, out), out)
	}
}

// reachable reports whether one container may open a connection to another's port.
func (g *Graph) reachable(from, to *Resource, port string) bool {
	return slices.ContainsFunc(g.layers.reaches[from.URN], func(r reach) bool { return r.to == to && r.port == port })
}

// judgeJobs judges that each target is a container's, and within reach. It returns what is
// measured.
func (g *Graph) judgeJobs(p, file *Resource, read scraping, out *report) []string {
	var measured []string
	judge := func(from *Resource, job, target string) *Resource {
		name, port, _ := strings.Cut(target, ":")
		to := g.container(name)
		if to == nil {
			out.fail(file, "%s measures %s, which is no container of the stack", job, target)
			return nil
		}
		out.require(to == from || g.reachable(from, to, port) || g.anyReachHidden(), file, "%s measures %s, which %s may not reach", job, target, from.Name())
		return to
	}
	for _, job := range read.Jobs {
		for key := range job.Others {
			out.require(!strings.HasSuffix(key, "_sd_configs"), file, "%s finds its targets by %s, so nobody knows which they are", job.Name, key)
		}
		prober := ""
		for _, relabel := range job.Relabel {
			if relabel.Target == "__address__" {
				prober = relabel.Replacement
			}
		}
		from := p
		if prober != "" {
			if from = judge(p, job.Name, prober); from == nil {
				continue
			}
		}
		for _, group := range job.Static {
			for _, target := range group.Targets {
				judge(from, job.Name, target)
				if prober == "" {
					measured = append(measured, target)
				}
			}
		}
	}
	return measured
}

func (g *Graph) anyReachHidden() bool {
	return slices.ContainsFunc(g.layers.reachFiles, func(f *Resource) bool { return f.At("stdin").Hidden() })
}

// judgeMeasured judges that each container is measured where it says, or says why it is not.
func (g *Graph) judgeMeasured(p, file *Resource, measured []string, out *report) {
	for _, c := range g.Of(typeContainer) {
		at := c
		if tunnel := g.behind(c); tunnel != nil {
			at = tunnel
		}
		said := label(c, labelMetrics)
		if said.Hidden() {
			out.undecided(c, "where the metrics of %s are is not known", c.Name())
			continue
		}
		reason, none := strings.CutPrefix(said.Text(), "none:")
		port, _, _ := strings.Cut(said.Text(), "/")
		switch {
		case none:
			out.require(strings.TrimSpace(reason) != "", c, "%s has no metrics, and no reason for it", c.Name())
		case port == "":
			out.fail(c, "%s says neither where its metrics are nor why it has none", c.Name())
		default:
			out.require(slices.Contains(measured, at.Text("name")+":"+port), file, "%s has metrics on port %s, and %s does not measure them", c.Name(), port, p.Name())
		}
	}
}

// label returns the value of a container's label.
func label(c *Resource, name string) Value {
	labels := c.At("labels")
	if labels.Hidden() {
		return labels
	}
	for _, l := range labels.List() {
		if l.text("label") == name {
			return l.At("value")
		}
	}
	return Value{}
}
