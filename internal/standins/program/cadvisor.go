package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// controlGroups is where the kernel shows them, of version 2.
const controlGroups = "/sys/fs/cgroup"

// groups measures control groups. It has few of the real one's series, with the real one's numbers.
type groups struct {
	root string
	// prefix begins the names of those that are measured; the machine's own always is.
	prefix string

	cpu, used, working *prometheus.Desc
}

// cadvisor is cAdvisor that asks no container engine.
func cadvisor(ctx context.Context, p process) error {
	const own = "cadvisor"
	set, err := parse(own, p.args, "logtostderr", "raw_cgroup_prefix_whitelist", "docker", "enable_metrics", "housekeeping_interval")
	if err != nil {
		return err
	}
	if set["docker"] != "" || set["enable_metrics"] != "cpu,memory" || !strings.HasPrefix(set["raw_cgroup_prefix_whitelist"], "/") {
		return fmt.Errorf("%s: the stand-in asks no Docker, and measures processor and memory of the control groups of a prefix: %q", own, p.args)
	}
	g := &groups{root: p.path(controlGroups), prefix: set["raw_cgroup_prefix_whitelist"]}
	label := []string{"id"}
	g.cpu = prometheus.NewDesc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", []string{"id", "cpu"}, nil)
	g.used = prometheus.NewDesc("container_memory_usage_bytes", "Current memory usage in bytes.", label, nil)
	g.working = prometheus.NewDesc("container_memory_working_set_bytes", "Current working set in bytes.", label, nil)
	if _, err := os.Stat(filepath.Join(g.root, "cgroup.controllers")); err != nil {
		return fmt.Errorf("%s: there are no control groups of version 2: %w", own, err)
	}
	registry := newRegistry()
	registry.MustRegister(g)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics(registry))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.Handle("GET /{$}", http.RedirectHandler("/containers/", http.StatusTemporaryRedirect))
	log := &lines{out: p.out}
	log.printf("Starting cAdvisor version: v0.60.5 (a stand-in) on port 8080")
	return p.serve(ctx, ":8080", mux)
}

// Describe sends nothing: which there are is known only when they are measured.
func (g *groups) Describe(chan<- *prometheus.Desc) {}

// Collect measures every group. One that ends meanwhile is left out.
func (g *groups) Collect(to chan<- prometheus.Metric) {
	// What cannot be looked into is not measured.
	_ = filepath.WalkDir(g.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		id := "/" + strings.Trim(strings.TrimPrefix(path, g.root), "/")
		if id == "/" || strings.HasPrefix(id, g.prefix) {
			g.measure(to, path, id)
		} else if !strings.HasPrefix(g.prefix, id+"/") {
			return fs.SkipDir
		}
		return nil
	})
}

func (g *groups) measure(to chan<- prometheus.Metric, path, id string) {
	if used, err := number(path, "cpu.stat", "usage_usec"); err == nil {
		to <- prometheus.MustNewConstMetric(g.cpu, prometheus.CounterValue, used/1e6, id, "total")
	}
	used, err := number(path, "memory.current", "")
	idle, idleErr := number(path, "memory.stat", "inactive_file")
	if errors.Join(err, idleErr) != nil {
		return // the machine's own has none
	}
	to <- prometheus.MustNewConstMetric(g.used, prometheus.GaugeValue, used, id)
	to <- prometheus.MustNewConstMetric(g.working, prometheus.GaugeValue, max(0, used-idle), id)
}

// number reads a number from a file of a group: the one after a key, or the only one.
func number(folder, name, key string) (float64, error) {
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return 0, err
	}
	if key == "" {
		return strconv.ParseFloat(string(bytes.TrimSpace(content)), 64)
	}
	for line := range strings.Lines(string(content)) {
		if found, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && found == key {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", name, key)
}
