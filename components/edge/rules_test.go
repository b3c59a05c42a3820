package edge

import (
	"testing"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/plan"
)

func valid() *Args {
	return &Args{
		Domain: "example.com", ZoneID: "0123456789abcdef0123456789abcdef", Plan: plan.Free,
		RateLimit: RateLimit{Requests: 20, PeriodSeconds: 10, BlockSeconds: 10},
	}
}

func TestBuiltInRulesAreAsManyAsThePlanCounts(t *testing.T) {
	assert.Len(t, customRules(valid()), plan.BaselineCustomRules)
	blocking := valid()
	blocking.BlockedCountries = []string{"XX", "AA"}
	assert.Len(t, customRules(blocking), plan.BaselineCustomRules, "blocked countries take no further rule")
}

func TestLimitsOfThePlan(t *testing.T) {
	require.NoError(t, valid().Validate())
	args := valid()
	for range 4 {
		args.Rules = append(args.Rules, Rule{Name: "r", Expression: "true", Action: "log"})
	}
	args.RateLimit = RateLimit{Requests: 0, PeriodSeconds: 60, BlockSeconds: 3600}
	err := args.Validate()
	require.Error(t, err)
	for _, want := range []string{
		"the free plan allows 5 custom rules, 6 configured (2 built in)", "has no log action", "at least one request",
		"counts in periods of [10] seconds, not 60", "blocks for [10] seconds, not 3600",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

func TestManagedRulesetsFollowThePlan(t *testing.T) {
	assert.Len(t, managedRules(plan.Free), 1)
	assert.Len(t, managedRules(plan.Business), 2)
}

func TestRateLimitStaysWithinTheFreePlansFields(t *testing.T) {
	rules := rateLimitRules(valid())
	require.Len(t, rules, 1)
	assert.IsType(t, &cloudflare.RulesetRuleArgs{}, rules[0])
}

func TestQuoting(t *testing.T) {
	assert.Equal(t, `"a\"b\\c"`, quote(`a"b\c`))
	assert.Equal(t, `{"a" "b"}`, set([]string{"a", "b"}))
	assert.Equal(t, `(a) or (b)`, anyOf([]string{"a", "b"}))
}
