//go:build chain

package chain

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/programs"
)

// lapse is how much faster time passes for the monitoring: in its files, everything that is a time
// is that much shorter.
const lapse = 60

// Where the deployment puts the files of the monitoring.
const (
	prometheusFiles   = "/opt/homelab/prometheus/files-etc-prometheus/"
	alertmanagerFiles = "/opt/homelab/alertmanager/files-etc-alertmanager/"
	machineSeries     = "/opt/homelab/metrics/homelab.prom"
)

// The operator's receiver is on the internet.
const (
	operatorAddress = "9.9.9.10/24"
	operatorPort    = 8080
)

// watching is the monitoring of the machine, running from the deployment's files.
type watching struct {
	*stage
	began    time.Time
	operator mailbox
	// down are containers that do not run.
	down sync.Map
	// real are the containers of the monitoring whose programs run.
	real map[string]programs.Program
}

// notified is what Alertmanager posts to a webhook.
type notified struct {
	Alerts []struct {
		Status string            `json:"status"`
		Labels map[string]string `json:"labels"`
	} `json:"alerts"`
}

// mailbox is where messages arrive.
type mailbox struct {
	sync.Mutex
	got []string
	at  []string // the addresses that they were posted to
}

func (m *mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message notified
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.Lock()
	defer m.Unlock()
	m.at = append(m.at, r.URL.String())
	for _, a := range message.Alerts {
		if a.Labels["service"] == "machine" {
			continue // the one that this test runs on: its clock may run free
		}
		m.got = append(m.got, fmt.Sprintf("%s %s of %s", a.Status, a.Labels["alertname"], a.Labels["service"]))
	}
}

// messages are all that have arrived, as "status alert of service", in order.
func (m *mailbox) messages() []string {
	m.Lock()
	defer m.Unlock()
	return slices.Clone(m.got)
}

// watch starts the programs of the monitoring that can run here, and recordings of the others.
func (s *stage) watch(t *testing.T) *watching {
	t.Helper()
	w := &watching{stage: s, began: time.Now()}
	var err error
	w.real, err = programs.Monitoring(t.Context(), os.Stderr)
	require.NoError(t, err)
	ports := w.hasten(t)
	require.NoError(t, s.Join(slices.Sorted(maps.Keys(ports))...))
	w.receive(t)
	w.report(t)
	for name, port := range ports {
		if _, real := w.real[name]; !real {
			w.replay(t, name, port)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.real)) {
		var mounts []box.Mount
		if name == "blackbox" { // the proxy's authority is its own; see withLocalAuthority
			root := filepath.Join(t.TempDir(), "ca-certificates.crt")
			text, err := os.ReadFile(s.authorityFile())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(root, text, 0o644))
			mounts = append(mounts, box.Mount{Target: "/etc/ssl/certs/ca-certificates.crt", Source: root, ReadOnly: true})
		}
		require.NoError(t, s.Run(name, w.real[name], mounts...))
	}
	t.Cleanup(func() {
		for name := range w.real {
			if t.Failed() {
				t.Logf("the end of the log of %s:\n%s", name, s.Log(name))
			}
			s.Box(name).Kill()
		}
	})
	for name := range w.real {
		require.NoError(t, s.Healthy(t.Context(), name))
	}
	return w
}

// duration finds a time in a rendered file: an interval, a range of an expression or its offset.
var duration = regexp.MustCompile(`(?m)(^\s*(?:- )?(?:for|keep_firing_for|group_wait|group_interval|repeat_interval): |\[|offset )(\d+)([smhd])(\]|$|\b)`)

// inLapse makes the times of a rendered file shorter. Each old text beside them must be there.
func inLapse(t *testing.T, text string, oldnew ...string) string {
	t.Helper()
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	text = duration.ReplaceAllStringFunc(text, func(found string) string {
		parts := duration.FindStringSubmatch(found)
		number, err := strconv.Atoi(parts[2])
		require.NoError(t, err)
		return fmt.Sprintf("%s%dms%s", parts[1], (time.Duration(number) * unit[parts[3]] / lapse).Milliseconds(), parts[4])
	})
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, text, oldnew[i])
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// edit changes a file of the machine. Its owner and mode stay.
func (s *stage) edit(t *testing.T, file string, change func(string) string) {
	t.Helper()
	path := s.Deployment.Path(file)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(change(string(text))), 0))
}

// hasten makes the times in the files of Prometheus and Alertmanager shorter, and returns the
// containers that are scraped with their ports, without those of the gateway.
func (w *watching) hasten(t *testing.T) map[string]int {
	t.Helper()
	ports := map[string]int{}
	w.edit(t, prometheusFiles+"prometheus.yml", func(text string) string {
		for _, found := range regexp.MustCompile(`(?m)^ +- ([a-z-]+):(\d+)$`).FindAllStringSubmatch(text, -1) {
			if !slices.Contains([]string{"authelia", "caddy", "crowdsec"}, found[1]) {
				port, err := strconv.Atoi(found[2])
				require.NoError(t, err)
				ports[found[1]] = port
			}
		}
		return inLapse(t, text, "scrape_interval: 30s", "scrape_interval: 1500ms", "scrape_timeout: 10s", "scrape_timeout: 1500ms",
			"evaluation_interval: 30s", "evaluation_interval: 500ms")
	})
	rules, err := filepath.Glob(w.Deployment.Path(prometheusFiles + "rules/*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, rules)
	for _, path := range rules {
		w.edit(t, prometheusFiles+"rules/"+filepath.Base(path), func(text string) string {
			if filepath.Base(path) != "chain.yml" {
				return inLapse(t, text)
			}
			// The proxy still asks for decisions every ten seconds.
			return inLapse(t, text, "homelab_guard_last_pull_timestamp_seconds > 120", "homelab_guard_last_pull_timestamp_seconds > 12")
		})
	}
	w.edit(t, alertmanagerFiles+"alertmanager.yml", func(text string) string { return inLapse(t, text) })
	return ports
}

// receive is the operator, whose address is in the file of the webhook in place of the deployment's.
func (w *watching) receive(t *testing.T) {
	t.Helper()
	address := netip.MustParsePrefix(operatorAddress)
	outside, err := w.Outside("operator", address)
	require.NoError(t, err)
	listener, err := outside.Listen(fmt.Sprintf(":%d", operatorPort))
	require.NoError(t, err)
	server := &http.Server{Handler: &w.operator, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, outside.Close())
	})
	w.edit(t, alertmanagerFiles+"secrets/webhook", func(text string) string {
		told, err := url.Parse(strings.TrimSpace(text))
		require.NoError(t, err)
		told.Scheme, told.Host = "http", netip.AddrPortFrom(address.Addr(), operatorPort).String()
		return told.String()
	})
}

// subjects are the containers that the deployment watches: each has its file of rules.
func (w *watching) subjects(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(w.Deployment.Path(prometheusFiles + "rules/service-*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var out []string
	for _, path := range files {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "service-"), ".yml"))
	}
	return out
}

// report says again and again what the machine's own program would: that all is well, but for what
// is down.
func (w *watching) report(t *testing.T) {
	t.Helper()
	subjects := w.subjects(t)
	path := w.Deployment.Path(machineSeries)
	write := func() error {
		var out strings.Builder
		out.WriteString("homelab_media_mounted 1\nhomelab_vpn_up 1\nhomelab_tailnet_connected 1\nhomelab_fail2ban_banned{jail=\"sshd\"} 0\n")
		for _, name := range []string{"metrics_last_run", "backup_last_success", "drill_last_success"} {
			fmt.Fprintf(&out, "homelab_%s_timestamp_seconds %d\n", name, time.Now().Unix())
		}
		for _, name := range subjects {
			up := 1
			if _, down := w.down.Load(name); down {
				up = 0
			}
			fmt.Fprintf(&out, "homelab_container_running{container=%[1]q} %[2]d\nhomelab_container_healthy{container=%[1]q} %[2]d\nhomelab_container_info{container=%[1]q,id=%[3]q} 1\n",
				name, up, groupOf(name))
		}
		if err := os.WriteFile(path+".new", []byte(out.String()), 0o644); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	require.NoError(t, write())
	ended, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		for ended.Err() == nil {
			time.Sleep(time.Minute / lapse)
			_ = write() // its age is measured
		}
	}()
}

// group finds the control group of a container in a series of cAdvisor.
var group = regexp.MustCompile(`/system\.slice/docker-[0-9a-f]{64}\.scope`)

// groupOf is the control group that a container would have.
func groupOf(name string) string {
	return fmt.Sprintf("/system.slice/docker-%x.scope", sha256.Sum256([]byte(name)))
}

// ofEveryContainer is what cAdvisor recorded of one container, for each that the deployment watches.
func (w *watching) ofEveryContainer(t *testing.T, recorded string) string {
	t.Helper()
	one := group.FindString(recorded)
	require.NotEmpty(t, one)
	var out strings.Builder
	for line := range strings.Lines(recorded) {
		switch found := group.FindString(line); found {
		case "":
			out.WriteString(line)
		case one:
			for _, name := range w.subjects(t) {
				out.WriteString(strings.Replace(line, one, groupOf(name), 1))
			}
		}
	}
	return out.String()
}

// recording is where the series of a program are that does not run here.
func recording(name string) string {
	if name == "wire" {
		return "images/wire/internal/serve/testdata/metrics.prom"
	}
	return "tests/dashboards/fixtures/" + name + ".prom"
}

// wrong are series of the wiring's recording that say that something is wrong.
var wrong = regexp.MustCompile(`(?m)^((?:homelab_app_health_issues|homelab_app_queue|homelab_wire_drift|homelab_wire_warnings)\{.*\}) \S+$`)

// counts are counters whose standing still is an alert.
var counts = regexp.MustCompile(`(?m)^((?:loki_distributor_lines_received_total|loki_source_journal_target_lines_total)\{.*\}) (\S+)$`)

// replay serves a recording where a container's program would serve its series.
func (w *watching) replay(t *testing.T, name string, port int) {
	t.Helper()
	root, err := toolchain.Root()
	require.NoError(t, err)
	recorded, err := os.ReadFile(filepath.Join(root, recording(name)))
	require.NoError(t, err, "nothing is recorded of %s", name)
	text := wrong.ReplaceAllString(string(recorded), "$1 0")
	if name == "cadvisor" {
		text = w.ofEveryContainer(t, text)
	}
	listener, err := w.Inside(name).Listen(fmt.Sprintf(":%d", port))
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		now := counts.ReplaceAllString(text, fmt.Sprintf("$1 %d", time.Since(w.began).Milliseconds()))
		_, _ = io.WriteString(out, now)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
}

// api asks Prometheus, as somebody inside its container.
func (w *watching) api(t require.TestingT, path string, into any) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return w.Inside("prometheus").DialContext(ctx, network, address)
		},
	}}
	answer, err := client.Get("http://127.0.0.1:9090/api/v1/" + path)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	require.Equal(t, http.StatusOK, answer.StatusCode, path)
	require.NoError(t, json.NewDecoder(answer.Body).Decode(into))
}

// sample is a series with its value.
type sample struct {
	labels map[string]string
	value  float64
}

// query returns the results of an expression.
func (w *watching) query(t require.TestingT, expr string) []sample {
	var out struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	w.api(t, "query?query="+url.QueryEscape(expr), &out)
	var samples []sample
	for _, r := range out.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		require.NoError(t, err)
		samples = append(samples, sample{r.Metric, value})
	}
	return samples
}

// total is the sum of the results of an expression.
func (w *watching) total(t require.TestingT, expr string) float64 {
	var out float64
	for _, s := range w.query(t, expr) {
		out += s.value
	}
	return out
}
