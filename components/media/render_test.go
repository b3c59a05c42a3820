package media

import (
	"encoding/json"
	"encoding/xml"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
)

func TestArrConfig(t *testing.T) {
	text, err := renderArr("Radarr", "0123456789abcdef<&", 7878)
	require.NoError(t, err)
	var got arrConfig
	require.NoError(t, xml.Unmarshal([]byte(text), &got))
	got.XMLName = xml.Name{}
	assert.Equal(t, arrConfig{
		BindAddress: "*", Port: 7878, APIKey: "0123456789abcdef<&", AuthenticationMethod: "Forms", AuthenticationRequired: "Enabled",
		AnalyticsEnabled: "False", UpdateMechanism: "Docker", InstanceName: "Radarr",
	}, got)
	assert.Contains(t, text, "<ApiKey>")
}

// The hash is the SHA-512 of the password and the key in UTF-16LE, computed apart from the code.
func TestJackettConfig(t *testing.T) {
	text, err := renderJackett("key", "pass", 9117)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.Equal(t, map[string]any{
		"Port": 9117.0, "AllowExternal": true, "UpdateDisabled": true, "APIKey": "key",
		"AdminPassword": "03d2cff087bd7d790f13b413febc06e0f51cd653ef4ac00978562f7a337494a8a6cf0f036624e7c9050935de1c80fd35d845b5df40611048e9c38d2e9ac44e8a",
	}, got)
}

func TestTorrentConfig(t *testing.T) {
	_, err := renderTorrent("0123456789abcdef", "short", "qbittorrent.example.com")
	require.ErrorContains(t, err, "the salt has fewer than 16 bytes")
	text, err := renderTorrent("0123456789abcdef", "0123456789abcdefgh", "qbittorrent.example.com")
	require.NoError(t, err)
	assert.Contains(t, text, "Session\\Interface=tun0\n")
	assert.NotContains(t, text, "0123456789abcdef\n")
}

// The plan is what the program that connects the services accepts; tests/config has it judged.
func TestWiringPlan(t *testing.T) {
	all := map[string]any{}
	for _, d := range Catalog() {
		if !d.Wired {
			continue
		}
		app := map[string]any{"url": "http://" + d.Name + ":" + strconv.Itoa(d.Port)}
		if slices.Contains(d.Secrets, apiKey) {
			app["apiKey"] = "the-generated-api-key-of-" + d.Name
		}
		if d.Administrator != nil || d.Name == "jellyfin" {
			app["user"], app["password"] = administrator, "the-generated-password-of-"+d.Name
		}
		all[d.Name] = app
	}
	args := &WiringArgs{
		Email: "admin@example.com", Hostnames: map[string]string{"jellyseerr": "requests.example.com"},
		Enforce: []string{"radarr"}, JackettIndexers: []string{"rarbg"}, ProwlarrIndexers: []string{"1337x"}, ListenPort: 4711,
	}
	for name, left := range map[string]map[string]any{"everything": all, "no-vpn": without(all, "qbittorrent"), "one": {"radarr": all["radarr"]}} {
		t.Run(name, func(t *testing.T) {
			text, err := json.MarshalIndent(args.render(left), "", "  ")
			require.NoError(t, err)
			golden.Equal(t, "wiring-"+name, append(text, '\n'))
		})
	}
}

// People ask for the profile that is written, where one is.
func TestRequestedProfile(t *testing.T) {
	args := &WiringArgs{QualityProfiles: chosen(t, []string{"uhd-bluray-web", "hd-bluray-web"}, nil)}
	plan := args.render(map[string]any{"radarr": map[string]any{}, "sonarr": map[string]any{}})
	assert.Equal(t, "UHD Bluray + WEB", plan.Radarr.QualityProfile)
	assert.Equal(t, "HD-1080p", plan.Sonarr.QualityProfile)
	require.ErrorContains(t, args.Validate(), "no service: pass the value that service.Run returned")
}

func without(all map[string]any, name string) map[string]any {
	out := maps.Clone(all)
	delete(out, name)
	return out
}

// Every service of the catalogue that people log in to themselves has a password of its own, and
// none is called by a name that another has.
func TestCatalog(t *testing.T) {
	slots := map[int]string{}
	for _, d := range Catalog() {
		require.NoError(t, d.Validate(), d.Name)
		if !d.BehindTunnel {
			assert.Empty(t, slots[d.Slot], "%s has the slot of another", d.Name)
			slots[d.Slot] = d.Name
		}
	}
	assert.Empty(t, slots[wireSlot], "the wiring's")
}
