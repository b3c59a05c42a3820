package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/media"
	"homelab/components/service"
	"homelab/components/stack"
	"homelab/components/workload"
	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

// everything is a service that says all that a definition can say.
func everything() service.Definition {
	d := media.Jellyseerr()
	d.Name, d.Type, d.Image = "everything", "homelab:media:Everything", images.Jellyseerr
	d.Slot = 63
	d.User, d.Library = host.MediaOwner, service.WriteLibrary("/library")
	d.Devices = []workload.Device{workload.Graphics("it transcodes")}
	d.Secrets = []string{"api-key"}
	d.Login = &service.Login{RedirectPaths: []string{"/callback"}, Scopes: []string{"groups"}}
	d.Environment = map[string]string{"API_KEY_FILE": "/etc/everything/config.json"}
	d.Default.Hostname = "everything"
	d.Files = []service.File{{Target: "/etc/everything/config.json", Content: func(given service.Given) (pulumi.StringInput, error) {
		jellyfin, err := given.Address(media.Jellyfin)
		if err != nil {
			return nil, err
		}
		return pulumi.All(given.Secrets["api-key"], given.Login.ClientSecret).ApplyT(func(v []any) (string, error) {
			text, err := json.Marshal(map[string]any{
				"key": v[0], "secret": v[1], "client": given.Login.ClientID, "issuer": given.Login.Issuer, "jellyfin": jellyfin,
			})
			return string(text), err
		}).(pulumi.StringOutput), nil
	}}}
	return d
}

func withEverything(o *workspace.Options) {
	o.Program = stack.FromCatalog(append(media.Catalog(), everything()))
}

// Secrets and credentials reach a service in files, and nothing else in the program names the
// service.
func TestADefinitionIsAllThatAServiceNeeds(t *testing.T) {
	w := open(t, withEverything)
	up(t, w)
	assert.Contains(t, w.World().PublicHostnames(), "everything.example.com")
	written := map[string]simcloud.Command{}
	for _, c := range w.World().Commands("") {
		written[c.Resource] = c
	}
	file := written["everything-files-etc-everything-config.json"]
	assert.Contains(t, file.Script, "put 0400 "+host.MediaOwner+" /opt/homelab/everything/files-etc-everything/config.json")
	var config map[string]string
	require.NoError(t, json.Unmarshal([]byte(file.Stdin), &config))
	assert.Equal(t, "everything", config["client"])
	assert.Equal(t, "https://auth.example.com", config["issuer"])
	assert.Equal(t, "jellyfin:8096", config["jellyfin"])
	for _, key := range []string{"key", "secret"} {
		require.NotEmpty(t, config[key])
		assert.Contains(t, w.World().Secrets(), config[key])
	}
	assert.Contains(t, written["authelia-openid.yml"].Stdin, "https://everything.example.com/callback", "the portal knows the client")

	live, err := w.World().Live(typeContainer, "everything")
	require.NoError(t, err)
	text, err := json.Marshal(live)
	require.NoError(t, err)
	for _, key := range []string{"key", "secret"} {
		assert.NotContains(t, string(text), config[key], "a secret is in the container's settings")
	}
	assert.Contains(t, string(text), `"hostPath":"/dev/dri"`)
	assert.Contains(t, string(text), `"target":"/library"`)

	// Without the service nothing of it is left.
	_, err = w.LiftProtection(t.Context())
	require.NoError(t, err)
	destroyed, err := w.Destroy(t.Context())
	require.NoError(t, err, "%s", logOf(destroyed))
	assert.Empty(t, w.World().Inventory())
}

// A file that asks for a service which the definition does not use is refused, and nothing is made.
func TestAFileCannotNameAServiceThatIsNotUsed(t *testing.T) {
	d := everything()
	d.Uses, d.Login = nil, nil
	w := open(t, func(o *workspace.Options) { o.Program = stack.FromCatalog(append(media.Catalog(), d)) })
	summary, err := w.Preview(t.Context())
	require.Error(t, err)
	assert.Contains(t, strings.Join(strings.Fields(summary.Log), " "), "jellyfin is not among the services that this one uses")
}
