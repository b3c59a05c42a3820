package policy

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/policy/rules"
)

// The stack as it is breaks no rule, and every way to break it is found by the rules that are there
// for it and by no other.
func TestEveryMutantIsCaught(t *testing.T) {
	assert.Empty(t, newState(t).failed())
	for _, m := range mutants() {
		t.Run(m.what, func(t *testing.T) {
			s := newState(t)
			m.do(s)
			want := slices.Sorted(slices.Values(m.caught))
			assert.Equal(t, want, s.failed())
		})
	}
}

// No rule is there that no mutant breaks.
func TestEveryRuleCatchesAMutant(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range mutants() {
		for _, id := range m.caught {
			caught[id] = true
		}
	}
	for _, r := range rules.All() {
		assert.True(t, caught[r.ID], "no mutant breaks %s", r.ID)
	}
	assert.GreaterOrEqual(t, len(mutants()), 60)
}
