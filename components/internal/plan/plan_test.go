package plan

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, p := range All() {
		got, err := Parse(string(p))
		require.NoError(t, err)
		assert.Equal(t, p, got)
		assert.True(t, p.Valid())
	}
	for _, s := range []string{"", "Free", "free ", "premium"} {
		_, err := Parse(s)
		require.ErrorContains(t, err, "must be one of free, pro, business, enterprise", s)
		assert.False(t, Plan(s).Valid())
		assert.Zero(t, Plan(s).Limits())
	}
}

func TestFreeLimits(t *testing.T) {
	assert.Equal(t, Limits{
		CustomRules: 5, CacheRules: 10, RateLimitRules: 1, RateLimitPeriods: []int{10}, RateLimitTimeouts: []int{10}, MaxUploadMB: 100,
	}, Free.Limits())
}

// A larger plan takes away nothing.
func TestLimitsGrow(t *testing.T) {
	plans := All()
	for i := 1; i < len(plans); i++ {
		small, large := plans[i-1].Limits(), plans[i].Limits()
		assert.Greater(t, large.CustomRules, small.CustomRules)
		assert.Greater(t, large.CacheRules, small.CacheRules)
		assert.Greater(t, large.RateLimitRules, small.RateLimitRules)
		assert.Equal(t, small.RateLimitPeriods, large.RateLimitPeriods[:len(small.RateLimitPeriods)])
		assert.Equal(t, small.RateLimitTimeouts, large.RateLimitTimeouts[:len(small.RateLimitTimeouts)])
		assert.GreaterOrEqual(t, large.MaxUploadMB, small.MaxUploadMB)
		assert.False(t, small.LogAction && !large.LogAction)
		assert.False(t, small.Regex && !large.Regex)
		assert.False(t, small.ManagedRulesets && !large.ManagedRulesets)
	}
	for _, p := range plans {
		l := p.Limits()
		assert.Greater(t, l.CustomRules, BaselineCustomRules, "the built-in rules must fit every plan")
		assert.True(t, slices.IsSorted(l.RateLimitPeriods))
		assert.True(t, slices.IsSorted(l.RateLimitTimeouts))
	}
}

// A caller that changes what it got changes nothing for others.
func TestLimitsAreCopies(t *testing.T) {
	Enterprise.Limits().RateLimitPeriods[0] = 1
	assert.Equal(t, 10, Enterprise.Limits().RateLimitPeriods[0])
}
