package loki_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/loki"
)

func TestConfig(t *testing.T) {
	config, err := loki.Config(example.Model())
	require.NoError(t, err)
	golden.Equal(t, "loki.yaml", config)
}

func TestConfigOfABadModel(t *testing.T) {
	m := example.Model()
	m.Retention.LogsDays = 0
	_, err := loki.Config(m)
	golden.Error(t, "no-retention", err)
}

// What is stored does not depend on what is watched, so a service that comes or goes restarts
// nothing here.
func TestOnlyTheRetentionChangesTheFile(t *testing.T) {
	before, err := loki.Config(example.Model())
	require.NoError(t, err)
	m := example.Model()
	m.Subjects = m.Subjects[:1]
	m.Subjects[0].Uses = nil
	m.Probes, m.Domain, m.Host = nil, "example.net", "other"
	after, err := loki.Config(m)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))

	m.Retention = watch.Retention{MetricsDays: 1, MetricsGB: 1, LogsDays: 7}
	after, err = loki.Config(m)
	require.NoError(t, err)
	assert.Equal(t, string(bytes.ReplaceAll(before, []byte("336h"), []byte("168h"))), string(after))
}

// What would surprise, if somebody changed a number alone.
func TestLimitsFitEachOther(t *testing.T) {
	config, err := loki.Config(example.Model())
	require.NoError(t, err)
	var c struct {
		Ingester struct {
			WAL struct {
				Threshold float64 `yaml:"disk_full_threshold"`
			} `yaml:"wal"`
		} `yaml:"ingester"`
		Querier struct {
			Within string `yaml:"query_ingesters_within"`
		} `yaml:"querier"`
		Limits struct {
			Rate   float64 `yaml:"ingestion_rate_mb"`
			Burst  float64 `yaml:"ingestion_burst_size_mb"`
			Labels int     `yaml:"max_label_names_per_series"`
		} `yaml:"limits_config"`
	}
	require.NoError(t, yaml.Unmarshal(config, &c))
	assert.Greater(t, c.Limits.Burst, 1.0, "one push is 1 MiB")
	assert.Greater(t, c.Limits.Burst, c.Limits.Rate)
	assert.Equal(t, 3, c.Limits.Labels)
	assert.Greater(t, c.Ingester.WAL.Threshold, 0.0, "0 switches the stop at a full disk off")
	assert.Equal(t, "0s", c.Querier.Within, "what the ingester holds for longer would not be found")
}
