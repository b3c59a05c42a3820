package caddyfile

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

func example() Model {
	return Model{
		Sites: []site.Site{
			{
				Name: "jellyseerr", Hostname: "requests.example.com", Visibility: access.Public, Upstream: "jellyseerr:5055",
				Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
				Bypass: []access.Bypass{{Path: "^/api/v1/status$", Reason: "uptime checks"}},
			},
			{
				Name: "jellyfin", Hostname: "jellyfin.example.com", Visibility: access.Tailnet, Upstream: "jellyfin:8096",
				Access: access.Access{Policy: access.Native}, MaxBodyMB: 50,
			},
			{
				Name: "grafana", Hostname: "grafana.example.com", Visibility: access.Tailnet, Upstream: "grafana:3000",
				Access: access.Access{Policy: access.OneFactor, Groups: []string{"admins"}},
			},
		},
		Portal: Portal{
			Hostname: "auth.example.com", Upstream: "authelia:9091",
			Visibilities: []access.Visibility{access.Public, access.Tailnet},
		},
		TrustedProxies: []string{"173.245.48.0/20", "2400:cb00::/32", "103.21.244.0/22"},
		ACME:           ACME{Email: "admin@example.com"},
		CrowdSec:       CrowdSec{LAPI: "http://crowdsec:8080", AppSec: "http://crowdsec:7422"},
		SessionCookie:  "homelab_session",
		Listen:         DefaultListen(),
		Paths:          DefaultPaths(),
	}
}

func TestX(t *testing.T) {
	out, err := Caddyfile(example())
	require.NoError(t, err)
	os.WriteFile("/tmp/Caddyfile", out, 0o644)
	m := example()
	m.Paths = Paths{AdminSocket: "/tmp/c/admin.sock", OriginPullCA: "/tmp/c/ca.pem", ACMEToken: "/tmp/c/token", BouncerKey: "/tmp/c/key", Data: "/tmp/c/data", AccessLog: "/tmp/c/access.log"}
	out, err = Caddyfile(m)
	require.NoError(t, err)
	os.WriteFile("/tmp/c/Caddyfile", out, 0o644)
}
