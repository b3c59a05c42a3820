package simcloud

import (
	"regexp"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var cloudflareToken = regexp.MustCompile(`^[A-Za-z0-9_-]{35,50}$`)

// credentials refuses a configuration that the cloud would not let in. Unknown
// values pass; unlike the real providers this one takes nothing from the
// environment, so that a run never depends on the machine it happens on.
func credentials(pkg string, c resource.PropertyMap) []problem {
	given := func(name string) bool {
		v, ok := c[resource.PropertyKey(name)]
		return ok && !v.IsNull() && !(v.IsString() && v.StringValue() == "")
	}
	known := func(name string) (string, bool) {
		v := c[resource.PropertyKey(name)]
		return text(map[string]any{name: v.V}, name), v.IsString()
	}
	switch pkg {
	case "hcloud":
		if !given("token") {
			return []problem{{"token", "the Hetzner Cloud API token is missing: set hcloud:token"}}
		}
		if s, ok := known("token"); ok && len(s) != 64 {
			return []problem{{"token", "entered token is invalid (must be exactly 64 characters long)"}}
		}
	case "cloudflare":
		switch {
		case given("apiToken"):
			if s, ok := known("apiToken"); ok && !cloudflareToken.MatchString(s) {
				return []problem{{"apiToken", "API tokens must only contain characters a-z, A-Z, 0-9, hyphens and underscores"}}
			}
		case given("apiKey") && given("email"), given("apiUserServiceKey"):
		default:
			return []problem{{"apiToken", "credentials are missing: set cloudflare:apiToken"}}
		}
	case "tailscale":
		oauth := given("oauthClientId") && (given("oauthClientSecret") || given("identityToken"))
		if !oauth && !given("apiKey") {
			return []problem{{"oauthClientSecret", "tailscale provider credentials are empty - set `api_key` or 'oauth_client_id' and 'oauth_client_secret'"}}
		}
		if given("apiKey") && given("oauthClientSecret") {
			return []problem{{"apiKey", "tailscale provider credentials are conflicting - `api_key` conflicts with 'oauth_client_secret'"}}
		}
	}
	return nil
}
