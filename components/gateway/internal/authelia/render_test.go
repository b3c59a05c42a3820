package authelia

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

func example() Model {
	return Model{
		Domain: "example.com", Hostname: "auth.example.com",
		DefaultRedirectionURL: "https://requests.example.com",
		Sites: []site.Site{
			{
				Name: "jellyseerr", Hostname: "requests.example.com", Visibility: access.Public, Upstream: "jellyseerr:5055",
				Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users", "admins"}},
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
		TailnetRanges: []string{"fd7a:115c:a1e0::/48", "100.64.0.0/10"},
		Store:         "authelia-store:6379",
		Session:       Session{Inactivity: time.Hour, Expiration: 12 * time.Hour, RememberMe: 720 * time.Hour},
		Listen:        DefaultListen(),
		Paths:         DefaultPaths(),
	}
}

func TestX(t *testing.T) {
	out, err := Configuration(example())
	require.NoError(t, err)
	os.WriteFile("/tmp/authelia.yml", out, 0o644)
	m := example()
	m.Session.RememberMe = 0
	out, err = Configuration(m)
	require.NoError(t, err)
	os.WriteFile("/tmp/authelia2.yml", out, 0o644)
	out, err = UsersDatabase([]User{{Name: "admin", DisplayName: "Admin", Email: "admin@example.com", Groups: []string{"admins", "users"}, PasswordHash: HashPassword("x", []byte("0123456789abcdef"))}})
	require.NoError(t, err)
	os.WriteFile("/tmp/users.yml", out, 0o644)
}
