package crowdsec_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/crowdsec"
	"homelab/components/gateway/internal/example"
	"homelab/components/internal/golden"
)

func production() crowdsec.Model {
	return crowdsec.Model{
		Sites:            example.Sites(),
		CloudflareRanges: example.CloudflareRanges(),
		TailnetRanges:    example.TailnetRanges(),
		ContainerRanges:  example.ContainerRanges(),
		Listen:           crowdsec.DefaultListen(),
		Logs:             crowdsec.DefaultLogs(),
	}
}

// files are the renderers, by the name of their golden.
var files = map[string]func(crowdsec.Model) ([]byte, error){
	"acquis-caddy":       crowdsec.CaddyAcquisition,
	"acquis-authelia":    crowdsec.AutheliaAcquisition,
	"acquis-appsec":      crowdsec.AppSecAcquisition,
	"profiles":           crowdsec.Profiles,
	"config-local":       crowdsec.ConfigLocal,
	"whitelist-ranges":   crowdsec.RangesWhitelist,
	"whitelist-sessions": crowdsec.SessionsWhitelist,
	"parser-visitors":    crowdsec.VisitorsParser,
	"scenario-second":    crowdsec.SecondFactor,
}

func TestFiles(t *testing.T) {
	for name, render := range files {
		t.Run(name, func(t *testing.T) {
			got, err := render(production())
			require.NoError(t, err)
			golden.Equal(t, name, got)
		})
	}
}

func TestFilesRefuse(t *testing.T) {
	bad := production()
	bad.Sites[0].Hostname = "x'] || true"
	bad.CloudflareRanges = nil
	bad.TailnetRanges = []string{"0.0.0.0/0"}
	bad.ContainerRanges = []string{"172.30.1.1/24"}
	bad.BanHours = 10000
	bad.Listen = crowdsec.Listen{LAPI: "crowdsec:8080", AppSec: "0.0.0.0:7422", Metrics: "0.0.0.0:7422"}
	bad.Logs.Caddy = "access.log"
	for name, render := range files {
		t.Run(name, func(t *testing.T) {
			got, err := render(bad)
			assert.Empty(t, got)
			golden.Error(t, "refused-"+name, err)
		})
	}
}

// Where every site leaves the login to itself, nobody's 401 is the portal's.
func TestSessionsWhitelistWithoutGuardedSites(t *testing.T) {
	m := production()
	m.Sites = m.Sites[2:4]
	got, err := crowdsec.SessionsWhitelist(m)
	require.NoError(t, err)
	golden.Equal(t, "whitelist-sessions-none", got)
}

func TestBanHoursReachTheProfiles(t *testing.T) {
	m := production()
	m.BanHours = 24
	got, err := crowdsec.Profiles(m)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(got), "duration: 24h"))
	assert.NotContains(t, string(got), "* 4)")
}

func TestEnvironment(t *testing.T) {
	m := production()
	assert.Equal(t, map[string]string{
		"COLLECTIONS":        "LePresidente/authelia crowdsecurity/appsec-generic-rules crowdsecurity/appsec-virtual-patching crowdsecurity/base-http-scenarios crowdsecurity/caddy crowdsecurity/http-cve",
		"DISABLE_ONLINE_API": "true",
	}, m.Environment())
	m.CommunityBlocklist = true
	assert.Equal(t, "false", m.Environment()["DISABLE_ONLINE_API"])
}

func TestBouncerSecretFile(t *testing.T) {
	assert.Equal(t, "bouncer_key_caddy", crowdsec.BouncerSecretFile(""))
	assert.Equal(t, "bouncer_key_caddy_2", crowdsec.BouncerSecretFile("2"))
}
