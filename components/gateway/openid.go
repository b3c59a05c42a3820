package gateway

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/apply"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// OpenIDType is the type token of a service's registration at the portal.
const OpenIDType = "homelab:gateway:OpenID"

// Scope is a part of what the portal knows of a user that a service may ask for. Every service has
// openid; that is who the user is.
type Scope = site.Scope

// The scopes that a service may ask for.
const (
	// ScopeEmail is the user's mail address.
	ScopeEmail = site.Email
	// ScopeGroups are the groups the user is in.
	ScopeGroups = site.Groups
	// ScopeProfile is the user's name.
	ScopeProfile = site.Profile
)

// OpenIDArgs describes how a service logs its users in at the portal, by OpenID Connect.
type OpenIDArgs struct {
	// Hostname is the service's full name: its site's.
	Hostname string
	// Portal is the portal's full name.
	Portal string
	// Access is the site's: who it lets in, and by which factors, holds for a login by OpenID
	// Connect too.
	Access access.Access
	// RedirectPaths are the paths of the service to which the portal sends a browser back, compared
	// letter by letter; at least one.
	RedirectPaths []string
	// Scopes are what the service may learn of the user, beside who it is.
	Scopes []Scope
	// NativePolicy is what the portal requires: two-factor (the default) or one-factor. Only with
	// access native; otherwise Access says it.
	NativePolicy access.Policy
	// NativeGroups are who may log in. Required with access native, which names no groups;
	// forbidden otherwise.
	NativeGroups []string
}

func (a *OpenIDArgs) declaration() *site.OpenID {
	return &site.OpenID{RedirectPaths: a.RedirectPaths, Scopes: a.Scopes, Policy: a.NativePolicy, Groups: a.NativeGroups}
}

// Validate reports every problem of the arguments.
func (a *OpenIDArgs) Validate() error {
	p := validate.Of("openid")
	p.Merge(site.Hostname(a.Hostname))
	p.Merge(site.Hostname(a.Portal))
	p.Require(a.Access.Policy.Valid(), "access: %q is not an access policy", a.Access.Policy)
	p.Merge(a.declaration().Validate(a.Access.Policy))
	return p.Err()
}

// OpenID is a service's registration at the portal. It is made before the service, which is told of
// it, and it is of use once the portal got it in the service's Site. Only NewOpenID makes a usable
// one.
type OpenID struct {
	pulumi.ResourceState

	name     string
	hostname string
	portal   string
	access   access.Access
	declared *site.OpenID
	secret   pulumi.StringOutput
	digest   pulumi.StringOutput
}

// NewOpenID makes the secret that a service of this name shares with the portal.
func NewOpenID(ctx *pulumi.Context, name string, args *OpenIDArgs, opts ...pulumi.ResourceOption) (*OpenID, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	o := &OpenID{name: name, hostname: args.Hostname, portal: args.Portal, access: args.Access, declared: args.declaration()}
	inputs := pulumi.Map{"hostname": pulumi.String(args.Hostname), "redirectPaths": pulumi.ToStringArray(args.RedirectPaths)}
	if err := ctx.RegisterComponentResourceV2(OpenIDType, name+"-openid", inputs, o, opts...); err != nil {
		return nil, fmt.Errorf("registering %s at the portal: %w", name, err)
	}
	secret, err := newSecret(ctx, o, name+"-openid-secret")
	if err != nil {
		return nil, err
	}
	salt, err := newSalt(ctx, o, name+"-openid")
	if err != nil {
		return nil, err
	}
	o.secret = pulumi.ToSecret(secret).(pulumi.StringOutput)
	o.digest = apply.String(pulumi.All(o.secret, salt), func(v []any) (string, error) {
		return authelia.HashClientSecret(v[0].(string), []byte(v[1].(string)))
	})
	return o, ctx.RegisterResourceOutputs(o, pulumi.Map{"clientId": pulumi.String(name)})
}

// Ready reports an OpenID that NewOpenID did not make.
func (o *OpenID) Ready() error {
	if o == nil || o.declared == nil {
		return errors.New("no registration at the portal: pass the value that gateway.NewOpenID returned")
	}
	return nil
}

// ClientID is the service's name at the portal.
func (o *OpenID) ClientID() string { return o.name }

// ClientSecret is what the service proves itself with, by HTTP Basic (client_secret_basic): a
// secret.
func (o *OpenID) ClientSecret() pulumi.StringOutput { return o.secret }

// OpenIDEndpoints are the portal's addresses for OpenID Connect. A service asks for the last three
// by itself, at the portal's own name: with a way out as a visitor does, through Cloudflare, proxy
// and AppSec; without one at the proxy's listener for containers (Proxy.Inner). So no container
// needs a way to the portal that goes around the chain.
type OpenIDEndpoints struct {
	// Issuer is the portal; below it /.well-known/openid-configuration says the rest.
	Issuer string
	// Authorization is where the service sends the browser, with PKCE (S256).
	Authorization string
	// Token is where the service changes the code into tokens.
	Token string
	// UserInfo says who the user is. Mail address, name and groups are only here: the portal leaves
	// them out of its ID tokens.
	UserInfo string
	// Keys are the issuer's public keys.
	Keys string
}

// Endpoints are the portal's addresses.
func (o *OpenID) Endpoints() OpenIDEndpoints {
	issuer := "https://" + o.portal
	return OpenIDEndpoints{
		Issuer: issuer, Authorization: issuer + "/api/oidc/authorization", Token: issuer + "/api/oidc/token",
		UserInfo: issuer + "/api/oidc/userinfo", Keys: issuer + "/jwks.json",
	}
}

// fits reports what of a site is not what its service was registered with: it would be let in
// elsewhere, or by another rule.
func (o *OpenID) fits(s Site) error {
	if err := o.Ready(); err != nil {
		return err
	}
	p := validate.Of("openid")
	p.Require(o.name == s.Name, "the service is registered at the portal as %q: register it by its site's name", o.name)
	p.Require(o.hostname == s.Hostname, "the service is registered at the portal with the hostname %q: give both the same", o.hostname)
	p.Require(o.access.Policy == s.Access.Policy && slices.Equal(o.access.Groups, s.Access.Groups),
		"the service is registered at the portal with other access than its site: give both the same")
	return p.Err()
}

// openIDFiles makes what the portal needs beside its other files if a service logs its users in
// there: the key that it signs with, a secret of its own, and the second configuration. Without
// such a service there is nothing.
func (i *Identity) openIDFiles(ctx *pulumi.Context, model authelia.Model, sites []Site) ([]workload.File, error) {
	var names []string
	var digests []any
	for _, s := range sites {
		if s.OpenID != nil {
			names, digests = append(names, s.Name), append(digests, s.OpenID.digest)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	// RS256 is the one algorithm that every service knows.
	key, err := tls.NewPrivateKey(ctx, autheliaName+"-openid-issuer", &tls.PrivateKeyArgs{Algorithm: pulumi.String("RSA"), RsaBits: pulumi.Int(3072)}, pulumi.Parent(i))
	if err != nil {
		return nil, fmt.Errorf("making the key that the portal signs with: %w", err)
	}
	hmac, err := newSecret(ctx, i, autheliaName+"-"+authelia.HMACSecretFile)
	if err != nil {
		return nil, err
	}
	configuration := apply.String(pulumi.All(append([]any{key.PrivateKeyPemPkcs8}, digests...)...), func(v []any) (string, error) {
		secrets := authelia.OpenIDSecrets{IssuerKey: v[0].(string), Digests: map[string]string{}}
		for n, name := range names {
			secrets.Digests[name] = v[n+1].(string)
		}
		rendered, err := authelia.OpenIDConfiguration(model, secrets)
		return string(rendered), err
	})
	return []workload.File{{Base: authelia.HMACSecretFile, Content: hmac}, {Base: authelia.OpenIDFile, Content: configuration}}, nil
}
