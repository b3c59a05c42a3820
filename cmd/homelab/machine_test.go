//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
	"homelab/internal/simcloud"
	"homelab/internal/substitutes"
	"homelab/internal/workspace"
)

// unasked are machines that panic when the deployment asks them for anything: the small program has
// nothing to do with machines.
type unasked struct{ simcloud.Machines }

// rack records what becomes of the program that runs machines.
type rack struct {
	unasked

	place                workspace.Place
	images               *substitutes.Folder
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
func (r *rack) start(_ context.Context, o machineOptions) (machines, error) {
	if r.missing != nil {
		return nil, r.missing
	}
	r.place, r.images, r.kept, r.ended, r.stopped = o.Place, o.images, false, false, false
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

func TestImagesOfAMachine(t *testing.T) {
	s := newShell(t, plainStack)
	r := &rack{}
	s.machines = r.start
	images := t.TempDir()
	content := []byte("an archive")
	sum := sha256.Sum256(content)
	require.NoError(t, os.WriteFile(filepath.Join(images, "a.tar"), content, 0o644))
	image := func(name, instead string) substitutes.Image {
		return substitutes.Image{
			Image: name + ":1@sha256:" + strings.Repeat("a", 64), Archive: "a.tar", SHA256: hex.EncodeToString(sum[:]), Instead: instead,
		}
	}
	require.NoError(t, substitutes.Write(images, []substitutes.Image{image("b", "Valkey 8 in the place of 9"), image("a", "a stand-in for Loki"), image("c", "")}))

	code, out, errOut := s.run("up", "--simulate", "--machine", "--offline", images)
	require.Equal(t, exitOK, code, errOut)
	assert.Equal(t, images, r.images.Path())
	const note = "not the real programs, so what they would do is not tried:\n  - Valkey 8 in the place of 9\n  - a stand-in for Loki\n"
	assert.Equal(t, 1, strings.Count(out, note), out)

	code, out, errOut = s.run("preview", "--simulate", "--machine")
	require.Equal(t, exitOK, code, errOut)
	assert.Nil(t, r.images)
	assert.NotContains(t, out, "not the real programs")

	started := r.started
	require.NoError(t, os.WriteFile(filepath.Join(images, "a.tar"), []byte("another"), 0o644))
	code, _, errOut = s.run("up", "--simulate", "--machine", "--offline", images)
	assert.Equal(t, exitUsage, code)
	assert.Equal(t, 3, strings.Count(errOut, "a.tar has the SHA-256"), errOut)
	assert.Equal(t, started, r.started)

	var asked string
	s.images = func(_ context.Context, folder string, _ io.Writer) error {
		asked = folder
		return nil
	}
	code, _, errOut = s.run("machine", "images", "somewhere")
	require.Equal(t, exitOK, code, errOut)
	assert.Equal(t, "somewhere", asked)
}

func TestMachineCommandLines(t *testing.T) {
	s := newShell(t, plainStack)
	empty := t.TempDir()
	for _, each := range []struct {
		want string
		args []string
	}{
		{"--machine is the machine of a simulation: add --simulate", []string{"up", "--machine"}},
		{"--offline has the images of a machine: add --machine", []string{"up", "--simulate", "--offline", empty}},
		{"no such file or directory: homelab machine images " + empty + " makes them", []string{"up", "--simulate", "--machine", "--offline", empty}},
		{"machine images takes the folder that it makes, got []", []string{"machine", "images"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "stop"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "cut", "--simulate"}},
		{"name it with --simulate --state FOLDER", []string{"machine", "shell", "--state", empty}},
		{"no machine runs in " + empty + ": homelab up --simulate --machine --state " + empty + " starts one", []string{"machine", "console", "--simulate", "--state", empty}},
		{"no machine runs in " + empty, []string{"machine", "shell", "--simulate", "--state", empty, "journalctl", "-u", "docker"}},
		{"no machine runs in " + empty, []string{"machine", "browse", "--simulate", "--state", empty}},
		{`machine stop takes no arguments, got ["now"]`, []string{"machine", "stop", "now"}},
		{"unknown flag: --machine", []string{"audit", "--machine"}},
	} {
		code, _, errOut := s.run(each.args...)
		assert.Equal(t, exitUsage, code, "%v: %s", each.args, errOut)
		assert.Contains(t, errOut, each.want)
	}
	code, out, _ := s.run("machine", "--help")
	assert.Equal(t, exitOK, code)
	for _, each := range []string{"status", "shell", "console", "browse", "probe", "cut", "stop", "away", "back", "images"} {
		assert.Contains(t, out, "\n  "+each)
	}
}
