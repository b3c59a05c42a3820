package declared

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
	"homelab/policy/rules"
)

type object = map[string]any

// resource is one of an export.
func resource(kind, name string, inputs object) object {
	return object{"urn": "urn:pulumi:prod::homelab::" + kind + "::" + name, "type": kind, "inputs": inputs, "outputs": object{}}
}

func file(name, path, content string) object {
	return resource("command:remote:Command", name, object{"create": "sudo -n /usr/local/sbin/homelab-file put 0400 root:root " + path, "stdin": content})
}

func container(name, image, address string, more object) object {
	inputs := object{"name": name, "image": image, "networksAdvanced": []any{object{"name": "n", "ipv4Address": address}}}
	for key, value := range more {
		inputs[key] = value
	}
	return resource("docker:index/container:Container", name, inputs)
}

func record(name string, proxied bool) object {
	return resource("cloudflare:index/dnsRecord:DnsRecord", name, object{"name": name, "type": "A", "content": "192.0.2.1", "proxied": proxied})
}

func published(ip string, internal int) object {
	return object{"ip": ip, "internal": internal, "external": 443, "protocol": "tcp"}
}

// guarded and open are blocks as the proxy's configuration has them.
const caddyfile = `
(authenticate) {
	authenticate http://authelia:9091/api/authz/forward-auth
}
https://requests.example.com:8443 {
	route {
		import authenticate
		reverse_proxy jellyseerr:5055
	}
}
https://auth.example.com:8443 {
	route {
		reverse_proxy authelia:9091
	}
}
https://auth.example.com:9443 {
	route {
		reverse_proxy authelia:9091
	}
}
https://films.example.com:9443 {
	route {
		reverse_proxy jellyfin:8096
	}
}
https://loose.example.com:9443 {
	route {
		reverse_proxy jellyfin:8096
	}
}
https://auth.example.com:443 {
	reverse_proxy authelia:9091
}
https://:8443 {
	abort
}
`

const portal = `
access_control:
  default_policy: deny
  rules:
    - domain: [requests.example.com]
      resources: ["^/api/v1/status$"]
      methods: [GET, HEAD]
      policy: bypass
    - domain: [requests.example.com, loose.example.com]
      policy: two_factor
      subject: [["group:users"]]
`

func stack(ports ...any) []object {
	return []object{
		container("caddy", "homelab/caddy:1", "172.30.1.2", object{"ports": ports}),
		container("authelia", "ghcr.io/authelia/authelia:4@sha256:x", "172.30.1.3", nil),
		container("jellyfin", "jellyfin/jellyfin:10", "172.30.1.4", nil),
		container("docker-api", "proxy:1", "172.30.1.5", object{"mounts": []any{object{"type": "bind", "source": "/run/docker.sock", "target": "/var/run/docker.sock"}}}),
		container("alloy", "grafana/alloy:1", "172.30.1.6", nil),
		file("caddyfile", "/opt/homelab/caddy/config/Caddyfile", caddyfile),
		file("portal", "/opt/homelab/authelia/config/configuration.yml", portal),
		file("reach-caddy", "/opt/homelab/firewall/container-caddy.nft", "add element bridge homelab edges { 172.30.1.2 . 172.30.1.4 . 8096 }\n"+
			"add element inet homelab_containers edges { 172.30.1.2 . 172.30.1.4 . 8096 }\nadd element inet homelab_containers internet { 172.30.1.2 }\n"),
		file("reach-alloy", "/opt/homelab/firewall/container-alloy.nft", "add element bridge homelab edges { 172.30.1.6 . 172.30.1.5 . 2375 }\n"+
			"add element inet homelab_containers tunnels { 172.30.1.6 . 185.213.154.68 . udp . 51820 }\n"),
		record("requests.example.com", true), record("films.example.com", false), record("auth.example.com", true), record("gone.example.com", true),
	}
}

func of(t *testing.T, resources []object) (rehearsal.Declared, error) {
	t.Helper()
	text, err := json.Marshal(object{"version": 3, "deployment": object{"resources": resources}})
	require.NoError(t, err)
	export, err := rules.ReadExport(strings.NewReader(string(text)))
	require.NoError(t, err)
	return Of(export.Graph)
}

func TestWhatAStackDeclares(t *testing.T) {
	got, err := of(t, stack(published("192.0.2.1", 8443), published("2001:db8::1", 8443), published("100.64.0.7", 9443)))
	require.NoError(t, err)
	assert.Equal(t, rehearsal.Declared{
		Portal: "auth.example.com", PublicPort: 443, TailnetPort: 443,
		Hostnames: []rehearsal.DeclaredHost{
			{Name: "auth.example.com", Public: true, Tailnet: true}, // whoever has no login must get there
			{Name: "films.example.com", Tailnet: true},              // its own login
			{Name: "gone.example.com"},                              // a record, and nobody serves it
			// The portal wants a login, and the proxy does not ask it: that must be found.
			{Name: "loose.example.com", Tailnet: true, Guarded: true},
			{Name: "requests.example.com", Public: true, Guarded: true, Open: []string{"^/api/v1/status$"}},
		},
		Containers: []rehearsal.DeclaredContainer{
			{Name: "alloy"}, {Name: "authelia"}, {Name: "caddy", Internet: true}, {Name: "docker-api", Engine: true}, {Name: "jellyfin"},
		},
		Edges: []rehearsal.DeclaredEdge{{From: "alloy", To: "docker-api", Port: 2375}, {From: "caddy", To: "jellyfin", Port: 8096}},
	}, got)
}

func TestWhatCannotBeExpected(t *testing.T) {
	for want, ports := range map[string][]any{
		`is served at "", which is no address`:               {published("", 8443)},
		`is served at port 444, and another hostname at 443`: {published("192.0.2.1", 8443), object{"ip": "192.0.2.2", "internal": 8443, "external": 444}},
		`is served at port 0`:                                {object{"ip": "192.0.2.2", "internal": 8443}},
	} {
		_, err := of(t, stack(ports...))
		require.ErrorContains(t, err, want)
	}
}

func TestTheProxysRealConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../../components/gateway/internal/caddyfile/testdata/production.golden")
	require.NoError(t, err)
	resources := stack(published("192.0.2.1", 8443), published("100.64.0.7", 9443))
	for _, r := range resources {
		if strings.HasSuffix(r["urn"].(string), "::caddyfile") {
			r["inputs"].(object)["stdin"] = string(text)
		}
	}
	got, err := of(t, resources)
	require.NoError(t, err)
	var names []string
	for _, h := range got.Hostnames {
		if h.Public || h.Tailnet {
			names = append(names, fmt.Sprintf("%s public %t, tailnet %t, guarded %t", h.Name, h.Public, h.Tailnet, h.Guarded))
		}
	}
	assert.Equal(t, []string{
		"auth.example.com public true, tailnet false, guarded false",
		"grafana.example.com public false, tailnet true, guarded true",
		"jellyfin.example.com public false, tailnet true, guarded false",
		"movies.example.com public true, tailnet false, guarded true",
		"photos.example.com public true, tailnet false, guarded false",
		"requests.example.com public true, tailnet false, guarded true",
	}, names)
	assert.Equal(t, "auth.example.com", got.Portal)
}
