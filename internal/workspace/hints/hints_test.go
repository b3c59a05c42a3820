package hints

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The answers are as the clouds' APIs give them, through the plugins.
func TestFor(t *testing.T) {
	for failure, want := range map[string]string{
		`400 Bad Request {"errors":[{"code":20217,"message":"'zone' is not a valid value for kind because exceeded maximum number of zone rulesets for phase http_ratelimit"}]}`: "edge-rate-limit",
		`exceeded maximum number of zone rulesets for phase 'http_request_firewall_custom'`:                                                                                      "edge-custom-rules",
		`hcloud:index:Server (homelab): error during placement (resource_unavailable, 6c4be35cf2e8ed9d)`:                                                                         "homelab:server.type",
		`server location disabled (resource_unavailable, 81861d8beb8f129)`:                                                                                                       "another type",
		`you are trying to overwrite a non-default policy. Please import the ACL first or set overwrite_existing_content = true. (412)`:                                          "homelab:tailscale.overwritePolicy",
		`ssh: dial tcp 100.101.0.3:22: i/o timeout`:                                                                                                                              "Is Tailscale running",
		`dial tcp [fd7a:115c:a1e0::3]:22: connect: no route to host`:                                                                                                             "Is Tailscale running",
		`403 Forbidden {"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}`:                                                                             "Cloudflare refuses the token",
		`the token you provided is invalid: unable to authenticate (unauthorized, 0f3d)`:                                                                                         "Hetzner refuses the token",
		`calling actor does not have enough permissions to perform this function (403)`:                                                                                          "Tailscale refuses the OAuth client",
	} {
		got := For(failure, "prod")
		if assert.Len(t, got, 1, failure) {
			assert.Contains(t, got[0], want)
		}
	}
	for _, failure := range []string{
		"", "preview of stack prod failed: reading configuration of stack prod: 1 problem", "dial tcp 203.0.113.7:22: i/o timeout",
		"dial tcp 100.63.0.1:22: i/o timeout", "exceeded maximum number of zone rulesets for phase http_response_headers_transform",
	} {
		assert.Empty(t, For(failure, "prod"), failure)
	}
}

func TestTwoFailuresHaveTwoHintsAndOneHasOne(t *testing.T) {
	const failure = "exceeded maximum number of zone rulesets for phase http_ratelimit; exceeded maximum number of zone rulesets for phase " +
		"http_request_firewall_managed; exceeded maximum number of zone rulesets for phase http_ratelimit"
	got := For(failure, "home")
	require.Len(t, got, 2)
	assert.Contains(t, got[0], "urn:pulumi:home::homelab::homelab:edge:Shield::edge")
	assert.Contains(t, got[1], "edge-managed-rules")
}
