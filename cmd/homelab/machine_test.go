//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// unasked are machines that panic when the deployment asks them for anything: the small program has
// nothing to do with machines.
type unasked struct{ simcloud.Machines }

// rack records what becomes of the program that runs machines.
type rack struct {
	unasked

	place                workspace.Place
	there                []rehearsal.Machine
	started              int
	kept, ended, stopped bool
	missing              error
}

func (r *rack) Machines(context.Context) ([]rehearsal.Machine, error) { return r.there, nil }

func (r *rack) Keep(context.Context) error {
	r.kept = true
	return nil
}

func (r *rack) End(context.Context) error {
	r.ended = true
	return nil
}

func (r *rack) Close() error {
	r.stopped = true
	return nil
}

// start takes the place of startMachines.
func (r *rack) start(_ context.Context, place workspace.Place, _ io.Writer) (machines, error) {
	if r.missing != nil {
		return nil, r.missing
	}
	r.place, r.kept, r.ended, r.stopped = place, false, false, false
	r.started++
	return r, nil
}

func TestMachinesOutliveAKeptSimulationAlone(t *testing.T) {
	s := newShell(t, plainStack+"  homelab:tailscale:\n    tailnet: tail9.ts.net\n    admins: [alice@example.com]\n")
	r := &rack{}
	s.machines = r.start
	state := filepath.Join(t.TempDir(), "state")
	kept := []string{"--simulate", "--machine", "--state", state}

	code, out, errOut := s.run("up", "--simulate", "--machine")
	require.Equal(t, exitOK, code, errOut)
	assert.True(t, r.stopped && !r.kept && !r.ended, "a temporary simulation takes its machines with it")
	assert.NotContains(t, out, "the machine goes on")

	code, _, errOut = s.run(append([]string{"up"}, kept...)...)
	require.Equal(t, exitOK, code, errOut)
	assert.Equal(t, workspace.Place{State: state, Tailnet: "tail9.ts.net", Operator: "alice@example.com"}, r.place)
	assert.True(t, r.ended && !r.kept, "a program without machines ends")

	r.there = []rehearsal.Machine{{ID: "1"}}
	code, out, errOut = s.run(append([]string{"preview"}, kept...)...)
	require.Equal(t, exitOK, code, errOut)
	assert.True(t, r.kept && !r.ended)
	assert.Contains(t, out, "the machine goes on: homelab machine shell --simulate --state "+state)

	s.configure(plainStack + "  homelab:broken: true\n")
	code, _, _ = s.run(append([]string{"up"}, kept...)...)
	require.Equal(t, exitFailed, code)
	assert.True(t, r.kept && !r.ended, "after a failure somebody wants to look")

	ctx, cancel := context.WithCancel(t.Context())
	session := &session{app: newApp(), flags: &flags{state: state, machine: true}, machines: r, progress: io.Discard, ctx: ctx}
	r.kept = false
	cancel()
	require.NoError(t, session.endMachines(ctx))
	assert.True(t, r.ended && !r.kept, "after an interruption nothing runs")

	started := r.started
	code, _, errOut = s.run("preview", "--simulate", "--state", state)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "the machines of this simulation are real: add --machine")
	assert.Equal(t, started, r.started)
	other := filepath.Join(t.TempDir(), "other")
	s.configure(plainStack)
	code, _, errOut = s.run("up", "--simulate", "--state", other)
	require.Equal(t, exitOK, code, errOut)
	code, _, errOut = s.run("up", "--simulate", "--machine", "--state", other)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "the machines of this simulation are simulated: leave out --machine")
	assert.True(t, r.stopped)
}

func TestAMachineThatCannotBeStarted(t *testing.T) {
	s := newShell(t, plainStack)
	r := &rack{missing: errors.New("qemu-system-x86_64 is not installed: apt-get install qemu-system-x86")}
	s.machines = r.start
	code, _, errOut := s.run("up", "--simulate", "--machine")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errOut, "apt-get install qemu-system-x86")
}

func TestMachineCommandLines(t *testing.T) {
	s := newShell(t, plainStack)
	empty := t.TempDir()
	for _, each := range []struct {
		want string
		args []string
	}{
		{"--machine is the machine of a simulation: add --simulate", []string{"up", "--machine"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "stop"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "cut", "--simulate"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "shell", "--state", empty}},
		{"no machine runs in " + empty + ": homelab up --simulate --machine --state " + empty + " starts one", []string{"machine", "console", "--simulate", "--state", empty}},
		{`machine stop takes no arguments, got ["now"]`, []string{"machine", "stop", "now"}},
		{"unknown flag: --machine", []string{"audit", "--machine"}},
	} {
		code, _, errOut := s.run(each.args...)
		assert.Equal(t, exitUsage, code, "%v: %s", each.args, errOut)
		assert.Contains(t, errOut, each.want)
	}
	code, out, _ := s.run("machine", "--help")
	assert.Equal(t, exitOK, code)
	for _, each := range []string{"status", "shell", "console", "cut", "stop"} {
		assert.Contains(t, out, "\n  "+each)
	}
}
