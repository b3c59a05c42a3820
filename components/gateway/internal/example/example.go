// Package example is the deployment that the renderers' tests render: every kind of site on every
// listener.
package example

import (
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

const (
	// Domain is the zone's apex.
	Domain = "example.com"
	// Portal is the portal's hostname.
	Portal = "auth.example.com"
	// ZoneID is the zone at Cloudflare.
	ZoneID = "0123456789abcdef0123456789abcdef"
)

// Sites are the services.
func Sites() []site.Site {
	return []site.Site{
		{
			Name: "jellyseerr", Hostname: "requests.example.com", Visibility: access.Public, Upstream: "jellyseerr:5055",
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users", "admins"}},
			Bypass: []access.Bypass{
				{Path: "^/api/v1/status$", Reason: "asked by the uptime monitor"},
				{Path: `^/site\.webmanifest$`, Reason: "browsers fetch it without cookies"},
				{Path: "^/api/v1/hooks/[0-9a-f]{32}$", Methods: []string{"POST"}, Reason: "called by the download client"},
			},
		},
		{
			Name: "radarr", Hostname: "movies.example.com", Visibility: access.Public, Upstream: "radarr:7878",
			Access: access.Access{Policy: access.OneFactor, Groups: []string{"admins"}},
			Uploads: []access.Upload{
				{Path: "/upload", MaxMB: 100, Reason: "subtitles in one archive"},
				{Path: "/api/upload", Methods: []string{"PUT", "POST"}, MaxMB: 50, Reason: "a film by hand"},
			},
		},
		{
			Name: "photos", Hostname: "photos.example.com", Visibility: access.Public, Upstream: "photos:2283", MaxBodyMB: 5,
			Access:  access.Access{Policy: access.Native, Reason: "its phone app cannot log in at the portal"},
			Uploads: []access.Upload{{Path: "/api/assets", Methods: []string{"PUT"}, MaxMB: 100, Reason: "films from phones"}},
			OpenID:  &site.OpenID{RedirectPaths: []string{"/auth/login"}, Scopes: []site.Scope{site.Email, site.Profile}, Groups: []string{"users", "admins"}},
		},
		{
			Name: "jellyfin", Hostname: "jellyfin.example.com", Visibility: access.Tailnet, Upstream: "jellyfin:8096",
			Access: access.Access{Policy: access.Native},
		},
		{
			Name: "grafana", Hostname: "grafana.example.com", Visibility: access.Tailnet, Upstream: "grafana:3000",
			Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
			Bypass: []access.Bypass{{Path: "^/api/health$", Reason: "asked by the uptime monitor"}},
			OpenID: &site.OpenID{RedirectPaths: []string{"/login/generic_oauth"}, Scopes: site.Scopes()},
		},
	}
}

// CloudflareRanges are address ranges of the edge.
func CloudflareRanges() []string {
	return []string{"173.245.48.0/20", "103.21.244.0/22", "2400:cb00::/32"}
}

// TailnetRanges are the address ranges of the tailnet.
func TailnetRanges() []string { return []string{"fd7a:115c:a1e0::/48", "100.64.0.0/10"} }

// ContainerRanges are the ranges of the containers' networks.
func ContainerRanges() []string { return []string{"172.30.1.0/24", "172.30.2.0/24"} }
