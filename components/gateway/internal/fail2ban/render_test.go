package fail2ban_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/example"
	"homelab/components/gateway/internal/fail2ban"
	"homelab/components/internal/golden"
)

func production() fail2ban.Model {
	return fail2ban.Model{
		CloudflareRanges: example.CloudflareRanges(),
		TailnetRanges:    example.TailnetRanges(),
		ContainerRanges:  example.ContainerRanges(),
		SSHPort:          22,
		ZoneID:           example.ZoneID,
		Paths:            fail2ban.DefaultPaths(),
	}
}

func TestFiles(t *testing.T) {
	m := production()
	for name, render := range map[string]func() ([]byte, error){
		"jail.local":                     func() ([]byte, error) { return fail2ban.JailLocal(m) },
		"fail2ban.local":                 func() ([]byte, error) { return fail2ban.SettingsLocal(m) },
		"filter.d/homelab-authelia.conf": fail2ban.AutheliaFilter,
		"filter.d/homelab-caddy.conf":    fail2ban.CaddyFilter,
		"action.d/homelab_cloudflare.py": fail2ban.CloudflareAction,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render()
			require.NoError(t, err)
			golden.Equal(t, name, got)
		})
	}
}

func TestAnotherAPI(t *testing.T) {
	m := production()
	m.CloudflareAPI = "http://127.0.0.1:8085/client/v4/"
	got, err := fail2ban.JailLocal(m)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(got), `api="http://127.0.0.1:8085/client/v4"`))
	assert.NotContains(t, string(got), "api.cloudflare.com")
}

func TestFilesRefuse(t *testing.T) {
	for name, m := range map[string]fail2ban.Model{
		"nothing": {},
		"everything wrong": {
			CloudflareRanges: []string{"0.0.0.0/0"},
			TailnetRanges:    []string{"100.64.0.0"},
			ContainerRanges:  []string{"172.30.1.0/24\naction = x"},
			SSHPort:          70000,
			ZoneID:           "zone\"]\naction = x",
			Paths:            fail2ban.Paths{AccessLog: "access.log", PortalLog: "/a/../b", OwnLog: "/var/log/%(x)s", Token: "/a b"},
			CloudflareAPI:    `http://x"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fail2ban.JailLocal(m)
			assert.Empty(t, got)
			golden.Error(t, "refused-"+strings.ReplaceAll(name, " ", "-"), err)
		})
	}
}

// The jails that the monitoring and the audit expect are the ones the file enables.
func TestJails(t *testing.T) {
	got, err := fail2ban.JailLocal(production())
	require.NoError(t, err)
	var names []string
	for _, line := range strings.Split(string(got), "\n") {
		if name, ok := strings.CutPrefix(line, "["); ok && name != "DEFAULT]" {
			names = append(names, strings.TrimSuffix(name, "]"))
		}
	}
	assert.ElementsMatch(t, fail2ban.Jails(), names)
	assert.Equal(t, len(names), strings.Count(string(got), "enabled = true"))
	assert.Equal(t, len(names), strings.Count(string(got), "\naction = "), "a jail without an action of ours")
}
