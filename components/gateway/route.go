package gateway

import (
	"errors"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/access"
)

// Route is the proof that a hostname may be published: every layer in front of the service exists,
// works, and knows the hostname. It comes from (*Proxy).Routes and from nowhere else; a zero Route
// is refused wherever a Route is asked for.
type Route struct {
	name       string
	hostname   string
	visibility access.Visibility
	policy     access.Policy
	proof      []pulumi.Resource
}

// Ready reports a Route that no Proxy made.
func (r Route) Ready() error {
	if r.hostname == "" || len(r.proof) == 0 {
		return errors.New("no route: only (*gateway.Proxy).Routes makes one, once the whole security chain is in place")
	}
	return nil
}

// Name is the service's name.
func (r Route) Name() string { return r.name }

// Hostname is the full name to publish.
func (r Route) Hostname() string { return r.hostname }

// Visibility is from where the hostname can be reached.
func (r Route) Visibility() access.Visibility { return r.visibility }

// Policy is what a visitor must prove.
func (r Route) Policy() access.Policy { return r.policy }

// Proof is the chain: the zone's WAF, TLS and origin pulls, the machine behind its firewall, the
// detector with the proxy's bouncer at work, the portal, the jails, the proxy with the hostname in
// its loaded configuration, and the healthy service.
func (r Route) Proof() []pulumi.Resource { return slices.Clone(r.proof) }
