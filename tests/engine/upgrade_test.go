package engine

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/media"
	"homelab/components/service"
	"homelab/components/stack"
	"homelab/internal/workspace"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fixture is the simulation of a stack that version 0.1.0 deployed, with its clouds, made by
//
//	homelab up --simulate --yes --state DIR
//
// at commit face2f8, without its history and logs. Its secrets were made up for it.
const fixture = "testdata/state-0.1.0.tar.gz"

// ofTheFixture are the services that version 0.1.0 had. Later ones are new to its owners, and say
// nothing about what an upgrade does to what is there.
func ofTheFixture() []service.Definition {
	return slices.DeleteFunc(media.Catalog(), func(d service.Definition) bool {
		return d.Name != "jellyfin" && d.Name != "jellyseerr"
	})
}

// What an upgrade does to a stack that an older version deployed is a list that a person has read:
// it replaces nothing that holds data, it works in one run, and then nothing is left to change.
func TestAStackOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("tar", "--extract", "--gzip", "--file", fixture, "--directory", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	w := open(t, func(o *workspace.Options) {
		o.State, o.Program, o.Config = dir, stack.FromCatalog(ofTheFixture()), vpnWith(map[string]any{"provider": "off"})
	})
	before := state(t, w)
	// The audit reads it, and says what the older version did not do yet.
	assert.Equal(t, []string{"container-orphan", "network-addresses", "network-filter", "network-filter-first", "network-monitoring", "network-names", "record-set-up"}, broken(exported(t, w)))
	preview, err := w.Preview(t.Context())
	require.NoError(t, err, "%s", logOf(preview))

	var changes []string
	for _, r := range preview.Resources {
		if r.Op != "same" {
			changes = append(changes, r.Op+" "+r.Type+" "+r.Name)
		}
	}
	slices.Sort(changes)
	got := strings.Join(changes, "\n") + "\n"
	const golden = "testdata/upgrade.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "this is what owners of a stack would see: go test ./tests/engine -run %s -update, and say why in CHANGELOG.md", t.Name())
	for _, c := range changes {
		op, rest, _ := strings.Cut(c, " ")
		token, _, _ := strings.Cut(rest, " ")
		if op == "create" || op == "update" {
			continue
		}
		assert.Contains(t, []string{typeContainer, typeCommand, "docker:index/network:Network", "docker:index/remoteImage:RemoteImage", "docker:index/image:Image"}, token,
			"%s: only what holds no data may be replaced", c)
	}

	up(t, w)
	// The backup's own numbers: the machine says them together with all others.
	before = slices.DeleteFunc(before, func(r apitype.ResourceV3) bool { return r.URN.Name() == "backup-metrics-folder" })
	assert.Subset(t, urns(state(t, w)), urns(before), "something of the older version is gone")
	assert.Empty(t, broken(exported(t, w)))
	again, err := w.Preview(t.Context())
	require.NoError(t, err)
	assert.False(t, again.HasChanges(), "%s", again.Counts())
}
