package lab

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnlyImagesComeFromTheRealInternet(t *testing.T) {
	assert.Nil(t, internet(true))
	out := internet(false)
	require.NotNil(t, out)
	for _, name := range []string{"registry-1.docker.io", "auth.docker.io", "ghcr.io", "proxy.golang.org", "cdn-hub.crowdsec.net"} {
		assert.True(t, out.Allowed(name), name)
	}
	for _, name := range []string{
		"", "example.com", "notdocker.io", "docker.io.example.com", "docker.com", "githubusercontent.com", "api.crowdsec.net", "acme-v02.api.letsencrypt.org",
		"api.cloudflare.com", "controlplane.tailscale.com", "localhost",
	} {
		assert.False(t, out.Allowed(name), name)
	}
}
