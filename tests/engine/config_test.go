package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/components/vpn"
	"homelab/internal/workspace"
)

// Bad configuration is told all at once, and nothing is touched: not even a provider is asked.
func TestBadConfigurationTouchesNothing(t *testing.T) {
	w := open(t, func(o *workspace.Options) {
		o.Config = map[string]any{
			"homelab:cloudflare.plan":              "gratis",
			"homelab:ports.https":                  22,
			"homelab:services.jellyfin.visibility": "public",
			"homelab:services.jellyfin.hostname":   "requests",
			"homelab:timezone":                     "Europe/Atlantis",
			"homelab:sever":                        map[string]any{"name": "x"},
		}
	})
	summary, err := w.Up(t.Context())
	require.Error(t, err)
	for _, path := range []string{
		"homelab:cloudflare.plan", "homelab:ports.https", "homelab:services.jellyfin.access.reason", "homelab:services.jellyseerr.hostname",
		"homelab:timezone", "homelab:sever",
	} {
		assert.Contains(t, summary.Log, path)
	}
	assert.Empty(t, w.World().Journal(), "a cloud was asked for something")
	for _, r := range summary.Resources {
		assert.Equal(t, typeStack, r.Type, "%s was registered", r.URN)
	}
}

// mailServer is the configuration of a mail server.
var mailServer = map[string]any{
	"homelab:smtp": map[string]any{"host": "smtp.example.com", "username": "homelab@example.com", "sender": "homelab@example.com"},
}

// The portal gets the mail server's password as a file, and only where there is a mail server.
func TestThePortalMailsWhenThereIsAServer(t *testing.T) {
	const passwordFile = "AUTHELIA_NOTIFIER_SMTP_PASSWORD_FILE=/run/secrets/smtp-password"
	for name, c := range map[string]struct {
		config map[string]any
		mails  bool
	}{"without": {nil, false}, "with": {mailServer, true}} {
		t.Run(name, func(t *testing.T) {
			w := open(t, func(o *workspace.Options) { o.Config = c.config })
			up(t, w)
			var written, told bool
			for _, r := range state(t, w) {
				written = written || r.URN.Name() == "authelia-smtp-password"
				if r.Type != typeContainer || r.URN.Name() != "authelia" {
					continue
				}
				envs, ok := r.Inputs["envs"].([]any)
				require.True(t, ok)
				told = slices.Contains(envs, any(passwordFile))
			}
			assert.Equal(t, c.mails, written, "the password's file")
			assert.Equal(t, c.mails, told, "the path in the portal's environment")
		})
	}
}

// What the operator adds to the tailnet's policy comes through with it, and the policy's own tests
// hold it.
func TestRulesOfTheOperatorJoinThePolicy(t *testing.T) {
	w := open(t, func(o *workspace.Options) {
		o.Config = map[string]any{
			"homelab:tailscale.extraTagOwners": []any{map[string]any{"tag": "tag:nas", "owners": []string{"autogroup:admin"}}},
			"homelab:tailscale.extraGrants": []any{
				map[string]any{"src": []string{"autogroup:member"}, "dst": []string{"tag:nas"}, "ip": []string{"tcp:443"}},
			},
			"homelab:cloudflare.hsts": map[string]any{"includeSubdomains": true, "preload": true},
		}
	})
	up(t, w)
	assert.Contains(t, w.World().Policy(), `"tag:nas"`)
	for _, r := range state(t, w) {
		if r.URN.Name() == "edge-security_header" {
			value, err := json.Marshal(r.Inputs["value"])
			require.NoError(t, err)
			assert.Contains(t, string(value), `"include_subdomains":true`)
			assert.Contains(t, string(value), `"preload":true`)
		}
	}
}

// The sum that a preview refuses is that of the containers which a deployment makes.
func TestTheSumOfTheMemoryIsThatOfTheContainers(t *testing.T) {
	w := open(t)
	up(t, w)
	chain := 0
	for _, r := range state(t, w) {
		of := string(r.URN.QualifiedType())
		own := strings.Contains(of, "homelab:gateway:") || strings.Contains(of, vpn.Type) || strings.Contains(of, media.WiringType)
		if r.Type != typeContainer || !own {
			continue
		}
		limit, ok := r.Inputs["memory"].(float64)
		require.True(t, ok, "%s has no memory limit", r.URN)
		chain += int(limit)
	}
	greedy := open(t, func(o *workspace.Options) { o.Config = map[string]any{"homelab:services.jellyfin.memoryMiB": 1 << 20} })
	refused, err := greedy.Preview(t.Context())
	require.Error(t, err)
	assert.Contains(t, refused.Log, fmt.Sprintf("what guards, connects and measures them %d and the system", chain))
	assert.Contains(t, refused.Log, "lower a memoryMiB, or use a larger server type")
}
