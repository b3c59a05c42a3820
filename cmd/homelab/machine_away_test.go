//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

func TestSomebodyIsTakenOffTheMachinesNetwork(t *testing.T) {
	s := newShell(t, plainStack)
	state := keptMachine(t)
	text, err := json.Marshal(map[string]any{"boxes": []any{map[string]any{"box": rehearsal.Box{ID: "100000005", Name: "homelab-media"}}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(state, machinesDir, rehearsal.StateFile), text, 0o600))
	asked := serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": []rehearsal.Machine{}, "away": struct{}{}})
	for _, each := range []struct {
		args []string
		want rehearsal.AwayArgs
		said string
	}{
		{[]string{"away", "laptop"}, rehearsal.AwayArgs{Who: rehearsal.Laptop, Away: true}, "laptop is away\n"},
		{[]string{"back", "tailnet"}, rehearsal.AwayArgs{Who: rehearsal.TailnetServers}, "tailnet is back\n"},
		{[]string{"away", "homelab-media"}, rehearsal.AwayArgs{Who: rehearsal.BoxParty("100000005"), Away: true}, "homelab-media is away\n"},
	} {
		code, out, errOut := s.run(append(append([]string{"machine"}, each.args...), "--simulate", "--state", state)...)
		require.Equal(t, exitOK, code, errOut)
		assert.Equal(t, each.said, out)
		var got rehearsal.AwayArgs
		require.NoError(t, json.Unmarshal(asked("away"), &got))
		assert.Equal(t, each.want, got)
	}
	code, _, errOut := s.run("machine", "away", "moon", "--simulate", "--state", state)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, `nobody on the machine's network is called "moon": there are laptop, tailnet, homelab-media`)
	code, _, errOut = s.run("machine", "back", "--simulate", "--state", state)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "machine back takes one party: laptop, tailnet, or the name of a Storage Box; got []")
}
