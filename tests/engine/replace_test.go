package engine

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/simcloud"
	"homelab/internal/workspace"
)

const (
	typeServer    = "hcloud:index/server:Server"
	typePrimaryIP = "hcloud:index/primaryIp:PrimaryIp"
)

// unprotected deploys without protection, as somebody must who wants another machine.
func unprotected(t *testing.T, change ...func(*workspace.Options)) *workspace.Simulation {
	w := open(t, append(change, func(o *workspace.Options) { o.Config = map[string]any{"homelab:protect": false} })...)
	up(t, w)
	return w
}

// onMachine says whether a resource lives on the machine: what a new machine must get anew.
func onMachine(r apitype.ResourceV3) bool {
	return strings.HasPrefix(string(r.Type), "docker:") || strings.HasPrefix(string(r.Type), "command:")
}

func ids(all []apitype.ResourceV3, which func(apitype.ResourceV3) bool) map[string]string {
	out := map[string]string{}
	for _, r := range all {
		if which(r) {
			out[string(r.URN)] = string(r.ID)
		}
	}
	return out
}

func ofType(tokens ...string) func(apitype.ResourceV3) bool {
	return func(r apitype.ResourceV3) bool {
		return slices.ContainsFunc(tokens, func(token string) bool { return strings.HasPrefix(string(r.Type), token) })
	}
}

// A new machine gets everything anew; the boxes and, in the same location, the addresses stay. The
// hostnames go before anything else does and come back after everything else is there.
func TestAnotherMachine(t *testing.T) {
	for name, change := range map[string]struct {
		config        map[string]any
		sameAddresses bool
	}{
		"generation": {map[string]any{"homelab:server.generation": 2}, true},
		"location":   {map[string]any{"homelab:server.location": "nbg1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := unprotected(t)
			before := state(t, w)
			machine := w.World().Machines()[0].Name
			require.NoError(t, w.SetConfig(change.config))
			_, err := w.Preview(t.Context())
			require.NoError(t, err)
			start := len(w.World().Journal())
			replaced := up(t, w)
			after := state(t, w)

			assert.Equal(t, urns(before), urns(after))
			require.Len(t, w.World().Machines(), 1)
			assert.NotEqual(t, machine, w.World().Machines()[0].Name)
			boxes := ofType("hcloud:index/storageBox")
			assert.Len(t, ids(before, boxes), 5, "two boxes, an account of the server's for each, and one for people")
			assert.Equal(t, ids(before, boxes), ids(after, boxes), "a box was replaced")
			addresses := ofType(typePrimaryIP)
			assert.Equal(t, change.sameAddresses, fmt.Sprint(ids(before, addresses)) == fmt.Sprint(ids(after, addresses)))

			requireAnew(t, w.World().Journal()[start:], before)
			requireHostnamesAround(t, w.World().Journal()[start:], after)
			assert.Equal(t, publicHostnames(), w.World().PublicHostnames())
			again, err := w.Preview(t.Context())
			require.NoError(t, err)
			assert.False(t, again.HasChanges(), "%s", again.Counts())
			assert.NotEmpty(t, replaced.Changes["replace"])
		})
	}
}

// requireAnew checks that everything that was on the machine was made again.
func requireAnew(t *testing.T, journal []simcloud.Operation, before []apitype.ResourceV3) {
	t.Helper()
	made := map[string]bool{}
	for _, op := range journal {
		if op.Kind == simcloud.OpCreate && op.Err == "" {
			made[op.URN] = true
		}
		if op.Kind == simcloud.OpDelete {
			// The old machine is erased whole: one that no longer answers can be replaced, too.
			// The readiness check is only forgotten: it has nothing to remove.
			here := op.Name != "homelab-ready" && onMachine(apitype.ResourceV3{Type: resource.URN(op.URN).Type()})
			assert.False(t, here, "%s was removed from a machine that goes", op.URN)
		}
	}
	count := 0
	for _, r := range before {
		if onMachine(r) {
			count++
			assert.True(t, made[string(r.URN)], "%s was not made again on the new machine", r.URN)
		}
	}
	assert.Greater(t, count, 50)
}

// requireHostnamesAround checks, in the clouds' own record, that no record was there while any link
// of a chain was not.
func requireHostnamesAround(t *testing.T, journal []simcloud.Operation, all []apitype.ResourceV3) {
	t.Helper()
	for _, record := range records(all) {
		chain := map[string]bool{}
		for _, urn := range chainOf(all, record) {
			chain[string(urn)] = true
		}
		gone, back := -1, -1
		for _, op := range journal {
			switch {
			case op.URN != string(record.URN):
			case op.Kind == simcloud.OpDelete:
				gone = op.Finished
			case op.Kind == simcloud.OpCreate:
				back = op.Started
			}
		}
		require.GreaterOrEqual(t, gone, 0, "%s stayed", record.URN.Name())
		require.Greater(t, back, gone, "%s did not come back", record.URN.Name())
		links := 0
		for _, op := range journal {
			if !chain[op.URN] || op.Kind == simcloud.OpRead {
				continue
			}
			_, name := tokens(op.URN)
			if op.Kind == simcloud.OpDelete && !onMachine(apitype.ResourceV3{Type: resource.URN(op.URN).Type()}) && op.Started > back {
				continue // what the new machine's siblings left behind goes last
			}
			links++
			if op.Kind == simcloud.OpDelete {
				assert.Greater(t, op.Started, gone, "%s was still published when %s went", record.URN.Name(), name)
			}
			assert.Less(t, op.Finished, back, "%s was published before %s of %s had ended", record.URN.Name(), op.Kind, name)
		}
		assert.Greater(t, links, 60)
	}
}

// Protection is an explicit setting, and nothing else gets around it.
func TestAProtectedMachineStays(t *testing.T) {
	w := open(t)
	up(t, w)
	before := w.World().Inventory()
	for _, change := range []map[string]any{{"homelab:server.generation": 2}, {"homelab:server.generation": 1, "homelab:server.location": "nbg1"}} {
		require.NoError(t, w.SetConfig(change))
		failed, err := w.Up(t.Context())
		require.Error(t, err, "%v", change)
		assert.Contains(t, logOf(failed), "protect")
		for _, e := range before {
			if e.Type == typeServer || e.Type == typePrimaryIP || e.Type == typeContainer || e.Type == typeDNS {
				assert.Contains(t, w.World().Inventory(), e, "%v", change)
			}
		}
	}
}

// The replacement fails at a step of each kind. Until another deployment completes it, no hostname
// is there whose chain is not. Each case replaces the machine that the one before it made.
func TestAnotherMachineMayFailToCome(t *testing.T) {
	w := unprotected(t, ofEachShape)
	complete := state(t, w)
	for before, fault := range []simcloud.Fault{
		{Type: typeDNS, Operation: simcloud.OpDelete},
		{Type: "docker:index/network:Network", Operation: simcloud.OpCreate},
		{Type: typeServer, Operation: simcloud.OpDelete},
		{Type: typeServer, Operation: simcloud.OpCreate},
		{Type: "command:remote:Command", Name: "homelab-ready", Operation: simcloud.OpCreate},
		{Type: "command:remote:Command", Name: "homelab-firewall-loaded", Operation: simcloud.OpCreate},
		{Type: typeContainer, Name: "crowdsec", Operation: simcloud.OpCreate},
		{Type: typeContainer, Name: "caddy", Operation: simcloud.OpCreate, Partial: true},
		{Type: typeDNS, Operation: simcloud.OpCreate},
	} {
		ok := t.Run(fmt.Sprintf("%s %s %s", fault.Operation, path.Base(fault.Type), fault.Name), func(t *testing.T) {
			machine := w.World().Machines()[0].Name
			require.NoError(t, w.SetConfig(map[string]any{"homelab:server.generation": before + 2}))
			w.World().Inject(fault)
			failed, err := w.Up(t.Context())
			require.Error(t, err, "the fault did not hit")
			assert.Contains(t, logOf(failed), "injected fault")
			requireLiveChains(t, w, complete)

			w.World().ClearFaults()
			up(t, w)
			assert.Equal(t, urns(complete), urns(state(t, w)), "the next deployment did not complete the work")
			assert.Len(t, w.World().DNSRecords(), len(records(complete)))
			require.Len(t, w.World().Machines(), 1)
			assert.NotEqual(t, machine, w.World().Machines()[0].Name)
		})
		if !ok {
			return
		}
	}
}

// requireLiveChains is requireNothingExposed for a state in which a resource may be listed that is
// gone already, to be made again.
func requireLiveChains(t *testing.T, w *workspace.Simulation, complete []apitype.ResourceV3) {
	t.Helper()
	there := map[resource.URN]bool{}
	for _, r := range state(t, w) {
		if !r.Delete {
			there[r.URN] = len(r.InitErrors) == 0 && !r.PendingReplacement
		}
	}
	requireChains(t, w, complete, there)
}
