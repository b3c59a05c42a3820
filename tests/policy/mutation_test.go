package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/policy/rules"
)

// The stack as it is breaks no rule, and every way to break it is found by the rules that are there
// for it and by no other.
func TestEveryMutantIsCaught(t *testing.T) {
	assert.Empty(t, newState(t).failed())
	for _, m := range mutants() {
		t.Run(m.what, func(t *testing.T) {
			t.Parallel()
			s := newState(t)
			m.do(s)
			want := slices.Sorted(slices.Values(m.caught))
			assert.Equal(t, want, s.failed())
		})
	}
}

// What a preview does not know, and what the settings allow beside the example, breaks no rule.
func TestWhatBreaksNoRule(t *testing.T) {
	for what, do := range map[string]func(*state){
		"a preview does not know the tunnel's ID":   setValue(docker, "qbittorrent", unknown, "networkMode"),
		"a preview does not know the tunnel's file": setValue(command, "gluetun-reach", unknown, "stdin"),
		"a preview does not know what Gluetun is told": func(s *state) {
			s.get(docker, "gluetun").set(unknown, "envs")
		},
		"Docker says of a container that runs what nobody has declared": func(s *state) {
			s.get(docker, "docker-api").set([]any{"/socket-proxy"}, "entrypoints")
			const id = "08117d04f7c5832fd3f6549d5a6c42ef97377cf9bf1e95dfa2603af9da4bb977"
			s.get(docker, "qbittorrent").set("container:"+id, "networkMode")
			for _, name := range []string{"gluetun", "qbittorrent"} {
				s.get(docker, name).set(id[:12], "hostname")
			}
		},
		"OpenVPN": func(s *state) {
			tellAlso("VPN_TYPE=openvpn")(s)
			tellAlso("OPENVPN_ENDPOINT_PORT=443")(s)
			s.get(command, "gluetun-reach").replace("stdin", "udp . 51820", "tcp . 443")
			user := s.copyOf(s.get(command, "jackett-start"), "gluetun-openvpn_user")
			user.replace("create", "/opt/homelab/jackett/seed/start", "/opt/homelab/gluetun/secrets/openvpn_user")
			user.set("somebody", "stdin")
		},
		"a preview does not know who reaches the monitoring": func(s *state) {
			for _, name := range []string{"prometheus-later-reach", "grafana-reach", "home-reach", "docker-api-reach"} {
				s.get(command, name).set(unknown, "stdin")
			}
		},
		"a preview does not know what the monitoring is told": func(s *state) {
			for _, name := range []string{prometheusConfig, alertmanagerConfig, grafanaConfig} {
				s.get(command, name).set(unknown, "stdin")
			}
			s.get(docker, "docker-api").set(unknown, "command")
			s.get(docker, "jellyseerr").of["inputs"].(object)["labels"] = unknown
		},
		"the kept alerts are told by mail too": replaceText(command, alertmanagerConfig, "stdin", "    webhook_configs:", "    email_configs:\n      - to: a@example.com\n    webhook_configs:"),
		"another log shipper": func(s *state) {
			s.get("remoteImage:RemoteImage", "alloy").replace("name", "grafana/alloy", "grafana/promtail")
		},
		"Grafana of the other edition": func(s *state) {
			s.get("remoteImage:RemoteImage", "grafana").replace("name", "grafana/grafana", "grafana/grafana-oss")
		},
		"an API of another version":  asked("-allowHEAD=/v1\\.5[0-9]/(version|networks)"),
		"the firewall is on by name": tellAlso("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT=on"),
		"a graphics card for films":  setValue(docker, "jellyfin", []any{object{"hostPath": "/dev/dri"}}, "devices"),
	} {
		t.Run(what, func(t *testing.T) { assert.Empty(t, changed(t, do).failed()) })
	}
}

// Without the wiring, a record of Jellyfin's may wait for its administrator instead, and no other.
func TestJellyfinNeedsItsAdministrator(t *testing.T) {
	named := func(s *state) {
		withoutWiring(s)
		p := s.get(record, "jellyfin")
		p.put("dependencies", append(p.of["dependencies"].([]any), s.get(command, "jellyfin-administrator").of["urn"]))
	}
	open := func(do func(*state)) (out []string) {
		for _, o := range changed(t, do).audit().Rules {
			for _, f := range o.Findings {
				if o.ID == "record-set-up" {
					host, _, _ := strings.Cut(f.Message, " ")
					out = append(out, host)
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	others := []string{"jackett.example.com", "prowlarr.example.com", "qbittorrent.example.com", "radarr.example.com", "requests.example.com", "sonarr.example.com"}
	assert.Equal(t, others, open(named))
	assert.Contains(t, open(withoutWiring), "jellyfin.example.com")
}

// No rule is there that no mutant breaks.
func TestEveryRuleCatchesAMutant(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range mutants() {
		for _, id := range m.caught {
			caught[id] = true
		}
	}
	for _, r := range rules.All() {
		assert.True(t, caught[r.ID], "no mutant breaks %s", r.ID)
	}
	assert.GreaterOrEqual(t, len(mutants()), 150)
}
