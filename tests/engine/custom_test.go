package engine

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/internal/workspace"
)

// readmeCustomService is the README's example of a service of the operator's own.
func readmeCustomService(t *testing.T) map[string]any {
	t.Helper()
	page, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(config:\n  homelab:customServices:.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 1, "the README has one example")
	require.LessOrEqual(t, strings.Count(blocks[0][1], "\n"), 25, "the example is longer than promised")
	var example struct{ Config map[string]any }
	require.NoError(t, yaml.Unmarshal([]byte(blocks[0][1]), &example))
	return example.Config
}

// The README's example gets all that a service of the catalogue gets, and goes without a trace.
func TestAServiceOfTheOperatorsOwn(t *testing.T) {
	const name, hostname = "custom-homepage", "links.example.com"
	config := readmeCustomService(t)
	w := open(t, func(o *workspace.Options) { o.Config = config })
	up(t, w)
	assert.Contains(t, w.World().PublicHostnames(), hostname)

	written := map[string]string{}
	for _, c := range w.World().Commands("") {
		written[c.Resource] = c.Stdin
	}
	assert.Contains(t, written["Caddyfile"], hostname, "the proxy's route")
	assert.Contains(t, written["Caddyfile"], name+":3000", "its upstream")
	assert.Contains(t, written["authelia-configuration.yml"], hostname, "the portal's rule")
	assert.Contains(t, written["crowdsec-whitelist-sessions.yaml"], hostname, "the whitelist of ended sessions")
	assert.Contains(t, written["backup-backup.json"], "/opt/homelab/"+name+"/app-config", "the backup")

	live, err := w.World().Live(typeContainer, name)
	require.NoError(t, err)
	text, err := json.Marshal(live)
	require.NoError(t, err)
	for _, must := range []string{`"readOnly":true`, `"privileged":false`, `"user":"2002:2002"`, `"memory":512`, `"no-new-privileges"`} {
		assert.Contains(t, string(text), must)
	}

	without := open(t)
	up(t, without)
	assert.NotContains(t, without.World().PublicHostnames(), hostname)
}
