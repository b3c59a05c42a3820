package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"homelab/internal/standins/document"
)

// shipEvery is how often a shipper looks for new lines. The real ones follow them.
const shipEvery = 5 * time.Second

// pipeline is what a shipper is to do: what Alloy's file and Promtail's say in different ways.
type pipeline struct {
	// engine is where Docker is asked, and push where lines are sent.
	engine, push string
	// rules make a container's labels.
	rules []relabel
	// journal is the journal's folder, maxAge how old its entries may be, and machine their labels.
	journal string
	maxAge  time.Duration
	machine map[string]string
	// files are the labels of log files; __path__ is which.
	files []map[string]string
	// stages remove what is secret from a line.
	stages []replacement
	// keep are the labels that are sent.
	keep []string
}

// check returns what is missing.
func (p *pipeline) check() error {
	if p.journal == "" || p.maxAge <= 0 || len(p.machine) == 0 {
		return errors.New("the configuration says not where the journal is, how old its lines may be, and whose they are")
	}
	if p.engine == "" || p.push == "" || len(p.rules) == 0 || len(p.keep) == 0 || len(p.stages) == 0 {
		return errors.New("the configuration says not where from, where to, or with which labels and replacements")
	}
	return nil
}

// relabel is a rule of Prometheus' relabelling, of which replace and labelkeep are known.
type relabel struct {
	action, target, replacement string
	sources                     []string
	expression                  *regexp.Regexp
}

func newRelabel(action string, sources []string, expression, target, replacement string) (relabel, error) {
	if action == "" {
		action = "replace"
	}
	if expression == "" {
		expression = "(.*)"
	}
	if replacement == "" {
		replacement = "$1"
	}
	if action != "replace" && action != "labelkeep" || action == "replace" && target == "" {
		return relabel{}, fmt.Errorf("the stand-in knows no rule %q with target %q", action, target)
	}
	compiled, err := regexp.Compile("^(?:" + expression + ")$")
	return relabel{action, target, replacement, sources, compiled}, err
}

// apply changes labels.
func (r relabel) apply(labels map[string]string) {
	if r.action == "labelkeep" {
		for name := range labels {
			if !r.expression.MatchString(name) {
				delete(labels, name)
			}
		}
		return
	}
	values := make([]string, 0, len(r.sources))
	for _, source := range r.sources {
		values = append(values, labels[source])
	}
	joined := strings.Join(values, ";")
	match := r.expression.FindStringSubmatchIndex(joined)
	if match == nil {
		return
	}
	if value := string(r.expression.ExpandString(nil, r.replacement, joined, match)); value != "" {
		labels[r.target] = value
	} else {
		delete(labels, r.target)
	}
}

// replacement puts a text in the place of what the group of an expression holds.
type replacement struct {
	expression *regexp.Regexp
	by         string
}

func newReplacement(expression, by string) (replacement, error) {
	compiled, err := regexp.Compile(expression)
	if err == nil && compiled.NumSubexp() != 1 {
		err = fmt.Errorf("%q has not one group", expression)
	}
	return replacement{compiled, by}, err
}

func (r replacement) apply(line string) string {
	var out strings.Builder
	end := 0
	for _, match := range r.expression.FindAllStringSubmatchIndex(line, -1) {
		if from := match[2]; from >= end {
			out.WriteString(line[end:from] + r.by)
			end = match[3]
		}
	}
	return out.String() + line[end:]
}

// shipper reads lines and sends them.
type shipper struct {
	pipeline
	root string
	log  *lines
	// seen is what was sent already: the time of the newest line of a container, and the offset in
	// a file.
	seen positions
	kept *document.File
	book journals

	registry                   *prometheus.Registry
	containers, files, entries prometheus.Counter
	sent, refusedLines         prometheus.Counter
}

// positions are how far a shipper has come.
type positions struct {
	Containers map[string]time.Time
	Files      map[string]int64
	Journal    time.Time
}

// shipping is what differs between the shippers.
type shipping struct {
	title, ready, said, state, address string
	// counter is the series of how many lines of the journal were read.
	counter string
}

// ship runs a shipper.
func ship(ctx context.Context, p process, plan pipeline, of shipping) (err error) {
	if err := plan.check(); err != nil {
		return err
	}
	s := &shipper{pipeline: plan, root: p.root, log: &lines{out: p.out}, registry: newRegistry(),
		book: journals{folder: p.path(plan.journal), next: map[string]uint64{}}}
	if s.kept, err = document.Open(p.path(of.state)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.kept.Close()) }()
	if err := s.recall(); err != nil {
		return err
	}
	s.counters(of.counter)
	s.log.printf(`ts=%s level=warn msg="this is a stand-in for %s"`, time.Now().UTC().Format(time.RFC3339Nano), of.title)
	working, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(working)
	}()
	defer func() {
		stop()
		<-ended
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+of.ready, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, of.said) })
	mux.Handle("GET /metrics", metrics(s.registry))
	return p.serve(ctx, of.address, mux)
}

func (s *shipper) counters(journal string) {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		s.registry.MustRegister(c)
		return c
	}
	s.containers = counter("loki_source_docker_target_entries_total", "Lines that were read from containers.")
	s.files = counter("loki_source_file_read_lines_total", "Lines that were read from files.")
	s.entries = counter(journal, "Lines that were read from the journal.")
	s.sent = counter("loki_write_sent_entries_total", "Lines that were sent.")
	s.refusedLines = counter("loki_write_dropped_entries_total", "Lines that were refused for good.")
}

// recall reads how far an earlier process has come.
func (s *shipper) recall() error {
	s.seen = positions{map[string]time.Time{}, map[string]int64{}, time.Time{}}
	return decodeIfThere(s.kept.Content(), &s.seen)
}

func (s *shipper) run(ctx context.Context) {
	ticker := time.NewTicker(shipEvery)
	defer ticker.Stop()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.log.printf("ts=%s level=error msg=%q", time.Now().UTC().Format(time.RFC3339Nano), err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look sends what is new. What cannot be sent is read again the next time.
func (s *shipper) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return errors.Join(s.fromContainers(ctx), s.fromFiles(ctx), s.fromJournal(ctx), s.remember())
}

func (s *shipper) remember() error {
	content, err := encode(s.seen)
	if err != nil {
		return err
	}
	return s.kept.Write(content)
}

// fromFiles sends the whole lines that were added to the files.
func (s *shipper) fromFiles(ctx context.Context) error {
	var problems []error
	for _, labels := range s.pipeline.files {
		path := labels["__path__"]
		content, err := os.ReadFile(process{root: s.root}.path(path))
		if errors.Is(err, os.ErrNotExist) {
			continue // it is there once somebody writes to it
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		from := s.seen.Files[path]
		if from > int64(len(content)) {
			from = 0 // it was rotated
		}
		fresh := content[from:]
		end := strings.LastIndexByte(string(fresh), '\n') + 1
		var found []logLine
		for line := range strings.Lines(string(fresh[:end])) {
			found = append(found, logLine{Time: time.Now(), Labels: labels, Text: strings.TrimRight(line, "\r\n")})
		}
		s.files.Add(float64(len(found)))
		if err := s.send(ctx, found); err != nil {
			problems = append(problems, err)
			continue
		}
		s.seen.Files[path] = from + int64(end)
	}
	return errors.Join(problems...)
}

// fromJournal sends what the machine has noted.
func (s *shipper) fromJournal(ctx context.Context) error {
	after := s.seen.Journal
	if oldest := time.Now().Add(-s.maxAge); after.Before(oldest) {
		after = oldest
	}
	found, done, err := s.book.since(after)
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	all := make([]logLine, 0, len(found))
	for _, entry := range found {
		line := logLine{Time: entry.at, Labels: s.machine, Text: entry.fields["MESSAGE"]}
		if unit := entry.fields["_SYSTEMD_UNIT"]; unit != "" {
			line.Extra = map[string]string{"unit": unit}
		}
		all = append(all, line)
	}
	if err := s.send(ctx, all); err != nil {
		return err
	}
	done()
	s.entries.Add(float64(len(all)))
	if len(all) > 0 {
		s.seen.Journal = all[len(all)-1].Time
	}
	return nil
}
