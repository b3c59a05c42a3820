package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The series that are asked for. The machine's own program writes them, and node-exporter passes
// them on.
const (
	ContainerHealthy = "homelab_container_healthy"
	ContainerRunning = "homelab_container_running"
	FilesystemSize   = "homelab_filesystem_size_bytes"
	FilesystemAvail  = "homelab_filesystem_avail_bytes"
	MediaMounted     = "homelab_media_mounted"
	BackupSuccess    = "homelab_backup_last_success_timestamp_seconds"
	BackupFailed     = "homelab_backup_failed"
	DrillSuccess     = "homelab_drill_last_success_timestamp_seconds"
	DrillFailed      = "homelab_drill_failed"
	VPNUp            = "homelab_vpn_up"
	VPNLeaking       = "homelab_vpn_leaking"
	VPNPort          = "homelab_vpn_forwarded_port"
	ListeningPort    = "homelab_torrent_listening_port"
	RebootRequired   = "homelab_reboot_required"
	LastRun          = "homelab_metrics_last_run_timestamp_seconds"
)

// ServiceLabel is the label with the container's name: Prometheus renames the one of the machine's
// program when it fetches the series.
const ServiceLabel = "service"

// Names returns the names of the series that are asked for.
func Names() []string {
	return []string{
		ContainerHealthy, ContainerRunning, FilesystemSize, FilesystemAvail, MediaMounted, BackupSuccess, BackupFailed,
		DrillSuccess, DrillFailed, VPNUp, VPNLeaking, VPNPort, ListeningPort, RebootRequired, LastRun,
	}
}

// Query is the one query that is asked: every series at the same moment.
func Query() string { return `{__name__=~"` + strings.Join(Names(), "|") + `"}` }

// Sample is one series at a moment.
type Sample struct {
	// Labels are all labels but the name.
	Labels map[string]string
	// Value is finite.
	Value float64
}

// Series are samples by the series' name.
type Series map[string][]Sample

// Value returns the value of the first series of a name whose label has a value; an empty label
// asks for any series of the name.
func (s Series) Value(name, label, value string) (float64, bool) {
	for _, sample := range s[name] {
		if label == "" || sample.Labels[label] == value {
			return sample.Value, true
		}
	}
	return 0, false
}

// Is reports whether a series of this name is there, and whether it is not 0.
func (s Series) Is(name, label, value string) (yes, known bool) {
	v, known := s.Value(name, label, value)
	return v != 0, known
}

// Time returns the moment that the value of a series means. 0 means never.
func (s Series) Time(name string) (time.Time, bool) {
	v, ok := s.Value(name, "", "")
	// Before 1970 and after 9999 there is no such moment.
	if !ok || v <= 0 || v > 253402300799 {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(v)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// askPrometheus asks for all series.
// https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
func (m *Monitor) askPrometheus(ctx context.Context) (Series, error) {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Metric map[string]string `json:"metric"`
				Value  []json.RawMessage `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := m.ask(ctx, m.page.Prometheus, "/api/v1/query", url.Values{"query": {Query()}}, &answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" || answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("asking for series: status %.40q, result %.40q: %w", answer.Status, answer.Data.ResultType, errAnswer)
	}
	series := Series{}
	for _, result := range answer.Data.Result {
		// A pair: the moment, and the value as a string.
		var text string
		if len(result.Value) != 2 || json.Unmarshal(result.Value[1], &text) != nil {
			return nil, fmt.Errorf("asking for series: a sample without a value: %w", errAnswer)
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("asking for series: the value %.40q: %w", text, errAnswer)
		}
		if math.IsNaN(value) || math.IsInf(value, 0) {
			continue // says nothing, like a series that is not there
		}
		name := result.Metric["__name__"]
		delete(result.Metric, "__name__")
		series[name] = append(series[name], Sample{Labels: result.Metric, Value: value})
	}
	return series, nil
}
