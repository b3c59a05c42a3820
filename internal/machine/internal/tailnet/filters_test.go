package tailnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/juanfont/headscale/hscontrol/policy"
	"github.com/juanfont/headscale/hscontrol/types"
	"github.com/stretchr/testify/require"
	"go4.org/netipx"
	"gorm.io/gorm"
	"tailscale.com/types/ipproto"
	"tailscale.com/wgengine/filter"
)

// filters are what headscale would give to one node of everybody, and of every tag.
type filters struct {
	addresses map[string]netip.Addr
	nodes     map[string]types.NodeView
	manager   policy.PolicyManager
}

func newFilters(t *testing.T, text string, logins, tags []string) filters {
	t.Helper()
	f := filters{addresses: map[string]netip.Addr{}, nodes: map[string]types.NodeView{}}
	var users []types.User
	var nodes types.Nodes
	add := func(name string, node *types.Node) {
		node.ID = types.NodeID(len(nodes) + 1)
		address := netip.MustParseAddr(fmt.Sprintf("100.64.0.%d", node.ID))
		node.IPv4, node.Hostname, node.GivenName = &address, fmt.Sprintf("node-%d", node.ID), fmt.Sprintf("node-%d", node.ID)
		f.addresses[name], f.nodes[name] = address, node.View()
		nodes = append(nodes, node)
	}
	for i, login := range logins {
		users = append(users, types.User{Model: gorm.Model{ID: uint(i + 1)}, Name: login, Email: login})
	}
	for i, login := range logins {
		id := users[i].ID
		add(login, &types.Node{User: &users[i], UserID: &id})
	}
	for _, tag := range tags {
		add(tag, &types.Node{Tags: []string{tag}})
	}
	var err error
	f.manager, err = policy.NewPolicyManager([]byte(text), users, nodes.ViewSlice())
	require.NoError(t, err)
	return f
}

func (f filters) names() []string {
	var out []string
	for name := range f.nodes {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// allow asks Tailscale's own packet filter, with the rules for the destination.
func (f filters) allow(t *testing.T, src, dst, protocol, port string) bool {
	t.Helper()
	rules, err := f.manager.FilterForNode(f.nodes[dst])
	require.NoError(t, err)
	matches, err := filter.MatchesFromFilterRules(rules)
	require.NoError(t, err)
	var local netipx.IPSetBuilder
	local.Add(f.addresses[dst])
	set, err := local.IPSet()
	require.NoError(t, err)
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	proto := map[string]ipproto.Proto{"tcp": ipproto.TCP, "udp": ipproto.UDP}[protocol]
	require.NotZero(t, proto)
	verdict := filter.New(matches, nil, set, set, nil, t.Logf).Check(f.addresses[src], f.addresses[dst], uint16(number), proto)
	return verdict == filter.Accept
}
