package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var cadvisorCommand = []string{
	"/usr/bin/cadvisor", "-logtostderr", "--raw_cgroup_prefix_whitelist=/system.slice/docker-", "--docker=", "--enable_metrics=cpu,memory",
	"--housekeeping_interval=30s",
}

func TestCAdvisor(t *testing.T) {
	m := newMachine(t)
	id := "/system.slice/docker-" + strings.Repeat("0a", 32) + ".scope"
	m.write(controlGroups+"/cgroup.controllers", "cpu memory\n")
	m.write(controlGroups+"/cpu.stat", "usage_usec 5000000\nuser_usec 1\n")
	for _, group := range []string{id, "/system.slice/ssh.service", "/user.slice"} {
		m.write(controlGroups+group+"/cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
		m.write(controlGroups+group+"/memory.current", "1000000\n")
		m.write(controlGroups+group+"/memory.stat", "anon 1\ninactive_file 400000\n")
	}
	r := m.start(nil, cadvisorCommand...)
	assert.Equal(t, "ok", r.answers(200, "GET", "/healthz", ""))
	r.answers(404, "GET", "/health", "")
	r.answers(405, "POST", "/metrics", "")
	measured := r.answers(200, "GET", "/metrics", "")
	assert.Contains(t, measured, `container_cpu_usage_seconds_total{cpu="total",id="`+id+`"} 1.5`)
	assert.Contains(t, measured, `container_memory_working_set_bytes{id="`+id+`"} 600000`)
	assert.Contains(t, measured, `container_cpu_usage_seconds_total{cpu="total",id="/"} 5`)
	assert.NotContains(t, measured, "ssh.service")
	assert.NotContains(t, measured, "user.slice")
}

func TestCAdvisorRefuses(t *testing.T) {
	m := newMachine(t)
	assert.Contains(t, m.refused(nil, cadvisorCommand...), "no control groups")
	asks := []string{"/usr/bin/cadvisor", "--docker=unix:///x", "--enable_metrics=cpu,memory", "--raw_cgroup_prefix_whitelist=/"}
	assert.Contains(t, m.refused(nil, asks...), "asks no Docker")
	assert.Contains(t, m.refused(nil, "/usr/bin/cadvisor", "--port=1"), "has no flag")
}
