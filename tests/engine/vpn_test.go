package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// vpnWith is the example's VPN, with these settings changed.
func vpnWith(changes map[string]any) map[string]any {
	out := map[string]any{
		"provider": "mullvad",
		"wireguard": map[string]any{
			"address": "185.213.154.68", "port": 51820, "publicKey": "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "addresses": []any{"10.67.12.34/32"},
		},
	}
	for key, value := range changes {
		out[key] = value
	}
	return map[string]any{"homelab:vpn": out}
}

func container(t *testing.T, w *workspace.Simulation, name string) apitype.ResourceV3 {
	t.Helper()
	for _, r := range state(t, w) {
		if r.Type == typeContainer && r.URN.Name() == name {
			return r
		}
	}
	return apitype.ResourceV3{}
}

// What is behind the tunnel has its network and no other, and starts after it.
func TestWhatIsBehindTheTunnel(t *testing.T) {
	w := open(t)
	made := spans(up(t, w))
	tunnel, client := container(t, w, "gluetun"), container(t, w, "qbittorrent")
	assert.Equal(t, "container:"+string(tunnel.ID), client.Inputs["networkMode"])
	assert.Empty(t, client.Inputs["networksAdvanced"])
	assert.Less(t, made[string(named(t, state(t, w), "gluetun-healthy").URN)].finished, made[string(client.URN)].started)
	reach, _ := named(t, state(t, w), "gluetun-reach").Inputs["stdin"].(string)
	assert.Contains(t, reach, "tunnels { 172.30.3.20 . 185.213.154.68 . udp . 51820 }")
	assert.NotContains(t, reach, "internet")
	// Its container may take addresses of its network: nobody there has a way out by them, or an edge but to
	// what is behind it.
	for _, c := range containers(state(t, w)) {
		ways, _ := named(t, state(t, w), c.URN.Name()+"-reach").Inputs["stdin"].(string)
		assert.NotContains(t, ways, "internet { 172.30.3.", c.URN.Name())
		for line := range strings.Lines(ways) {
			if strings.Contains(line, "edges { 172.30.3.") {
				assert.Contains(t, line, " . 172.30.3.20 . 8080 }", c.URN.Name())
			}
		}
	}
	for _, c := range w.World().Commands("") {
		assert.NotContains(t, c.Script, "container-qbittorrent", "it has an edge of its own")
	}
}

// Another VPN server is another tunnel, and what is behind it is made anew; no other container is.
func TestAnotherTunnel(t *testing.T) {
	dir := t.TempDir()
	w := open(t, func(o *workspace.Options) { o.State, o.Config = dir, vpnWith(nil) })
	up(t, w)
	before := state(t, w)
	require.NoError(t, w.Close())

	w = open(t, func(o *workspace.Options) {
		o.State, o.Config = dir, vpnWith(map[string]any{"wireguard": map[string]any{
			"address": "193.138.218.74", "port": 51820, "publicKey": "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4=", "addresses": []any{"10.67.12.34/32"},
		}})
	})
	up(t, w)
	assert.Equal(t, []string{"gluetun", "qbittorrent"}, changed(before, state(t, w)))
	assert.Equal(t, "container:"+string(container(t, w, "gluetun").ID), container(t, w, "qbittorrent").Inputs["networkMode"])
}

// changed are the names of the containers that were made anew.
func changed(before, after []apitype.ResourceV3) []string {
	was := map[resource.URN]resource.ID{}
	for _, r := range before {
		was[r.URN] = r.ID
	}
	var out []string
	for _, r := range after {
		if id, known := was[r.URN]; known && r.Type == typeContainer && id != r.ID {
			out = append(out, r.URN.Name())
		}
	}
	slices.Sort(out)
	return out
}

// Without a VPN there is neither tunnel nor client, also where there was one; with it both come
// back, and the rest of the stack stays as it is.
func TestVPNOffAndBack(t *testing.T) {
	dir := t.TempDir()
	run := func(config map[string]any) []apitype.ResourceV3 {
		w := open(t, func(o *workspace.Options) { o.State, o.Config = dir, config })
		up(t, w)
		all := state(t, w)
		require.NoError(t, w.Close())
		return all
	}
	on := run(vpnWith(nil))
	off := run(vpnWith(map[string]any{"provider": "off"}))
	for _, r := range off {
		assert.NotContains(t, r.URN.Name(), "qbittorrent")
		assert.False(t, strings.HasPrefix(r.URN.Name(), "gluetun-"), r.URN.Name())
	}
	back := run(vpnWith(nil))
	assert.ElementsMatch(t, urns(on), urns(back))
	for _, c := range containers(on) {
		// The gateway reads its list of hostnames at start; who reaches the client is on its network.
		if slices.Contains([]string{"gluetun", "wire", "radarr", "sonarr", "crowdsec", "authelia"}, c.URN.Name()) {
			continue
		}
		for _, r := range back {
			assert.False(t, r.URN == c.URN && r.ID != c.ID, "%s was replaced", c.URN.Name())
		}
	}
}

// Nobody knows the services before they are connected with each other, and what connects them has
// their keys in a file that only it can read.
func TestServicesAreConnectedBeforeAnyRoute(t *testing.T) {
	w := open(t)
	made := spans(up(t, w))
	all := state(t, w)
	wired := named(t, all, "wire-healthy")
	assert.Less(t, made[string(wired.URN)].finished, made[string(named(t, all, "Caddyfile").URN)].started)
	var plan struct {
		Radarr      struct{ URL, APIKey, Password, RootFolder string }
		Qbittorrent struct {
			URL        string
			Categories []string
		}
	}
	for _, c := range w.World().Commands("") {
		if c.Resource != "wire-plan.json" {
			continue
		}
		assert.Contains(t, c.Script, "put 0400 2001:2001 /opt/homelab/wire/plan/plan.json")
		require.NoError(t, json.Unmarshal([]byte(c.Stdin), &plan))
	}
	assert.Equal(t, "http://radarr:7878", plan.Radarr.URL)
	assert.Equal(t, "/media/storagebox/movies", plan.Radarr.RootFolder)
	assert.Equal(t, "http://gluetun:8080", plan.Qbittorrent.URL)
	assert.Equal(t, []string{"radarr", "sonarr"}, plan.Qbittorrent.Categories)
	for _, secret := range []string{plan.Radarr.APIKey, plan.Radarr.Password} {
		assert.Contains(t, w.World().Secrets(), secret)
	}

	broken := open(t)
	broken.World().Inject(simcloud.Fault{Type: typeCommand, Name: "wire-healthy", Operation: simcloud.OpCreate})
	_, err := broken.Up(t.Context())
	require.Error(t, err)
	for _, c := range broken.World().Commands("") {
		assert.False(t, strings.HasSuffix(c.Script, "/Caddyfile"), "the proxy was told of services that are not connected")
	}
	assert.Empty(t, broken.World().DNSRecords())
}

// Every service that the deployment sets up is reached by what sets it up, and by nobody's route
// before.
func TestWhatConnectsThemReachesThem(t *testing.T) {
	w := open(t)
	up(t, w)
	reach, _ := named(t, state(t, w), "wire-reach").Inputs["stdin"].(string)
	for _, d := range media.Catalog() {
		if d.Wired {
			assert.Contains(t, reach, fmt.Sprintf(" %d }", d.Port), d.Name)
		}
	}
	assert.NotContains(t, reach, "internet")
}
