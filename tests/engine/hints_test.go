package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
	"homelab/internal/workspace/hints"
)

// zone is the zone of the production example.
const zone = "0123456789abcdef0123456789abcdef"

// A ruleset that the dashboard made stops the first deployment. The hint's own command takes it
// over, and the next deployment goes through.
func TestWhatTheDashboardMadeIsTakenOver(t *testing.T) {
	world := simcloud.New(simcloud.Options{ZoneID: zone, Rulesets: []string{"http_ratelimit"}})
	w := open(t, func(o *workspace.Options) { o.World = world })
	stopped, err := w.Up(t.Context())
	require.Error(t, err)
	told := hints.For(err.Error(), w.Stack())
	require.Len(t, told, 1, "%s", logOf(stopped))
	assert.Empty(t, world.PublicHostnames())

	var theirs string
	for _, o := range world.Inventory() {
		if o.Type == "cloudflare:index/ruleset:Ruleset" && o.Name == "default" {
			theirs = o.ID
		}
	}
	require.NotEmpty(t, theirs)
	runCLI(t, w, strings.NewReplacer("$zone", zone, "$id", theirs).Replace(importLine(t, told[0])))
	up(t, w)
	assert.Equal(t, publicHostnames(), world.PublicHostnames())
	again, err := w.Preview(t.Context())
	require.NoError(t, err)
	assert.False(t, again.HasChanges(), "%s", again.Counts())
}

// The OAuth client of another tailnet stops the preview already: that tailnet's policy file is not
// the program's to replace.
func TestThePolicyOfAnotherTailnetStays(t *testing.T) {
	world := simcloud.New(simcloud.Options{ZoneID: zone, Tailnet: "work.ts.net"})
	w := open(t, func(o *workspace.Options) { o.World = world })
	preview, err := w.Preview(t.Context())
	require.Error(t, err)
	assert.Contains(t, logOf(preview), `is a client of the tailnet "work.ts.net", not of "tail1234.ts.net"`)
	_, err = w.Up(t.Context())
	require.Error(t, err)
	assert.Empty(t, world.Policy())
	assert.Empty(t, world.Machines())
}

// importLine returns the arguments of pulumi import in a hint.
func importLine(t *testing.T, hint string) string {
	t.Helper()
	_, line, found := strings.Cut(hint, "pulumi import ")
	require.True(t, found, hint)
	return "import " + strings.ReplaceAll(line, "\\\n", " ")
}

var argument = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)

// runCLI runs the Pulumi CLI on the simulation, as its owner would.
func runCLI(t *testing.T, w *workspace.Simulation, line string) {
	t.Helper()
	path, err := cli()
	require.NoError(t, err)
	server, err := w.World().Serve(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	var args []string
	for _, a := range argument.FindAllString(line, -1) {
		args = append(args, strings.Trim(a, `'"`))
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "--non-interactive")...)
	cmd.Dir = w.Dir()
	cmd.Env = append(os.Environ(), "PULUMI_DEBUG_PROVIDERS="+server.DebugProviders(), "PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_BACKEND_URL=file://"+filepath.Join(w.Dir(), "backend"), "PULUMI_HOME="+t.TempDir(),
		"PULUMI_CONFIG_PASSPHRASE_FILE="+filepath.Join(w.Dir(), "passphrase"), "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
		"PATH="+languagePath(t))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "pulumi %s\n%s", strings.Join(args, " "), out)
}
