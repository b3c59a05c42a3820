// Package hints says what to do about failures that the clouds report in words of their own. The
// program never sees them: the engine asks the clouds, and the program has ended by then.
package hints

import (
	"fmt"
	"regexp"
	"slices"

	"homelab/components/edge"
)

// hint is what to do about one kind of failure.
type hint struct {
	// cause matches the cloud's words.
	cause *regexp.Regexp
	// remedy makes the hint from the match, for a stack of this name.
	remedy func(match []string, stack string) string
}

// always gives the same remedy.
func always(text string) func([]string, string) string {
	return func([]string, string) string { return text }
}

// hints are all there are. The words were seen in answers of the clouds' APIs; the simulated clouds
// use the same.
var hints = []hint{
	{regexp.MustCompile(`exceeded maximum number of zone rulesets for phase '?([a-z_]+)`), importRuleset},
	{regexp.MustCompile(`resource_unavailable`), always("Hetzner has no such server left in this location at the moment. Set homelab:server.type to " +
		"another type that the location sells, or wait, and run up again: what has been made is used. The addresses belong to the location, " +
		"so another homelab:server.location also takes homelab:protect false until it is made.")},
	{regexp.MustCompile(`overwrite a non-default policy`), always("Somebody has changed the policy file of your tailnet, and this program would replace all " +
		"of it. Carry over what you need to homelab:tailscale.extraGrants and extraTagOwners, then set homelab:tailscale.overwritePolicy to " +
		"true for one up (README, Prepare the tailnet).")},
	{regexp.MustCompile(`dial tcp (100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|\[fd7a:115c:a1e0:)`), always("The server is reached over the tailnet alone. Is " +
		"Tailscale running on this computer, and logged in as one of homelab:tailscale.admins?")},
	{regexp.MustCompile(`(?i)"code": ?10000|authentication error \(10000\)`), always("Cloudflare refuses the token. Compare its permissions and its zone with " +
		"the table in the README, Credentials.")},
	{regexp.MustCompile(`unable to authenticate|\(unauthorized|token_readonly`), always("Hetzner refuses the token. It must be of this project, with " +
		"permission to read and write (README, Credentials).")},
	{regexp.MustCompile(`calling actor does not have enough permissions`), always("Tailscale refuses the OAuth client. Compare its scopes and its tag with " +
		"the table in the README, Credentials.")},
}

// For returns what to do about the failure of an operation on a stack, in the order of this
// package's list; nothing for one that explains itself.
func For(failure, stack string) []string {
	var out []string
	for _, h := range hints {
		for _, match := range h.cause.FindAllStringSubmatch(failure, -1) {
			if text := h.remedy(match, stack); text != "" && !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

// importRuleset says how to take over the ruleset that the dashboard made.
func importRuleset(match []string, stack string) string {
	phase := match[1]
	name, ours := edge.Phases()[phase]
	if !ours {
		return ""
	}
	return fmt.Sprintf(`The zone has a ruleset of phase %[1]s that the dashboard or another program made, perhaps an empty one. Cloudflare
allows one. Let this stack take it over (curl and jq find its ID), and run up again, which replaces its rules:

  zone=$(pulumi config get --stack %[2]s --path homelab:cloudflare.zoneId)
  id=$(curl -s -H @<(printf 'Authorization: Bearer %%s' "$(pulumi config get --stack %[2]s cloudflare:apiToken)") \
    "https://api.cloudflare.com/client/v4/zones/$zone/rulesets/phases/%[1]s/entrypoint" | jq -r .result.id)
  pulumi import --stack %[2]s --yes --protect=false --generate-code=false \
    --parent 'edge=urn:pulumi:%[2]s::homelab::%[4]s::edge' \
    --provider 'cloudflare=urn:pulumi:%[2]s::homelab::pulumi:providers:cloudflare::cloudflare' \
    cloudflare:index/ruleset:Ruleset edge-%[3]s "zones/$zone/$id"
`, phase, stack, name, edge.Type)
}
