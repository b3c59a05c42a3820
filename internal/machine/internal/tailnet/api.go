package tailnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	v1 "github.com/juanfont/headscale/gen/go/headscale/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"homelab/internal/simcloud/policyfile"
)

// maxExpiry is the longest that a key of Tailscale's lives, and the default.
const maxExpiry = 90 * 24 * time.Hour

// KeyOptions say what an auth key is for. Every key is preauthorized: a rehearsal's account does
// not ask for the approval of devices.
type KeyOptions struct {
	// Tags are those of the nodes that join with it; at least one, and the policy must know each.
	Tags []string
	// Reusable lets several nodes join with it. Default one only.
	Reusable bool
	// Ephemeral nodes are forgotten when they go offline.
	Ephemeral bool
	// Expiry is how long a node may join with it. Default and longest: 90 days.
	Expiry time.Duration
}

// Key is an auth key.
type Key struct {
	// ID names it. Not secret.
	ID uint64
	// Secret is the key itself.
	Secret string
	// Expires is when it ends.
	Expires time.Time
}

// AuthKey makes a key by which a machine joins.
func (t *Tailnet) AuthKey(ctx context.Context, options KeyOptions) (Key, error) {
	if len(options.Tags) == 0 {
		return Key{}, errors.New("an auth key of the tailnet must have tags")
	}
	text, err := t.Policy()
	if err != nil {
		return Key{}, err
	}
	policy, err := policyfile.Parse(text)
	if err != nil {
		return Key{}, fmt.Errorf("the tailnet's policy: %w", err)
	}
	for _, tag := range options.Tags {
		if _, ok := policy.TagOwners[tag]; !ok {
			return Key{}, fmt.Errorf("requested tags [%s] are invalid or not permitted", tag)
		}
	}
	return t.key(ctx, 0, options)
}

// key makes a key of a person (user), or one with tags (user 0).
func (t *Tailnet) key(ctx context.Context, user uint64, options KeyOptions) (Key, error) {
	switch {
	case options.Expiry == 0:
		options.Expiry = maxExpiry
	case options.Expiry < 0 || options.Expiry > maxExpiry:
		return Key{}, fmt.Errorf("an auth key cannot live for %s: the longest is %s", options.Expiry, maxExpiry)
	}
	expires := time.Now().Add(options.Expiry)
	made, err := t.api.CreatePreAuthKey(ctx, &v1.CreatePreAuthKeyRequest{
		User: user, Reusable: options.Reusable, Ephemeral: options.Ephemeral, AclTags: options.Tags, Expiration: timestamppb.New(expires),
	})
	if err != nil {
		return Key{}, t.process.explain("making an auth key", err)
	}
	return Key{ID: made.GetPreAuthKey().GetId(), Secret: made.GetPreAuthKey().GetKey(), Expires: expires}, nil
}

// RevokeKey ends a key; nodes that joined with it stay.
func (t *Tailnet) RevokeKey(ctx context.Context, id uint64) error {
	if _, err := t.api.DeletePreAuthKey(ctx, &v1.DeletePreAuthKeyRequest{Id: id}); err != nil {
		return t.process.explain(fmt.Sprintf("revoking auth key %d", id), err)
	}
	return nil
}

// Node is a computer in the tailnet.
type Node struct {
	// ID names it for good.
	ID uint64
	// Name is its name in the tailnet, with the domain.
	Name string
	// Hostname is what it calls itself; two nodes may.
	Hostname string
	// Addresses are those in the tailnet: IPv4, then IPv6.
	Addresses []netip.Addr
	// Tags are its tags, sorted; a node without any is a person's.
	Tags []string
	// User is the login of the person whose node it is; empty for a node with tags.
	User string
	// Online reports whether it is connected to the control server.
	Online bool
	// LastSeen is when it last was.
	LastSeen time.Time
	// KeyExpiry is when it must log in again; zero means never.
	KeyExpiry time.Time
	// Created is when it joined.
	Created time.Time
}

// Nodes returns all nodes, by ID.
func (t *Tailnet) Nodes(ctx context.Context) ([]Node, error) {
	found, err := t.api.ListNodes(ctx, &v1.ListNodesRequest{})
	if err != nil {
		return nil, t.process.explain("listing the tailnet's nodes", err)
	}
	var out []Node
	for _, n := range found.GetNodes() {
		node := Node{
			ID: n.GetId(), Name: n.GetGivenName() + "." + t.options.Domain, Hostname: n.GetName(), Tags: slices.Sorted(slices.Values(n.GetTags())),
			Online: n.GetOnline(), LastSeen: moment(n.GetLastSeen()), KeyExpiry: moment(n.GetExpiry()), Created: moment(n.GetCreatedAt()),
		}
		if len(node.Tags) == 0 {
			node.User = n.GetUser().GetName()
		}
		for _, text := range n.GetIpAddresses() {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("node %s: %w", node.Name, err)
			}
			node.Addresses = append(node.Addresses, address)
		}
		slices.SortFunc(node.Addresses, netip.Addr.Compare)
		out = append(out, node)
	}
	slices.SortFunc(out, func(a, b Node) int { return int(a.ID) - int(b.ID) })
	return out, nil
}

// moment is the zero time for none, which headscale also writes as the beginning of the epoch or of
// Go's time.
func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.GetSeconds() <= 0 {
		return time.Time{}
	}
	return t.AsTime()
}

// DeleteNode removes a node, which is then in the tailnet no more.
func (t *Tailnet) DeleteNode(ctx context.Context, id uint64) error {
	if _, err := t.api.DeleteNode(ctx, &v1.DeleteNodeRequest{NodeId: id}); err != nil {
		return t.process.explain(fmt.Sprintf("deleting node %d", id), err)
	}
	return nil
}
