//go:build unix

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// prober answers in the place of homelab-machine, and keeps what it was told to look at.
type prober struct {
	told   rehearsal.ProbeOptions
	report rehearsal.ProbeReport
	stops  int
}

func (p *prober) serve(t *testing.T, state string) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(state, machinesDir, rehearsal.SocketFile))
	require.NoError(t, err)
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/ping", func(w http.ResponseWriter, _ *http.Request) { answer(w, struct{}{}) })
	mux.HandleFunc("POST /v1/machines", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []rehearsal.Machine{{ID: "100000001", Name: "homelab-a1b2c3", Running: true}})
	})
	mux.HandleFunc("POST /v1/start-probe", func(w http.ResponseWriter, r *http.Request) {
		if json.NewDecoder(r.Body).Decode(&p.told) != nil || p.told.Machine != "100000001" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			answer(w, rehearsal.Failure{Error: "there is no machine"})
			return
		}
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /v1/stop-probe", func(w http.ResponseWriter, _ *http.Request) {
		p.stops++
		answer(w, p.report)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// deployed writes a state as the engine keeps it.
func deployed(t *testing.T, state, latest string) {
	t.Helper()
	folder := filepath.Join(state, "backend", ".pulumi", "stacks", "homelab")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "prod.json"), []byte(`{"version": 3, "checkpoint": {"stack": "organization/homelab/prod"`+latest+`}}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "prod.json.bak"), []byte(`{}`), 0o600))
}

const twoContainers = `, "latest": {"manifest": {}, "resources": [
	{"urn": "urn:pulumi:prod::homelab::pulumi:pulumi:Stack::homelab-prod", "type": "pulumi:pulumi:Stack"},
	{"urn": "urn:pulumi:prod::homelab::docker:index/container:Container::radarr", "type": "docker:index/container:Container", "custom": true, "id": "1",
	 "inputs": {"name": "radarr", "networksAdvanced": [{"name": "n", "ipv4Address": "172.30.1.2"}]}, "outputs": {}},
	{"urn": "urn:pulumi:prod::homelab::docker:index/container:Container::jellyfin", "type": "docker:index/container:Container", "custom": true, "id": "2",
	 "inputs": {"name": "jellyfin", "networksAdvanced": [{"name": "n", "ipv4Address": "172.30.1.3"}]}, "outputs": {}},
	{"urn": "urn:pulumi:prod::homelab::command:remote:Command::radarr-reach", "type": "command:remote:Command", "custom": true, "id": "3",
	 "inputs": {"create": "sudo -n /usr/local/sbin/homelab-file put 0400 root:root /opt/homelab/firewall/container-radarr.nft && sudo -n /usr/local/sbin/homelab-unit firewall",
	            "stdin": "add element inet homelab_containers edges { 172.30.1.2 . 172.30.1.3 . 8096 }\nadd element inet homelab_containers internet { 172.30.1.2 }\n"}, "outputs": {}}
]}`

func TestMachineProbe(t *testing.T) {
	schema := strictSchema(t, "../../docs/probe.schema.json", "finding", "looks") // the shell is elsewhere
	s := newShell(t, plainStack)
	state := keptMachine(t)
	p := &prober{report: rehearsal.ProbeReport{
		Seen:  []rehearsal.ProbeFinding{{Where: "inside radarr", Protocol: "tcp", Port: 8096, Answer: rehearsal.ProbeOpen, What: "jellyfin at 172.30.1.3", Times: 2}},
		Looks: []rehearsal.ProbeLooks{{Where: "an admin", Passes: 3, Sweeps: 1, LongestGap: 250 * time.Millisecond}}, Took: time.Second, Forbidden: []rehearsal.ProbeFinding{}, Problems: []string{},
	}}
	p.serve(t, state)
	run := func(args ...string) (int, string, string) {
		return s.run(append([]string{"machine", "probe", "--simulate", "--state", state}, args...)...)
	}
	code, _, errOut := run()
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "no stack is kept in")
	assert.Contains(t, errOut, "homelab up --simulate --machine --state "+state+" deploys")
	deployed(t, state, "")
	code, _, errOut = run()
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "has not been deployed yet")
	deployed(t, state, twoContainers)

	code, out, errOut := run("--for", "10ms")
	require.Equal(t, exitOK, code, errOut)
	assert.Contains(t, errOut, "looking at homelab-a1b2c3 for 10ms: 0 hostnames, 2 containers, 1 edges")
	assert.Contains(t, out, "an admin: 3 passes, everything 1 times")
	assert.Contains(t, out, "allowed: inside radarr: tcp 8096 (jellyfin at 172.30.1.3) open, 2 times")
	assert.Equal(t, 1, p.stops)
	assert.Equal(t, rehearsal.ProbeOptions{Machine: "100000001", Longest: 10*time.Millisecond + probeMargin, Declared: rehearsal.Declared{
		Hostnames: []rehearsal.DeclaredHost{}, Containers: []rehearsal.DeclaredContainer{{Name: "jellyfin"}, {Name: "radarr", Internet: true}},
		Edges: []rehearsal.DeclaredEdge{{From: "radarr", To: "jellyfin", Port: 8096}},
	}}, p.told)

	p.report.Forbidden = []rehearsal.ProbeFinding{{Where: "a stranger, IPv4", Protocol: "tcp", Port: 22, Answer: rehearsal.ProbeOpen, Times: 1}}
	code, out, errOut = run("--for", "10ms", "--json", "--first-boot")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errOut, "1 things were open that are not declared, and 0 could not be looked at")
	assert.True(t, p.told.FirstBoot)
	fitsSchema(t, schema, out)
	var report probeReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, probeReport{
		SchemaVersion: 1, State: state, Machine: "homelab-a1b2c3", Forbidden: p.report.Forbidden, Seen: p.report.Seen, Problems: []string{}, TookSeconds: 1,
		Looks: []probeLooks{{Where: "an admin", Passes: 3, Sweeps: 1, LongestGapSeconds: 0.25}},
	}, report)
	p.report.Forbidden, p.report.Problems = nil, []string{"an admin: not one pass could be made"}
	code, out, _ = run("--for", "10ms")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "NOT PROBED: an admin")

	for _, args := range [][]string{{"--for", "-1s"}, {"--for", "soon"}, {"now"}} {
		code, _, errOut = run(args...)
		assert.Equal(t, exitUsage, code, "%v: %s", args, errOut)
	}
}
