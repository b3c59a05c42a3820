package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// golden is a file that the deployment renders.
func golden(t *testing.T, component, name string) string {
	t.Helper()
	content, err := os.ReadFile("../../../components/monitoring/internal/" + component + "/testdata/" + name + ".golden")
	require.NoError(t, err)
	return string(content)
}

// startLoki starts Loki with the deployment's file, and waits until it is ready.
func startLoki(m *machine) *running {
	m.t.Helper()
	m.write("/etc/loki/loki.yaml", golden(m.t, "loki", "loki.yaml"))
	require.NoError(m.t, os.MkdirAll(m.root+"/loki", 0o755))
	r := m.start(nil, "/usr/bin/loki", "-config.file=/etc/loki/loki.yaml")
	require.EventuallyWithT(m.t, func(c *assert.CollectT) {
		status, _ := r.ask("GET", "/ready", "")
		assert.Equal(c, 200, status)
	}, 10*time.Second, 50*time.Millisecond)
	return r
}

func push(labels, text string, at time.Time) string {
	return fmt.Sprintf(`{"streams":[{"stream":{%s},"values":[["%d",%q,{"unit":"x"}]]}]}`, labels, at.UnixNano(), text)
}

func TestLoki(t *testing.T) {
	m := newMachine(t)
	const labels = `"host":"homelab","layer":"chain","service":"caddy"`
	r := startLoki(m)
	run, p, _ := m.process(nil, "/usr/bin/loki", "-health")
	p.listen = strings.TrimPrefix(r.url, "http://")
	require.NoError(t, run(t.Context(), p))
	r.answers(204, "POST", "/loki/api/v1/push", push(labels, "a line", time.Now()))
	assert.Contains(t, r.answers(400, "POST", "/loki/api/v1/push", push(labels, "old", time.Now().Add(-49*time.Hour))), "greater_than_max_sample_age")
	assert.Contains(t, r.answers(400, "POST", "/loki/api/v1/push", push(labels+`,"job":"x"`, "labels", time.Now())), "max_label_names_per_series")
	r.answers(400, "POST", "/loki/api/v1/push", push(labels, "protobuf", time.Now()), "Content-Type", "application/x-protobuf")
	r.answers(405, "GET", "/loki/api/v1/push", "")
	r.answers(404, "POST", "/api/prom/push", "{}")
	assert.JSONEq(t, `{"status":"success","data":["host","layer","service"]}`, r.answers(200, "GET", "/loki/api/v1/labels", ""))
	assert.JSONEq(t, `{"status":"success","data":["caddy"]}`, r.answers(200, "GET", "/loki/api/v1/label/service/values", ""))
	measured := r.answers(200, "GET", "/metrics", "")
	assert.Contains(t, measured, `loki_distributor_lines_received_total{tenant="fake"} 3`)
	assert.Contains(t, measured, `loki_discarded_samples_total{reason="greater_than_max_sample_age",tenant="fake"} 1`)
	assert.Contains(t, measured, `loki_request_duration_seconds_count{method="POST",route="loki_api_v1_push",status_code="204",ws="false"} 1`)
	r.stop()

	again := startLoki(m)
	assert.Contains(t, again.answers(200, "GET", "/loki/api/v1/query_range?query=%7Bservice%3D%22caddy%22%7D", ""), "a line")
	assert.NotContains(t, again.answers(200, "GET", "/loki/api/v1/query_range?query=%7Bservice%3D%22caddy%22%7D%7C%3D%22other%22", ""), "a line")
	again.answers(400, "GET", "/loki/api/v1/query_range?query=rate", "")
}

func TestLokiRefuses(t *testing.T) {
	m := newMachine(t)
	file := golden(t, "loki", "loki.yaml")
	for problem, change := range map[string][2]string{
		"not found in type":     {"auth_enabled", "frontend: {}\nauth_enabled"},
		"asks port 3100 only":   {"3100", "3101"},
		"has no authentication": {"auth_enabled: false", "auth_enabled: true"},
	} {
		m.write("/etc/loki/loki.yaml", strings.Replace(file, change[0], change[1], 1))
		assert.Contains(t, m.refused(nil, "/usr/bin/loki", "-config.file=/etc/loki/loki.yaml"), problem)
	}
	assert.Contains(t, m.refused(nil, "/usr/bin/loki", "-health"), "refused")
}
