// Package tailnet is the rehearsal's tailnet: headscale in the place of Tailscale's servers, with
// the deployment's own policy, and the computers of its people. A machine on the network needs not
// be told of it: the names of Tailscale's servers lead there.
//
// All connections of people's nodes go through the relay (DERP) beside headscale, over TCP: that
// they would find a direct way to the machine is not rehearsed.
package tailnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/juanfont/headscale/gen/go/headscale/v1"
	"google.golang.org/grpc"

	"homelab/internal/simcloud/policyfile"
)

// Names of Tailscale's servers that a machine asks for.
const (
	// ControlHost is the control server; the relay is there too.
	ControlHost = "controlplane.tailscale.com"
	// LogHost takes tailscaled's logs, and the rehearsal throws them away.
	LogHost = "log.tailscale.com"
)

// Network is where the servers are: the link's network, or the computer's own in a test.
type Network interface {
	// Listen serves TCP at an address.
	Listen(netip.AddrPort) (net.Listener, error)
	// ListenPacket serves UDP at an address.
	ListenPacket(netip.AddrPort) (net.PacketConn, error)
	// Name makes a host name resolve to addresses.
	Name(host string, addresses ...netip.Addr)
}

// Options describe a tailnet. All but IPv6, Admins, Policy and Program are required.
type Options struct {
	// Dir keeps its state from one Start to the next: keys, nodes, policy.
	Dir string
	// Network is where Tailscale's servers are.
	Network Network
	// IPv4 is the address of Tailscale's servers on the network; TCP 80 and 443 and UDP 3478 are
	// served there.
	IPv4 netip.Addr
	// IPv6 is another address of theirs. Default none.
	IPv6 netip.Addr
	// Certificate issues a certificate that machines on the network trust for these names.
	Certificate func(names ...string) (tls.Certificate, error)
	// Domain is the tailnet's name, such as tail1234.ts.net.
	Domain string
	// Operator is the login of the person who deploys.
	Operator string
	// Admins are the logins with the role of an admin in Tailscale's account, which is not what the
	// policy's groups say. Default: the operator.
	Admins []string
	// Policy replaces the policy. Default: that of the last Start, and at first Tailscale's own,
	// which lets everything reach everything.
	Policy []byte
	// Program starts the tailnet's own process: it must call control.Main when its first argument
	// is control.Command. Default: the running executable.
	Program string
}

func (o Options) validate() error {
	var problems []error
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"dir", o.Dir == ""}, {"network", o.Network == nil}, {"IPv4 address", !o.IPv4.Is4()}, {"certificate", o.Certificate == nil},
		{"domain", o.Domain == ""}, {"operator", o.Operator == ""},
	} {
		if field.missing {
			problems = append(problems, fmt.Errorf("tailnet: no %s", field.name))
		}
	}
	if o.IPv6.IsValid() && !o.IPv6.Is6() {
		problems = append(problems, fmt.Errorf("tailnet: %s is no IPv6 address", o.IPv6))
	}
	return errors.Join(problems...)
}

// Tailnet is a running tailnet.
type Tailnet struct {
	options Options
	front   *front
	process *process
	api     v1.HeadscaleServiceClient
	grpc    *grpc.ClientConn

	// policies is held while the policy changes, so that two of them do not mix.
	policies sync.Mutex
	// clients is held while a person's node joins.
	clients sync.Mutex
	joined  map[string]*Client
	closing sync.Once
	closed  error
}

// Start runs the tailnet; the operator's node has joined when it returns. Close ends it.
func Start(ctx context.Context, options Options) (_ *Tailnet, err error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if options.Admins == nil {
		options.Admins = []string{options.Operator}
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the tailnet's folder: %w", err)
	}
	t := &Tailnet{options: options, joined: map[string]*Client{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	certificate, err := options.Certificate(ControlHost, LogHost)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %s: %w", ControlHost, err)
	}
	// The relay's certificate is pinned in the map of relays, which allows one alone.
	certificate.Certificate = certificate.Certificate[:1]
	if t.front, err = newFront(options, certificate); err != nil {
		return nil, err
	}
	if t.process, err = startProcess(ctx, options, t.front, certificate); err != nil {
		return nil, err
	}
	t.front.to(t.process.relay())
	if t.grpc, err = t.process.connect(); err != nil {
		return nil, err
	}
	t.api = v1.NewHeadscaleServiceClient(t.grpc)
	if options.Policy != nil {
		if err := t.SetPolicy(ctx, options.Policy); err != nil {
			return nil, err
		}
	}
	if _, err := t.Client(ctx, options.Operator); err != nil {
		return nil, err
	}
	return t, nil
}

// Close ends everything that Start began. The state stays in the folder. It may be called again.
func (t *Tailnet) Close() error {
	t.closing.Do(func() { t.closed = t.close() })
	return t.closed
}

func (t *Tailnet) close() error {
	var errs []error
	if t.grpc != nil {
		errs = append(errs, t.grpc.Close())
	}
	if t.front != nil {
		errs = append(errs, t.front.close())
	}
	if t.process != nil {
		errs = append(errs, t.process.stop())
	}
	return errors.Join(errs...)
}

// SetAway takes Tailscale's servers away, or brings them back: connections end, and none is
// accepted. What nodes know of each other stays, as in an outage.
func (t *Tailnet) SetAway(away bool) { t.front.setAway(away) }

// policyPath is where the policy in force is kept as it was given.
func (t *Tailnet) policyPath() string { return filepath.Join(t.options.Dir, "policy.hujson") }

// Policy returns the policy in force as it was given; empty means Tailscale's default.
func (t *Tailnet) Policy() (string, error) {
	text, err := os.ReadFile(t.policyPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the tailnet's policy: %w", err)
	}
	return string(text), nil
}

// SetPolicy puts a policy file of Tailscale's in force. It is refused when one of its own tests
// fails, when Tailscale would not take it, and when headscale cannot do what it says. Nodes hear of
// it within about two seconds.
func (t *Tailnet) SetPolicy(ctx context.Context, policy []byte) error {
	t.policies.Lock()
	defer t.policies.Unlock()
	nodes, err := t.Nodes(ctx)
	if err != nil {
		return err
	}
	parsed, err := policyfile.Parse(string(policy))
	if err != nil {
		return fmt.Errorf("the tailnet's policy: %w", err)
	}
	tags := func(address netip.Addr) []string {
		for _, node := range nodes {
			for _, a := range node.Addresses {
				if a == address {
					return node.Tags
				}
			}
		}
		return nil
	}
	if err := parsed.Test(policyfile.Tailnet{Name: t.options.Domain, Tags: tags}); err != nil {
		return fmt.Errorf("the tailnet's policy: %w", err)
	}
	translated, logins, err := translate(string(policy), t.options.Admins)
	if err != nil {
		return err
	}
	for _, login := range logins {
		if _, err := t.user(ctx, login); err != nil {
			return err
		}
	}
	if _, err := t.api.SetPolicy(ctx, &v1.SetPolicyRequest{Policy: translated}); err != nil {
		return t.process.explain("putting the policy in force", err)
	}
	return writeFile(t.policyPath(), policy)
}

// writeFile replaces a file whole.
func writeFile(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// user returns the ID of a person, who is made if headscale does not know them.
func (t *Tailnet) user(ctx context.Context, login string) (uint64, error) {
	found, err := t.api.ListUsers(ctx, &v1.ListUsersRequest{Name: login})
	if err != nil {
		return 0, t.process.explain("looking for "+login, err)
	}
	if len(found.GetUsers()) > 0 {
		return found.GetUsers()[0].GetId(), nil
	}
	// A policy's login is a user's name or address; headscale wants neither to be another's.
	made, err := t.api.CreateUser(ctx, &v1.CreateUserRequest{Name: login, Email: login, DisplayName: strings.Split(login, "@")[0]})
	if err != nil {
		return 0, t.process.explain("making user "+login, err)
	}
	return made.GetUser().GetId(), nil
}

// startTimeout is how long the tailnet's process, or a node, may take to be there on a busy
// computer.
const startTimeout = 90 * time.Second
