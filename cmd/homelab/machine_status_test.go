//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

const machineSchemaFile = "../../docs/machine.schema.json"

// keptMachine is a simulation's folder with one machine whose disk has holes, as homelab-machine
// leaves it.
func keptMachine(t *testing.T) string {
	t.Helper()
	state, err := os.MkdirTemp("", "status-") // the path of a socket may have 107 characters
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	folder := filepath.Join(state, machinesDir)
	require.NoError(t, os.MkdirAll(rehearsal.MachineDir(folder, "100000001"), 0o700))
	text, err := json.Marshal(map[string]any{"servers": []rehearsal.SavedServer{{Running: true, Server: rehearsal.Server{
		ID: "100000001", Name: "homelab-a1b2c3", UserData: "secret", IPv4: netip.MustParseAddr("198.51.100.1"), IPv6: netip.MustParsePrefix("2001:db8:1::1/64"),
	}}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, rehearsal.StateFile), text, 0o600))
	disk, err := os.Create(rehearsal.Disk(folder, "100000001"))
	require.NoError(t, err)
	_, err = disk.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, disk.Truncate(20e9))
	require.NoError(t, disk.Sync()) // some file systems allocate late
	require.NoError(t, disk.Close())
	return state
}

// serveMachines answers in the place of homelab-machine. What it returns says with which arguments a
// method was last called.
func serveMachines(t *testing.T, state string, answers map[string]any) (asked func(method string) []byte) {
	t.Helper()
	var last sync.Map
	listener, err := net.Listen("unix", filepath.Join(state, machinesDir, rehearsal.SocketFile))
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.URL.Path[len(rehearsal.Prefix):]
		arguments, _ := io.ReadAll(r.Body) // what is cut short is no JSON
		last.Store(method, arguments)
		answer, known := answers[method]
		if !known {
			w.WriteHeader(http.StatusUnprocessableEntity)
			answer = rehearsal.Failure{Error: "nobody may ask for " + r.URL.Path}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return func(method string) []byte {
		arguments, _ := last.Load(method)
		text, _ := arguments.([]byte) // nil if it was never called
		return text
	}
}

// statusOf runs machine status --json and holds it to the schema.
func statusOf(t *testing.T, s *shell, schema *jsonschema.Schema, state string) machineStatus {
	t.Helper()
	code, out, errOut := s.run("machine", "status", "--simulate", "--state", state, "--json")
	require.Equal(t, exitOK, code, errOut)
	fitsSchema(t, schema, out)
	assert.NotContains(t, out, "secret")
	var report machineReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, state, report.State)
	require.Len(t, report.Machines, 1)
	return report.Machines[0]
}

func TestMachineStatus(t *testing.T) {
	schema := strictSchema(t, machineSchemaFile, "machine")
	s := newShell(t, plainStack)
	public := []string{"198.51.100.1", "2001:db8:1::1"}
	flags := func(state string) string { return "--simulate --state " + state }

	t.Run("stopped", func(t *testing.T) {
		state := keptMachine(t)
		m := statusOf(t, s, schema, state)
		assert.False(t, m.Running, "it would go on with the program, which does not run")
		assert.Equal(t, public, m.Public)
		assert.Empty(t, m.Tailnet)
		assert.Empty(t, m.Shell)
		assert.Equal(t, "it is off: the next command with --machine boots it, such as homelab preview --machine "+flags(state), m.Reason)
		assert.InDelta(t, 1<<20, m.DiskBytes, 1<<18, "holes take no room")
		_, out, _ := s.run("machine", "status", "--simulate", "--state", state)
		assert.Contains(t, out, "NAME            STATE  PUBLIC                       TAILNET  DISK\nhomelab-a1b2c3  off    198.51.100.1, 2001:db8:1::1  -        0.0 GB\n")
		assert.Contains(t, out, "\nNobody can log in to homelab-a1b2c3: it is off")
	})
	running := []rehearsal.Machine{{ID: "100000001", Name: "homelab-a1b2c3", Running: true}}
	t.Run("running", func(t *testing.T) {
		state := keptMachine(t)
		serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": running, "devices": []rehearsal.Device{
			{ID: "1", Name: "laptop.tail1234.ts.net", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.1")}},
			{ID: "2", Machine: "100000001", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("fd7a:115c:a1e0::2")}},
		}})
		m := statusOf(t, s, schema, state)
		assert.True(t, m.Running)
		assert.Equal(t, []string{"100.64.0.2", "fd7a:115c:a1e0::2"}, m.Tailnet)
		assert.Equal(t, "homelab machine shell "+flags(state), m.Shell)
		_, out, _ := s.run("machine", "status", "--simulate", "--state", state)
		assert.Contains(t, out, "homelab-a1b2c3  running")
		assert.Contains(t, out, "\nTo log in to homelab-a1b2c3: homelab machine shell "+flags(state)+"\n")
	})
	t.Run("booting", func(t *testing.T) {
		state := keptMachine(t)
		serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": running, "devices": []rehearsal.Device{}})
		m := statusOf(t, s, schema, state)
		assert.True(t, m.Running)
		assert.Contains(t, m.Reason, "it has not joined the tailnet: homelab machine console "+flags(state))
	})
	t.Run("switched off, and the program runs", func(t *testing.T) {
		state := keptMachine(t)
		// Nobody asks for the devices: that would start a tailnet.
		serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": []rehearsal.Machine{{ID: "100000001"}}})
		assert.False(t, statusOf(t, s, schema, state).Running)
	})
	t.Run("the disk is not there yet", func(t *testing.T) {
		state := keptMachine(t)
		require.NoError(t, os.Remove(rehearsal.Disk(filepath.Join(state, machinesDir), "100000001")))
		assert.Zero(t, statusOf(t, s, schema, state).DiskBytes)
	})
}

func TestMachineStatusFails(t *testing.T) {
	s := newShell(t, plainStack)
	empty, broken, mute := t.TempDir(), keptMachine(t), keptMachine(t)
	require.NoError(t, os.WriteFile(filepath.Join(broken, machinesDir, rehearsal.StateFile), []byte("{"), 0o600))
	serveMachines(t, mute, map[string]any{"ping": struct{}{}})
	none := keptMachine(t)
	require.NoError(t, os.WriteFile(filepath.Join(none, machinesDir, rehearsal.StateFile), []byte(`{"servers": null}`), 0o600))
	for _, each := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "name it with --simulate --state FOLDER", []string{"--json"}},
		{exitUsage, "no machine is kept in " + empty + ": homelab up --simulate --machine --state " + empty + " starts one", []string{"--simulate", "--state", empty}},
		{exitUsage, "no machine is kept in " + none, []string{"--simulate", "--state", none, "--json"}},
		{exitUsage, `machine status takes no arguments, got ["now"]`, []string{"now"}},
		{exitFailed, "reading what machines there are", []string{"--simulate", "--state", broken, "--json"}},
		{exitFailed, "nobody may ask for /v1/machines", []string{"--simulate", "--state", mute, "--json"}},
	} {
		code, out, errOut := s.run(append([]string{"machine", "status"}, each.args...)...)
		assert.Equal(t, each.code, code, "%v: %s", each.args, errOut)
		assert.Contains(t, errOut, each.want)
		assert.Empty(t, out, "%v", each.args)
	}
}

// A schema that takes anything shows nothing.
func TestMachineSchemaRefuses(t *testing.T) {
	schema := strictSchema(t, machineSchemaFile, "machine")
	machine := func(d map[string]any) map[string]any { return d["machines"].([]any)[0].(map[string]any) }
	for name, change := range map[string]func(map[string]any){
		"another version":            func(d map[string]any) { d["schemaVersion"] = 2 },
		"a property too many":        func(d map[string]any) { machine(d)["extra"] = 1 },
		"a property too few":         func(d map[string]any) { delete(machine(d), "running") },
		"no machine":                 func(d map[string]any) { d["machines"] = []any{} },
		"half a byte":                func(d map[string]any) { machine(d)["diskBytes"] = 0.5 },
		"no shell and no reason":     func(d map[string]any) { machine(d)["shell"] = "" },
		"a shell and a reason":       func(d map[string]any) { machine(d)["reason"] = "x" },
		"an address that is nothing": func(d map[string]any) { machine(d)["public"] = []any{""} },
	} {
		text, err := json.Marshal(machineReport{SchemaVersion: machineSchemaVersion, State: "/tmp/lab", Machines: []machineStatus{
			{ID: "1", Name: "homelab", Public: []string{"198.51.100.1"}, Tailnet: []string{}, Shell: "homelab machine shell"},
		}})
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, json.Unmarshal(text, &document))
		require.NoError(t, schema.Validate(document))
		change(document)
		assert.Error(t, schema.Validate(document), name)
	}
}
