package edge

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/plan"
)

func valid() *Args {
	return &Args{
		Domain: "example.com", ZoneID: "0123456789abcdef0123456789abcdef", Plan: plan.Free,
		Hostnames: []string{"requests.example.com", "auth.example.com"},
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
	for range 3 {
		args.Rules = append(args.Rules, Rule{Name: "r", Expression: "true", Action: "log"})
	}
	args.RateLimit = RateLimit{Requests: 0, PeriodSeconds: 60, BlockSeconds: 3600}
	err := args.Validate()
	require.Error(t, err)
	for _, want := range []string{
		"the free plan allows 5 custom rules, 6 configured (3 built in)", "has no log action", "at least one request",
		"counts in periods of [10] seconds, not 60", "blocks for [10] seconds, not 3600",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

func TestNothingBehindTheChainIsCached(t *testing.T) {
	rules := cacheRules(valid())
	require.Len(t, rules, 1)
	bypass, ok := rules[0].(*cloudflare.RulesetRuleArgs)
	require.True(t, ok)
	assert.Equal(t, pulumi.String(`http.host in {"auth.example.com" "requests.example.com"}`), bypass.Expression)
	assert.Equal(t, pulumi.String("set_cache_settings"), bypass.Action)
	parameters, ok := bypass.ActionParameters.(*cloudflare.RulesetRuleActionParametersArgs)
	require.True(t, ok)
	assert.Equal(t, pulumi.Bool(false), parameters.Cache)

	args := valid()
	args.Hostnames = nil
	require.ErrorContains(t, args.Validate(), "no hostnames")
	for i := range 200 {
		args.Hostnames = append(args.Hostnames, fmt.Sprintf("service-%d.example.com", i))
	}
	require.ErrorContains(t, args.Validate(), "200 hostnames are more than fit")
	s := &Shield{hostnames: valid().Hostnames}
	require.NoError(t, s.Uncached("auth.example.com"))
	require.ErrorContains(t, s.Uncached("www.example.com"), "www.example.com")
}

func TestOnlyTheZonesOwnWorkersPass(t *testing.T) {
	worker, ok := customRules(valid())[2].(*cloudflare.RulesetRuleArgs)
	require.True(t, ok)
	assert.Equal(t, pulumi.String(`not cf.worker.upstream_zone in {"" "example.com"}`), worker.Expression)
	assert.Equal(t, pulumi.String("block"), worker.Action)
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
