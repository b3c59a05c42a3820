package gateway

import (
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/caddyfile"
	"homelab/components/gateway/internal/crowdsec"
	"homelab/components/gateway/internal/fail2ban"
	"homelab/components/host"
	"homelab/components/internal/access"
	"homelab/components/internal/memory"
)

// The renderers know nothing of each other. What two of them must agree on is agreed here.
func TestFilesAgreeAcrossPrograms(t *testing.T) {
	caddy, portal, jails, engine := caddyfile.DefaultPaths(), authelia.DefaultPaths(), fail2ban.DefaultPaths(), crowdsec.DefaultLogs()
	assert.Equal(t, host.Root+"/"+caddyName+"/logs/"+path.Base(caddy.AccessLog), jails.AccessLog, "Fail2ban reads another access log than Caddy writes")
	assert.Equal(t, host.Root+"/"+autheliaName+"/logs/"+path.Base(portal.Log), jails.PortalLog, "Fail2ban reads another log than the portal writes")
	assert.Equal(t, path.Base(caddy.AccessLog), path.Base(engine.Caddy))
	assert.Equal(t, path.Base(portal.Log), path.Base(engine.Authelia))
	assert.NotEqual(t, path.Dir(engine.Caddy), path.Dir(engine.Authelia), "two folders cannot be mounted at one path")
	assert.Equal(t, path.Dir(caddy.AccessLog), path.Dir(path.Dir(caddy.KnownLog)), "the logs are one mounted folder, and the detectors watch no other")
	assert.Equal(t, path.Dir(caddy.ACMEToken), path.Dir(caddy.BouncerKey), "the secrets are one mounted folder")
}

// What visitors make the proxy hold leaves most of its memory to everything else.
func TestHeldBodiesFitTheProxysMemory(t *testing.T) {
	const mebibyte = 1 << 20
	assert.LessOrEqual(t, 4*caddyfile.HeldBytes(), memory.Caddy*mebibyte)
	// AppSec keeps a body about four times: as it came, as a buffer of its engine, and parsed.
	assert.LessOrEqual(t, 6*caddyfile.HeldBytes(), memory.CrowdSec*mebibyte)
}

func TestThePortalIsWhereItsVisitorsAre(t *testing.T) {
	site := func(v access.Visibility, p access.Policy) Site {
		return Site{Visibility: v, Access: access.Access{Policy: p}}
	}
	assert.Equal(t, access.Tailnet, (&Sites{nil}).portalVisibility())
	assert.Equal(t, access.Tailnet, (&Sites{[]Site{site(access.Tailnet, access.TwoFactor), site(access.Public, access.Native)}}).portalVisibility())
	assert.Equal(t, access.Public, (&Sites{[]Site{site(access.Tailnet, access.TwoFactor), site(access.Public, access.OneFactor)}}).portalVisibility())

	// A service's own login that ends at the portal needs it as much.
	own := site(access.Public, access.Native)
	own.OpenID = &OpenID{}
	assert.Equal(t, access.Public, (&Sites{[]Site{own}}).portalVisibility())
}

func TestTheStoresFilesRefuseWhatWouldMeanSomething(t *testing.T) {
	for _, secret := range []string{"", "two words", "line\nend", `quo"te`} {
		_, err := renderStore(secret)
		assert.Error(t, err, "%q", secret)
		_, err = renderProbe(secret)
		assert.Error(t, err, "%q", secret)
	}
	config, err := renderStore("abc123")
	require.NoError(t, err)
	assert.Contains(t, config, "requirepass abc123\n")
}
