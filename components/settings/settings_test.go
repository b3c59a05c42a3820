package settings

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/access"
	"homelab/components/internal/plan"
	"homelab/components/internal/smtp"
	"homelab/components/internal/watch"
)

func TestMinimalGetsTheDefaults(t *testing.T) {
	got, err := run(t, minimal())
	require.NoError(t, err)
	id := got.Credentials.TailscaleOAuthClientID
	got.Credentials = Credentials{}
	assert.Equal(t, "kTestCNTRL", id)
	assert.Equal(t, &Settings{
		Domain: "example.com", Timezone: "Etc/UTC", AdminEmail: "admin@example.com", Protect: true,
		Cloudflare: Cloudflare{
			ZoneID: "0123456789abcdef0123456789abcdef", Plan: plan.Free, Certificates: []string{}, BlockedCountries: []string{},
			RateLimit: RateLimit{Requests: 10, PeriodSeconds: 10, BlockSeconds: 10}, Rules: []Rule{},
		},
		Tailscale: Tailscale{Tailnet: "tail1234.ts.net", Admins: []string{"admin@example.com"}, Members: []string{}},
		Server:    Server{Name: "homelab", Type: "cx43", Location: "fsn1", Image: "debian-13", Generation: 1, DiskGB: 160},
		Ports:     Ports{HTTPS: 443, SSH: 22, Tailscale: 41641},
		Storage: Storage{
			Media:  MediaBox{Type: "bx21", Location: "fsn1", Protocol: WebDAV, Snapshots: Snapshots{Max: 10, Hour: 3, Minute: 45}},
			Backup: BackupBox{Type: "bx11", Location: "hel1", Snapshots: Snapshots{Max: 10, Hour: 3, Minute: 15}},

			Downloads: Downloads{SizeGB: 40},
		},
		Wiring: Wiring{JackettIndexers: []string{}, ProwlarrIndexers: []string{}},
		Alerts: Alerts{Webhook: true, Format: watch.Ntfy},
		Monitoring: &Monitoring{
			Shipper: watch.Alloy, Retention: watch.Retention{MetricsDays: 30, MetricsGB: 5, LogsDays: 14},
		},
		Backup: Backup{Hour: 1, Minute: 30, JitterMinutes: 30, DrillDay: 2, Keep: Keep{Daily: 7, Weekly: 4, Monthly: 6, Yearly: 1}},
		Networks: Networks{
			CaddyProxy:        netip.MustParsePrefix("172.30.1.0/24"),
			GrafanaMonitoring: netip.MustParsePrefix("172.30.2.0/24"),
			Gluetun:           netip.MustParsePrefix("172.30.3.0/24"),
			AutheliaSession:   netip.MustParsePrefix("172.30.4.0/24"),
		},
		Users: []User{{Name: "admin", DisplayName: "admin", Email: "admin@example.com", Groups: []string{"admins", "users"}}},
		Auth: Auth{
			Hostname: "auth.example.com", SessionDomain: "example.com",
			SessionInactivity: time.Hour, SessionExpiration: 12 * time.Hour, RememberMe: 720 * time.Hour,
		},
		Services: []Service{
			{
				Name: "jellyfin", Hostname: "jellyfin.example.com", Visibility: access.Tailnet, MemoryMiB: 4096,
				Access: access.Access{Policy: access.Native},
			},
			{
				Name: "jellyseerr", Hostname: "requests.example.com", Visibility: access.Public, MemoryMiB: 512,
				Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
			},
		},
	}, got)
}

func TestSecretsReachTheSettings(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []*stackConfig{minimal().withMail().withWireGuard().withDeadMansSwitch(), minimal().withOpenVPN()} {
		got, err := run(t, c)
		require.NoError(t, err)
		for _, k := range Secrets() {
			s := k.field(&got.Credentials)
			require.Equal(t, c.secret[k.Key], s.Given(), k.Key)
			if s.Given() {
				assert.Equal(t, c.values[k.Key], *s.value, k.Key)
				seen[k.Key] = true
			}
		}
	}
	assert.Len(t, seen, len(Secrets()))
}

// TestLimitsAreReached accepts what lies just inside each limit.
func TestLimitsAreReached(t *testing.T) {
	for name, change := range map[string]func(c *stackConfig){
		"two rules on the free plan": func(c *stackConfig) {
			c.set("homelab:cloudflare.rules", list{rule("a"), rule("b")})
		},
		"log and regex on the enterprise plan": func(c *stackConfig) {
			r := rule("a")
			r["action"], r["expression"] = "log", `http.host matches r##"a"#b"##`
			c.set("homelab:cloudflare.plan", "enterprise").set("homelab:cloudflare.rules", list{r})
		},
		"the word matches in a text": func(c *stackConfig) {
			r := rule("a")
			r["expression"] = `http.request.uri.path eq "/x matches ~ \" y" or http.request.uri.query eq r"~\"`
			c.set("homelab:cloudflare.rules", list{r})
		},
		"an hour's block on the pro plan": func(c *stackConfig) {
			c.set("homelab:cloudflare.plan", "pro")
			c.set("homelab:cloudflare.rateLimit", object{"requests": 1, "periodSeconds": 60, "blockSeconds": 3600})
		},
		"countries": func(c *stackConfig) { c.set("homelab:cloudflare.blockedCountries", list{"FR", "DE"}) },
		"one archive, no jitter": func(c *stackConfig) {
			c.set("homelab:backup", object{"jitterMinutes": 0, "drillDay": 28, "keep": object{"daily": 1, "weekly": 0, "monthly": 0, "yearly": 0}})
		},
		"narrow networks": func(c *stackConfig) {
			c.set("homelab:networks", object{"caddyProxy": "10.0.0.0/25", "grafanaMonitoring": "10.0.0.128/25", "gluetun": "192.168.0.0/16"})
		},
		"break glass": func(c *stackConfig) {
			c.set("homelab:server.breakGlass", object{"cidr": "203.0.0.0/16", "reason": "moving"})
		},
		"break glass over IPv6": func(c *stackConfig) {
			c.set("homelab:server.breakGlass", object{"cidr": "2001:db8:1::/48", "reason": "moving"})
		},
		"native on a public hostname with a reason": func(c *stackConfig) {
			c.set("homelab:services.jellyfin.visibility", "public")
			c.set("homelab:services.jellyfin.access", object{"policy": "native", "reason": "televisions"})
		},
		"several labels on the tailnet": func(c *stackConfig) {
			c.set("homelab:services.jellyfin.hostname", "jellyfin.media")
		},
		"a bypass": func(c *stackConfig) {
			c.set("homelab:services.jellyseerr.bypass", list{object{"path": "^/api/v1/status$", "reason": "check"}})
		},
		"extra rules of the tailnet": func(c *stackConfig) {
			c.set("homelab:tailscale.members", list{"family@example.com"})
			c.set("homelab:tailscale.extraTagOwners", list{object{"tag": "tag:nas", "owners": list{"autogroup:admin"}}})
			c.set("homelab:tailscale.extraGrants", list{
				object{"src": list{"group:homelab-members"}, "dst": list{"tag:nas", "192.168.1.0/24"}, "ip": list{"tcp:443"}},
			})
		},
		"preload": func(c *stackConfig) {
			c.set("homelab:cloudflare.hsts", object{"preload": true, "includeSubdomains": true})
		},
		"a server in America": func(c *stackConfig) { c.set("homelab:server", object{"type": "cpx41", "location": "ash"}) },
		"a server in Singapore": func(c *stackConfig) {
			c.set("homelab:server", object{"type": "cpx42", "location": "sin"})
		},
		"days":                 func(c *stackConfig) { c.set("homelab:auth", object{"sessionExpiration": "1d12h", "rememberMe": "30d"}) },
		"nobody is remembered": func(c *stackConfig) { c.set("homelab:auth.rememberMe", "off") },
		"sessions below a name of their own": func(c *stackConfig) {
			c.set("homelab:auth.sessionDomain", "home").set("homelab:cloudflare.certificates", list{"home"})
			c.set("homelab:auth.hostname", "auth.home").set("homelab:services.jellyseerr.hostname", "requests.home")
		},
		"a bypass for writing": func(c *stackConfig) {
			c.set("homelab:services.jellyseerr.bypass", list{object{"path": "^/hook$", "methods": list{"POST"}, "reason": "webhook"}})
		},
		"uploads": func(c *stackConfig) {
			c.set("homelab:services.jellyseerr.uploads", list{object{"path": "/upload", "methods": list{"PUT"}, "maxMB": 100, "reason": "films"}})
			c.set("homelab:services.jellyfin.uploads", list{object{"path": "/upload", "maxMB": 10000, "reason": "films"}})
		},
		"least memory": func(c *stackConfig) { c.set("homelab:services.jellyseerr.memoryMiB", 64) },
		"equal session times": func(c *stackConfig) {
			c.set("homelab:auth", object{"sessionInactivity": "1m", "sessionExpiration": "60s", "rememberMe": "1m0s"})
		},
		"a Git host's login": func(c *stackConfig) { c.set("homelab:tailscale.admins", list{"alice@github"}) },
		"an international domain": func(c *stackConfig) {
			c.set("homelab:domain", "xn--bcher-kva.example")
		},
		"unprotected":        func(c *stackConfig) { c.set("homelab:protect", "false") },
		"a secret client ID": func(c *stackConfig) { c.secret[oauthClientIDKey] = true },
		"empty optional objects": func(c *stackConfig) {
			for _, key := range []string{"server", "ports", "storage", "backup", "networks", "auth", "services"} {
				c.set(namespace+key, object{})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := minimal()
			change(c)
			_, err := run(t, c)
			require.NoError(t, err)
		})
	}
}

func TestSessions(t *testing.T) {
	c := minimal()
	s, err := run(t, c)
	require.NoError(t, err)
	assert.Equal(t, "example.com", s.Auth.SessionDomain)
	assert.Equal(t, 720*time.Hour, s.Auth.RememberMe)
	for _, off := range []string{"0s", "0", "off"} {
		c.set("homelab:auth.rememberMe", off)
		s, err = run(t, c)
		require.NoError(t, err)
		assert.Zero(t, s.Auth.RememberMe, off)
	}
	c.set("homelab:auth.sessionDomain", "home").set("homelab:auth.hostname", "auth.home").set("homelab:cloudflare.certificates", list{"home"})
	c.set("homelab:services.jellyseerr.hostname", "requests.home")
	s, err = run(t, c)
	require.NoError(t, err)
	assert.Equal(t, "home.example.com", s.Auth.SessionDomain)
	assert.Equal(t, []string{"auth.home.example.com", "jellyfin.example.com", "requests.home.example.com"}, s.Hostnames(),
		"a service with its own login may be elsewhere")
}

// Without a mode, a port or a server: what follows from the rest.
func TestMailServer(t *testing.T) {
	for name, c := range map[string]struct {
		config *stackConfig
		want   *smtp.Server
	}{
		"none":  {minimal(), nil},
		"empty": {minimal().set("homelab:smtp", object{}).set("homelab:smtpPassword", ""), nil},
		"default": {minimal().withMail(), &smtp.Server{
			Host: "smtp.example.com", Port: 587, TLS: smtp.StartTLS, Username: "homelab@example.com", Sender: "portal@example.com",
		}},
		"implicit": {minimal().withMail().set("homelab:smtp.tls", "implicit"), &smtp.Server{
			Host: "smtp.example.com", Port: 465, TLS: smtp.Implicit, Username: "homelab@example.com", Sender: "portal@example.com",
		}},
		"another port": {minimal().withMail().set("homelab:smtp.port", 2525), &smtp.Server{
			Host: "smtp.example.com", Port: 2525, TLS: smtp.StartTLS, Username: "homelab@example.com", Sender: "portal@example.com",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := run(t, c.config)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.SMTP)
			assert.Equal(t, c.want != nil, got.Credentials.SMTPPassword.Given())
		})
	}
}

func TestListsAreSorted(t *testing.T) {
	c := minimal()
	c.set("homelab:users", list{
		object{"name": "zoe", "displayName": "Zoë", "email": "zoe@example.com", "groups": list{"users", "guests"}},
		object{"name": "admin", "email": "admin@example.com", "groups": list{"users", "admins"}},
	})
	c.set("homelab:cloudflare.blockedCountries", list{"FR", "DE"})
	c.set("homelab:tailscale.members", list{"zoe@example.com", "bob@example.com"})
	c.set("homelab:services.jellyseerr.access", object{"policy": "one-factor", "groups": list{"users", "admins"}})
	got, err := run(t, c)
	require.NoError(t, err)
	assert.Equal(t, []User{
		{Name: "admin", DisplayName: "admin", Email: "admin@example.com", Groups: []string{"admins", "users"}},
		{Name: "zoe", DisplayName: "Zoë", Email: "zoe@example.com", Groups: []string{"guests", "users"}},
	}, got.Users)
	assert.Equal(t, []string{"DE", "FR"}, got.Cloudflare.BlockedCountries)
	assert.Equal(t, []string{"bob@example.com", "zoe@example.com"}, got.Tailscale.Members)
	assert.Equal(t, []string{"admins", "users"}, got.Services[1].Access.Groups)
}

// TestDefaultsAreNotChanged loads twice: the defaults are shared by every load.
func TestDefaultsAreNotChanged(t *testing.T) {
	before, err := json.Marshal(defaults)
	require.NoError(t, err)
	c := minimal()
	c.set("homelab:ports", object{"https": "wrong", "ssh": nil}).set("homelab:services.jellyfin.access.policy", 1)
	_, err = run(t, c)
	require.Error(t, err)
	after, err := json.Marshal(defaults)
	require.NoError(t, err)
	assert.JSONEq(t, string(before), string(after))
}

func TestSecretIsNeverShown(t *testing.T) {
	s := secretOf("hunter2")
	holder := struct {
		Inner Secret
		Ptr   *Secret
	}{s, &s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		for _, v := range []any{s, &s, holder, []Secret{s}, map[string]Secret{"k": s}} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, "hunter2")
			assert.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
		}
	}
	assert.Equal(t, "[secret]", s.String())
	assert.Equal(t, "[secret]", s.GoString())
	assert.Equal(t, "[secret]", fmt.Sprint(s))
	text, err := json.Marshal(Credentials{HcloudToken: s})
	require.NoError(t, err)
	assert.NotContains(t, string(text), "hunter2")
	assert.Contains(t, string(text), `"HcloudToken":"[secret]"`)
}

func TestSecretOutputIsSecret(t *testing.T) {
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		for value, s := range map[string]Secret{"hunter2": secretOf("hunter2"), "": {}} {
			assert.True(t, pulumi.IsSecret(s.Output()))
			done := make(chan string, 1)
			s.Output().ApplyT(func(v string) string { done <- v; return v })
			assert.Equal(t, value, <-done)
		}
		return nil
	}, pulumi.WithMocks("homelab", "prod", &recorder{}))
	require.NoError(t, err)
}

func TestGenerate(t *testing.T) {
	random := rand.New(rand.NewSource(7))
	seen := map[string]bool{}
	for _, k := range Secrets() {
		assert.NotEmpty(t, k.What)
		for range 20 {
			value, err := k.Generate(random)
			require.NoError(t, err)
			assert.Regexp(t, k.pattern, value)
			assert.False(t, seen[value], "a value twice")
			seen[value] = true
		}
		_, err := k.Generate(iotest.ErrReader(os.ErrClosed))
		require.ErrorIs(t, err, os.ErrClosed)
		assert.ErrorContains(t, err, k.Key)
	}
	assert.IsIncreasing(t, secretNames())
}
