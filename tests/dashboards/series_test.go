//go:build series

package dashboards

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// fixtures are scrapes of the programs; each says at its head where it is from.
const fixtures = "fixtures"

// wire is the scrape of the program that connects and measures the applications, to which its own
// test holds it.
const wire = "../../images/wire/internal/serve/testdata/metrics.prom"

// recordings is the file of the series that rules record, which dashboards and alerts ask for.
const recordings = "containers.yml.golden"

// rule is what is read of a rule; the rest is of no interest here.
type rule struct {
	Alert  string `yaml:"alert"`
	Record string `yaml:"record"`
	Expr   string `yaml:"expr"`
}

// rulesOf reads the rules of a file.
func rulesOf(t *testing.T, name string, data []byte) (out []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(data, &file), name)
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	require.NotEmpty(t, out, name)
	return out
}

// expressions returns what the dashboards ask and what the rules watch, by where it is asked.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for name, data := range boards(t) {
		panels, err := read(data)
		require.NoError(t, err, name)
		for _, p := range panels {
			for _, q := range p.Targets {
				if q.DataqueryType() == "prometheus" {
					text, err := json.Marshal(q)
					require.NoError(t, err)
					var r rule
					require.NoError(t, json.Unmarshal(text, &r))
					require.NotEmpty(t, r.Expr)
					out[r.Expr] = append(out[r.Expr], fmt.Sprintf("%s, panel %s", name, *p.Title))
				}
			}
		}
	}
	// Of applications that the example does not have.
	for name, data := range goldens(t, grafanaGoldens, "expressions-*.golden") {
		for expr := range strings.Lines(string(data)) {
			expr = strings.TrimSpace(expr)
			out[expr] = append(out[expr], name)
		}
	}
	for name, data := range goldens(t, rulesGoldens, "*.yml.golden") {
		for _, r := range rulesOf(t, name, data) {
			out[r.Expr] = append(out[r.Expr], fmt.Sprintf("%s, rule %s%s", name, r.Alert, r.Record))
		}
	}
	return out
}

// programs answers Prometheus for every program: as its proxy, so that the rendered addresses and
// labels stay as they are.
type programs struct {
	mutex   sync.Mutex
	missing []string
}

// files are what a program's answer consists of.
func (p *programs) files(u *url.URL) []string {
	fixture := func(name string) string { return filepath.Join(fixtures, name+".prom") }
	switch name := u.Hostname(); {
	case u.Path == "/probe":
		return []string{fixture("blackbox-probe")}
	case name == "node-exporter":
		return []string{fixture(name), fixture("machine")}
	case name == "wire":
		return []string{wire}
	default:
		return []string{fixture(name)}
	}
}

func (p *programs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var out []byte
	for _, name := range p.files(r.URL) {
		data, err := os.ReadFile(name)
		if err != nil {
			p.mutex.Lock()
			p.missing = append(p.missing, name)
			p.mutex.Unlock()
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		out = append(out, data...)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(out) // Prometheus says what it did not get
}

// configuration is the rendered one, with every scrape through the proxy, faster; of the rules it
// has those that record, and one of the test's own: the series ALERTS are Prometheus' own and exist
// while something fires.
func configuration(t *testing.T, proxy string) string {
	t.Helper()
	dir := t.TempDir()
	var c map[string]any
	require.NoError(t, yaml.Unmarshal(goldens(t, prometheusGoldens, "prometheus.golden")["prometheus.golden"], &c))
	delete(c, "alerting")
	c["global"].(map[string]any)["scrape_interval"] = "1s"
	c["global"].(map[string]any)["scrape_timeout"] = "1s"
	c["global"].(map[string]any)["evaluation_interval"] = "1s"
	for _, job := range c["scrape_configs"].([]any) {
		job.(map[string]any)["proxy_url"] = proxy
	}
	c["rule_files"] = []string{filepath.Join(dir, "rules.yml"), filepath.Join(dir, "containers.yml")}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "containers.yml"), goldens(t, rulesGoldens, recordings)[recordings], 0o600))
	rules := map[string]any{"groups": []any{map[string]any{"name": "test", "rules": []any{
		map[string]any{"alert": "Example", "expr": "vector(1)", "labels": map[string]string{"severity": "critical"}},
	}}}}
	for name, content := range map[string]any{"prometheus.yml": c, "rules.yml": rules} {
		data, err := yaml.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return filepath.Join(dir, "prometheus.yml")
}

// prometheus is a running Prometheus.
type prometheus struct{ api string }

// start starts the Prometheus of the version that is deployed.
func start(t *testing.T, config string) prometheus {
	t.Helper()
	find := exec.CommandContext(t.Context(), "go", "run", "./internal/toolchain/tool", "path", "prometheus")
	find.Dir, find.Stderr = "../..", os.Stderr
	path, err := find.Output()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	var log strings.Builder
	cmd := exec.Command(strings.TrimSpace(string(path)), "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &log, &log, 5*time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("prometheus ended by itself: %v", err)
		}
		_ = cmd.Wait() // the signal decides how it ends
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return prometheus{"http://" + address + "/api/v1/"}
}

// ask asks the API and reads what it answers.
func (p prometheus) ask(what string, query url.Values, data any) error {
	response, err := http.Get(p.api + what + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", what, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// scraped waits until Prometheus has what every program says, and what rules make of it.
func (p prometheus) scraped(t *testing.T) {
	t.Helper()
	var waiting []string
	made := []string{"ALERTS"}
	for _, r := range rulesOf(t, recordings, goldens(t, rulesGoldens, recordings)[recordings]) {
		made = append(made, r.Record)
	}
	ready := func() bool {
		var found struct {
			Targets []struct {
				URL    string `json:"scrapeUrl"`
				Health string `json:"health"`
				Error  string `json:"lastError"`
			} `json:"activeTargets"`
		}
		if err := p.ask("targets", nil, &found); err != nil {
			waiting = []string{err.Error()}
			return false
		}
		waiting = nil
		for _, series := range made {
			var answer struct {
				Result []any `json:"result"`
			}
			if err := p.ask("query", url.Values{"query": {series}}, &answer); err != nil || len(answer.Result) == 0 {
				waiting = append(waiting, fmt.Sprintf("%s: %v", series, err))
			}
		}
		for _, target := range found.Targets {
			if target.Health != "up" {
				waiting = append(waiting, target.URL+": "+target.Health+" "+target.Error)
			}
		}
		return len(found.Targets) > 0 && len(waiting) == 0
	}
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(200 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not scraped:\n%s", strings.Join(waiting, "\n"))
	}
}

// exists reports whether there is a series that a selector matches.
func (p prometheus) exists(t *testing.T, selector string) bool {
	t.Helper()
	var found []any
	require.NoError(t, p.ask("series", url.Values{"match[]": {selector}, "limit": {"1"}}, &found), selector)
	return len(found) > 0
}

// selectors returns the selectors of an expression.
func selectors(expr string) ([]string, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	var out []string
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			out = append(out, (&parser.VectorSelector{Name: s.Name, LabelMatchers: s.LabelMatchers}).String())
		}
		return nil
	})
	return out, nil
}

// A panel or an alert on a series that nobody has shows nothing, and never fires; nobody notices.
func TestEverySeriesExists(t *testing.T) {
	asked := expressions(t)
	answering := &programs{}
	proxy := httptest.NewServer(answering)
	t.Cleanup(proxy.Close)
	p := start(t, configuration(t, proxy.URL))
	p.scraped(t)
	require.Empty(t, answering.missing, "programs without a fixture")

	checked := 0
	for _, expr := range sorted(asked) {
		var result struct {
			Type string `json:"resultType"`
		}
		assert.NoError(t, p.ask("query", url.Values{"query": {expr}}, &result), "%s\nof %s", expr, strings.Join(asked[expr], "; "))
		found, err := selectors(expr)
		require.NoError(t, err, expr)
		for _, selector := range found {
			checked++
			assert.True(t, p.exists(t, selector), "nobody has %s\nof %s\nin %s", selector, strings.Join(asked[expr], "; "), expr)
		}
	}
	assert.Greater(t, checked, 100)
	// What the check is worth: none of these is there.
	for _, selector := range []string{
		"node_cpu_seconds", `up{job="nobody"}`, `homelab_filesystem_avail_bytes{mount="nowhere"}`, `caddy_http_requests_total{hostname!=""}`,
		`homelab:container_memory_working_set_bytes{service="nobody"}`,
	} {
		assert.False(t, p.exists(t, selector), selector)
	}
}

func sorted(m map[string][]string) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}
