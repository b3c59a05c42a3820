package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"
)

// lokiPort is where Loki's own health check asks, whatever the configuration says.
const lokiPort = 3100

// lokiStarts is for how long Loki is not ready; the real one waits 15 seconds.
const lokiStarts = 2 * time.Second

// tenant is whose lines they are without authentication.
const tenant = "fake"

// lokiSettings is loki.yaml, as far as the stand-in does what it says. What it only knows is a node;
// everything else is refused.
type lokiSettings struct {
	AuthEnabled bool `yaml:"auth_enabled"`
	Server      struct {
		Port     int    `yaml:"http_listen_port"`
		GRPC     string `yaml:"grpc_listen_address"`
		LogLevel string `yaml:"log_level"`
	} `yaml:"server"`
	Common struct {
		Path     string    `yaml:"path_prefix"`
		Address  string    `yaml:"instance_addr"`
		Replicas int       `yaml:"replication_factor"`
		Ring     yaml.Node `yaml:"ring"`
		Storage  yaml.Node `yaml:"storage"`
	} `yaml:"common"`
	Limits     lokiLimits `yaml:"limits_config"`
	Schema     yaml.Node  `yaml:"schema_config"`
	Ingester   yaml.Node  `yaml:"ingester"`
	Querier    yaml.Node  `yaml:"querier"`
	QueryRange yaml.Node  `yaml:"query_range"`
	ChunkStore yaml.Node  `yaml:"chunk_store_config"`
	Compactor  yaml.Node  `yaml:"compactor"`
	Analytics  struct {
		Reporting bool `yaml:"reporting_enabled"`
	} `yaml:"analytics"`
}

// lokiLimits are those that the stand-in keeps; the others are yaml.Nodes.
type lokiLimits struct {
	Retention       duration  `yaml:"retention_period"`
	RejectOld       bool      `yaml:"reject_old_samples"`
	OldestLine      duration  `yaml:"reject_old_samples_max_age"`
	MaxLine         string    `yaml:"max_line_size"`
	TruncateLine    bool      `yaml:"max_line_size_truncate"`
	MaxLabels       int       `yaml:"max_label_names_per_series"`
	MaxStreams      int       `yaml:"max_global_streams_per_user"`
	Deletion        yaml.Node `yaml:"deletion_mode"`
	Lookback        yaml.Node `yaml:"max_query_lookback"`
	QueryLength     yaml.Node `yaml:"max_query_length"`
	Rate            yaml.Node `yaml:"ingestion_rate_mb"`
	Burst           yaml.Node `yaml:"ingestion_burst_size_mb"`
	StreamRate      yaml.Node `yaml:"per_stream_rate_limit"`
	StreamBurst     yaml.Node `yaml:"per_stream_rate_limit_burst"`
	DiscoverService yaml.Node `yaml:"discover_service_name"`
	Shards          yaml.Node `yaml:"shard_streams"`
}

// duration is written as Go writes one.
type duration time.Duration

// UnmarshalYAML reads it.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	read, err := time.ParseDuration(node.Value)
	*d = duration(read)
	return err
}

// readLoki reads loki.yaml.
func readLoki(path string) (*lokiSettings, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	set := &lokiSettings{}
	if err := decoder.Decode(set); err != nil {
		return nil, fmt.Errorf("failed parsing config: %w", err)
	}
	var problems []error
	require := func(ok bool, what string) {
		if !ok {
			problems = append(problems, errors.New(what))
		}
	}
	require(!set.AuthEnabled && !set.Analytics.Reporting, "the stand-in has no authentication, and reports nothing")
	require(set.Server.Port == lokiPort, "the health check asks port 3100 only")
	require(strings.HasPrefix(set.Common.Path, "/"), "common.path_prefix is no absolute path")
	require(set.Limits.MaxLabels > 0 && set.Limits.MaxStreams > 0 && set.Limits.Retention > 0, "limits_config is not complete")
	require(set.Limits.RejectOld && set.Limits.OldestLine > 0 && set.Limits.TruncateLine, "the stand-in refuses old lines, and shortens long ones")
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// loki keeps lines and answers simple questions for them.
func loki(ctx context.Context, p process) (err error) {
	if len(p.args) == 1 && p.args[0] == "-health" {
		return lokiHealth(ctx, p)
	}
	given, err := parse("loki", p.args, "config.file")
	if err != nil {
		return err
	}
	set, err := readLoki(p.path(given["config.file"]))
	if err != nil {
		return err
	}
	limit, err := bytesOf(set.Limits.MaxLine)
	if err != nil {
		return err
	}
	kept, err := openLineStore(p.path(set.Common.Path), lineLimits{
		oldest: time.Duration(set.Limits.OldestLine), retention: time.Duration(set.Limits.Retention), line: limit,
		labels: set.Limits.MaxLabels, streams: set.Limits.MaxStreams,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.close()) }()
	l := newLokiServer(kept)
	log := &lines{out: p.out}
	log.printf(`level=warn ts=%s caller=standin msg="this is a stand-in for Loki 3.7.8"`, time.Now().UTC().Format(time.RFC3339Nano))
	return p.serve(ctx, ":"+strconv.Itoa(set.Server.Port), l.routes())
}

// lokiHealth is what the health check runs.
func lokiHealth(ctx context.Context, p process) error {
	address := fmt.Sprintf("localhost:%d", lokiPort)
	if p.listen != "" {
		address = p.listen
	}
	return succeeds(ctx, http.MethodGet, "http://"+address+"/ready")
}

// bytesOf reads a size such as 64KB.
func bytesOf(text string) (int, error) {
	number, ok := strings.CutSuffix(text, "KB")
	size, err := strconv.Atoi(number)
	if err != nil || !ok || size <= 0 {
		return 0, fmt.Errorf("%q is no size in KB", text)
	}
	return size << 10, nil
}

// lokiServer is Loki's API.
type lokiServer struct {
	lines *lineStore
	began time.Time

	took      *prometheus.HistogramVec
	received  prometheus.Counter
	discarded *prometheus.CounterVec
	registry  *prometheus.Registry
}

func newLokiServer(kept *lineStore) *lokiServer {
	l := &lokiServer{lines: kept, began: time.Now(), registry: newRegistry()}
	l.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "loki_request_duration_seconds", Help: "Time (in seconds) spent serving HTTP requests."},
		[]string{"method", "route", "status_code", "ws"})
	received := prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "loki_distributor_lines_received_total", Help: "The total number of lines received per tenant"}, []string{"tenant"})
	l.received = received.WithLabelValues(tenant)
	l.discarded = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "loki_discarded_samples_total", Help: "The total number of samples that were discarded."},
		[]string{"reason", "tenant"})
	full := prometheus.NewCounter(prometheus.CounterOpts{Name: "loki_ingester_wal_disk_full_failures_total", Help: "Writes that failed because the disk is full."})
	l.registry.MustRegister(l.took, received, l.discarded, full)
	return l
}

func (l *lokiServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if time.Since(l.began) < lokiStarts {
			http.Error(w, "Ingester not ready: waiting for 15s after being ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", metrics(l.registry))
	l.route(mux, "POST /loki/api/v1/push", l.push)
	l.route(mux, "GET /loki/api/v1/labels", l.labels)
	l.route(mux, "GET /loki/api/v1/label/{name}/values", l.values)
	l.route(mux, "GET /loki/api/v1/query_range", l.queryRange)
	return mux
}

// route adds a route whose answers are measured.
func (l *lokiServer) route(mux *http.ServeMux, pattern string, handler func(r *http.Request) (status int, answer any)) {
	method, path, _ := strings.Cut(pattern, " ")
	name := strings.NewReplacer("/", "_", "{", "", "}", "").Replace(strings.TrimPrefix(path, "/"))
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		status, answer := handler(r)
		respond(w, status, answer)
		l.took.WithLabelValues(method, name, strconv.Itoa(status), "false").Observe(time.Since(began).Seconds())
	})
}
