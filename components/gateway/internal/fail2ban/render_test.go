package fail2ban

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func example() Model {
	return Model{
		CloudflareRanges: []string{"173.245.48.0/20", "2400:cb00::/32"},
		TailnetRanges:    []string{"100.64.0.0/10", "fd7a:115c:a1e0::/48"},
		ContainerRanges:  []string{"172.30.1.0/24"},
		SSHPort:          22,
		ZoneID:           "0123456789abcdef0123456789abcdef",
		Paths:            DefaultPaths(),
	}
}

func TestX(t *testing.T) {
	m := example()
	if os.Getenv("F2B") != "" {
		m.Paths = Paths{AccessLog: "/tmp/f2b/access.log", PortalLog: "/tmp/f2b/authelia.log", OwnLog: "/tmp/f2b/fail2ban.log", Token: "/tmp/f2b/token"}
		m.CloudflareAPI = "http://127.0.0.1:18080/client/v4"
	}
	for n, f := range map[string]func() ([]byte, error){
		"jail.local": func() ([]byte, error) { return JailLocal(m) }, "fail2ban.local": func() ([]byte, error) { return SettingsLocal(m) },
		"filter.d/homelab-authelia.conf": AutheliaFilter, "filter.d/homelab-caddy.conf": CaddyFilter, "action.d/homelab_cloudflare.py": CloudflareAction,
	} {
		out, err := f()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("/tmp/f2b/etc/"+n, out, 0o644))
	}
}
