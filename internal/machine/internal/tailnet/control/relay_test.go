package control

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"tailscale.com/types/key"
)

func TestAMachineHasOneKeyTowardsHeadscale(t *testing.T) {
	first, second := relay{private: key.NewMachine()}, relay{private: key.NewMachine()}
	a, b := key.NewMachine().Public(), key.NewMachine().Public()
	of := func(r relay, machine key.MachinePublic) key.MachinePublic {
		private, err := r.machineKey(machine)
		require.NoError(t, err)
		return private.Public()
	}
	assert.Equal(t, of(first, a), of(first, a))
	assert.NotEqual(t, of(first, a), of(first, b))
	assert.NotEqual(t, of(first, a), of(second, a), "another tailnet's keys are others")
	assert.NotEqual(t, of(first, a), a)
}

func TestTagsWithinAKeys(t *testing.T) {
	assert.True(t, within([]string{"tag:a"}, []string{"tag:b", "tag:a"}))
	assert.False(t, within([]string{"tag:a", "tag:c"}, []string{"tag:b", "tag:a"}))
	assert.False(t, within([]string{"tag:a"}, nil), "a key that nobody made")
}
