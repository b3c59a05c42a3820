// Package loki renders the configuration of Loki, which keeps the log lines: one process, its data
// on the machine's disk, and every limit a small one.
//
// Loki is licensed under the AGPL, so nothing of it is imported: the types here hold the keys that
// are used, as https://grafana.com/docs/loki/v3.7.x/configure/ describes them.
package loki

import (
	"bytes"
	"fmt"
	"time"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/watch"
)

const (
	// Port is where lines are sent to, and asked for; metrics are at /metrics.
	Port = 3100
	// ConfigPath is where the container finds the configuration.
	ConfigPath = "/etc/loki/loki.yaml"
	// DataPath is the only folder that Loki writes to, beside /tmp.
	DataPath = "/loki"
	// OldestLine is how old a line may be when it arrives. A shipper that has forgotten what it has
	// sent sends no older ones twice; one that was away for longer has lost them.
	OldestLine = 48 * time.Hour
)

// header stands at the top of the file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// Arguments are the program's arguments.
func Arguments() []string { return []string{"-config.file=" + ConfigPath} }

// Health is the command of the health check: the image holds no other program. It asks
// localhost:3100/ready (https://github.com/grafana/loki/issues/20149).
func Health() []string { return []string{"/usr/bin/loki", "-health"} }

// PushURL is where a shipper sends lines.
func PushURL() string { return fmt.Sprintf("http://loki:%d/loki/api/v1/push", Port) }

// Config renders loki.yaml.
func Config(m watch.Model) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the configuration of loki: %w", err)
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(settings(m.Retention.LogsDays)); err != nil {
		return nil, fmt.Errorf("rendering the configuration of loki: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("rendering the configuration of loki: %w", err)
	}
	return out.Bytes(), nil
}

func settings(days int) configuration {
	retention := duration(time.Duration(days) * 24 * time.Hour)
	return configuration{
		Server: server{HTTPListenPort: Port, GRPCListenAddress: "127.0.0.1", LogLevel: "warn"},
		Common: common{
			InstanceAddr: "127.0.0.1", PathPrefix: DataPath, ReplicationFactor: 1, Ring: ring{KVStore: kvStore{Store: "inmemory"}},
			Storage: commonStorage{Filesystem: commonFilesystem{Chunks: DataPath + "/chunks", Rules: DataPath + "/rules"}},
		},
		Schema: schemaConfig{Configs: []schemaPeriod{{
			From: "2026-01-01", Store: "tsdb", ObjectStore: filesystem, Schema: "v13", Index: schemaIndex{Prefix: "index_", Period: "24h"},
		}}},
		Ingester: ingester{
			// Lines up to half of this behind the newest of their stream are taken: a container's
			// own output may arrive hours after the log file that the same program writes.
			MaxChunkAge: "12h",
			WAL:         wal{ReplayMemoryCeiling: "128MB", DiskFullThreshold: 0.8},
		},
		// All of them: those of the ingester are looked at for 3 hours only, which is less than it
		// holds.
		Querier:    querier{QueryIngestersWithin: "0s"},
		QueryRange: queryRange{ResultsCache: resultsCache{Cache: cached(cacheMB)}},
		ChunkStore: chunkStore{ChunkCache: cached(cacheMB)},
		Compactor: compactor{
			WorkingDirectory: DataPath + "/compactor", RetentionEnabled: true, DeleteRequestStore: filesystem,
		},
		Limits: limits{
			DeletionMode:    "disabled",
			RetentionPeriod: retention, MaxQueryLookback: retention, MaxQueryLength: "0s",
			RejectOldSamples: true, RejectOldSamplesMaxAge: duration(OldestLine),
			IngestionRateMB: 1, IngestionBurstSizeMB: 8, PerStreamRateLimit: "64KB", PerStreamRateLimitBurst: "4MB",
			MaxLineSize: "64KB", MaxLineSizeTruncate: true,
			MaxLabelNamesPerSeries: len(Labels()), MaxGlobalStreamsPerUser: 500, DiscoverServiceName: []string{},
		},
		Analytics: analytics{ReportingEnabled: false},
	}
}

// Labels are the labels that a stream has, sorted. Loki refuses a line with more.
func Labels() []string { return []string{"host", "layer", "service"} }

// filesystem is the store on the machine's disk.
const filesystem = "filesystem"

// cacheMB is the size of each cache in memory; the default, 100 MB each, is most of the container's
// limit.
const cacheMB = 32

func cached(megabytes int) cache {
	return cache{Embedded: embeddedCache{Enabled: true, MaxSizeMB: megabytes}}
}

// duration writes whole hours as Loki reads them.
func duration(d time.Duration) string { return fmt.Sprintf("%dh", int(d.Hours())) }
