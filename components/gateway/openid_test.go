package gateway

import (
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/gateway/internal/example"
	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

// registered runs a program on mocks.
func registered(t *testing.T, program func(*pulumi.Context) error) []string {
	t.Helper()
	d := &drawn{}
	require.NoError(t, pulumi.RunErr(program, pulumi.WithMocks("homelab", "prod", d)))
	return d.seen
}

func grafana() *OpenIDArgs {
	return &OpenIDArgs{
		Hostname: "grafana.example.com", Portal: example.Portal, Access: access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
		RedirectPaths: []string{"/login/generic_oauth"}, Scopes: []Scope{ScopeProfile, ScopeEmail, ScopeGroups},
	}
}

// text waits for an output.
func text(out pulumi.StringInput) string {
	done := make(chan string, 1)
	out.ToStringOutput().ApplyT(func(s string) string { done <- s; return s })
	return <-done
}

func TestThePortalAndTheServiceShareASecret(t *testing.T) {
	seen := registered(t, func(ctx *pulumi.Context) error {
		o, err := NewOpenID(ctx, "grafana", grafana())
		if err != nil {
			return err
		}
		assert.Equal(t, "grafana", o.ClientID())
		assert.Equal(t, "generated for grafana-openid-secret", text(o.ClientSecret()))
		assert.True(t, pulumi.IsSecret(o.ClientSecret()))
		assert.Equal(t, OpenIDEndpoints{
			Issuer: "https://auth.example.com", Authorization: "https://auth.example.com/api/oidc/authorization", Token: "https://auth.example.com/api/oidc/token",
			UserInfo: "https://auth.example.com/api/oidc/userinfo", Keys: "https://auth.example.com/jwks.json",
		}, o.Endpoints())

		i := &Identity{}
		if err := ctx.RegisterComponentResource(IdentityType, "authelia", i); err != nil {
			return err
		}
		model := authelia.Model{
			Domain: example.Domain, Hostname: example.Portal, TailnetRanges: example.TailnetRanges(), Store: "authelia-store:6379",
			Session: authelia.Session{Inactivity: time.Hour, Expiration: time.Hour}, Listen: authelia.DefaultListen(), Paths: authelia.DefaultPaths(),
			Sites: []site.Site{{
				Name: "grafana", Hostname: "grafana.example.com", Visibility: access.Tailnet, Access: grafana().Access, Upstream: "grafana:3000", OpenID: o.declared,
			}},
		}
		files, err := i.openIDFiles(ctx, model, []Site{{Name: "radarr"}, {Name: "grafana", OpenID: o}})
		if err != nil {
			return err
		}
		require.Len(t, files, 2)
		contents := map[string]string{}
		for _, f := range files {
			contents[f.Base] = text(f.Content)
			assert.True(t, pulumi.IsSecret(f.Content.(pulumi.StringOutput)), "%s is no secret", f.Base)
		}
		assert.Equal(t, "generated for authelia-openid-hmac-secret", contents[authelia.HMACSecretFile])
		digest, err := authelia.HashClientSecret("generated for grafana-openid-secret", salt("grafana-openid-salt"))
		require.NoError(t, err)
		assert.Contains(t, contents[authelia.OpenIDFile], "client_secret: "+digest+"\n")
		assert.NotContains(t, contents[authelia.OpenIDFile], "generated for")
		return nil
	})
	assert.Contains(t, seen, "authelia-openid-issuer")
}

func TestNoKeyIsMadeForNobody(t *testing.T) {
	seen := registered(t, func(ctx *pulumi.Context) error {
		files, err := (&Identity{}).openIDFiles(ctx, authelia.Model{}, []Site{{Name: "radarr"}})
		assert.Empty(t, files)
		return err
	})
	assert.Empty(t, seen)
}

func TestARegistrationFitsItsSiteOnly(t *testing.T) {
	registered(t, func(ctx *pulumi.Context) error {
		o, err := NewOpenID(ctx, "grafana", grafana())
		if err != nil {
			return err
		}
		fitting := Site{Name: "grafana", Hostname: "grafana.example.com", Access: grafana().Access}
		require.NoError(t, o.fits(fitting))
		for want, change := range map[string]func(*Site){
			`registered at the portal as "grafana"`: func(s *Site) { s.Name = "radarr" },
			"with the hostname":                     func(s *Site) { s.Hostname = "radarr.example.com" },
			"with other access":                     func(s *Site) { s.Access.Groups = []string{"users"} },
		} {
			s := fitting
			change(&s)
			require.ErrorContains(t, o.fits(s), want)
		}
		other := fitting
		other.OpenID = o
		require.ErrorContains(t, (&Sites{[]Site{other}}).registeredAt("login.example.com"), "another portal")
		require.NoError(t, (&Sites{[]Site{other}}).registeredAt("auth.example.com"))
		return nil
	})
}
