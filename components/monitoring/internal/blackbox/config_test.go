package blackbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/blackbox"
)

func TestConfig(t *testing.T) {
	got, err := blackbox.Config(example.Model())
	require.NoError(t, err)
	golden.Equal(t, "blackbox", got)
}

func TestConfigOfNothing(t *testing.T) {
	m := example.Model()
	m.Probes = nil
	got, err := blackbox.Config(m)
	require.NoError(t, err)
	golden.Equal(t, "nothing", got)
}

func TestConfigRefuses(t *testing.T) {
	m := example.Model()
	m.Host = ""
	m.Probes = []watch.Probe{{Hostname: "a.example.com", Address: "caddy:8443"}, {Hostname: "a.example.com", Address: "caddy:9443"}, {Address: "caddy:1"}}
	_, err := blackbox.Config(m)
	golden.Error(t, "refused", err)
}
