package site_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/example"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/golden"
)

func TestValidateAll(t *testing.T) {
	require.NoError(t, site.ValidateAll(example.Sites()))

	golden.Error(t, "problems", site.ValidateAll([]site.Site{
		{},
		{
			Name: "Upper", Hostname: "localhost", Visibility: "lan", Upstream: "no-port", MaxBodyMB: -1,
			Access: access.Access{Policy: "none"},
		},
		{
			Name: "native", Hostname: "a.example.com", Visibility: access.Public, Upstream: "app:70000", MaxBodyMB: 5000,
			Access: access.Access{Policy: access.Native, Groups: []string{"users"}},
			Bypass: []access.Bypass{{Path: "/api", Reason: ""}},
		},
		{
			Name: "native", Hostname: "a.example.com", Visibility: access.Tailnet, Upstream: "{env.HOME}:80",
			Access: access.Access{Policy: access.Native},
		},
	}))
}

func TestHostname(t *testing.T) {
	for _, good := range []string{"a.example.com", "a-b.c.example.org", "xn--bcher-kva.example.com"} {
		assert.NoError(t, site.Hostname(good))
	}
	for _, bad := range []string{"", "example", "a.example.com.", "A.example.com", "a_b.example.com", "*.example.com", "a.example.com:443", "1.2.3.4", "-a.example.com", "a b.example.com", "a.example.com\n}"} {
		assert.Error(t, site.Hostname(bad), bad)
	}
}

func TestHostPort(t *testing.T) {
	for _, good := range []string{"app:80", "10.0.0.1:8080", "[::1]:9091", "authelia-store:6379"} {
		assert.NoError(t, site.HostPort(good))
	}
	for _, bad := range []string{"", "app", "app:", "app:0", "app:65536", "app:http", ":80", "app:80 {", "a{b}:80"} {
		assert.Error(t, site.HostPort(bad), bad)
	}
}

func TestRanges(t *testing.T) {
	require.NoError(t, site.Ranges("ranges", example.CloudflareRanges()))
	require.ErrorContains(t, site.Ranges("ranges", nil), "ranges: is empty")
	golden.Error(t, "ranges", site.Ranges("ranges", []string{"10.0.0.1", "10.0.0.1/24", "0.0.0.0/0", "::/0", "cloudflare"}))
}

func TestBodyLimit(t *testing.T) {
	assert.Equal(t, site.DefaultMaxBodyMB, site.Site{}.BodyLimitMB())
	assert.Equal(t, 3, site.Site{MaxBodyMB: 3}.BodyLimitMB())
}

func TestSortedLeavesItsArgumentAlone(t *testing.T) {
	sites := example.Sites()
	sorted := site.Sorted(sites)
	assert.Equal(t, example.Sites(), sites)
	var names []string
	for _, s := range sorted {
		names = append(names, s.Name)
	}
	assert.Equal(t, []string{"grafana", "jellyfin", "jellyseerr", "photos", "radarr"}, names)
}
