package authelia

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
	"homelab/components/internal/validate"
)

// header stands at the top of every file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// tailnetNetwork names the tailnet's ranges in the rules.
const tailnetNetwork = "tailnet"

// headerBuffer is the largest request head in bytes: twice what the proxy lets through, which adds
// headers of its own.
const headerBuffer = 32 * 1024

// Configuration renders configuration.yml. It holds no secret.
func Configuration(m Model) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the portal's configuration: %w", err)
	}
	host, port, err := net.SplitHostPort(m.Store)
	if err != nil {
		return nil, fmt.Errorf("rendering the portal's configuration: session store: %w", err)
	}
	storePort, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("rendering the portal's configuration: session store: %w", err)
	}
	rules, err := rules(m.Sites)
	if err != nil {
		return nil, fmt.Errorf("rendering the portal's configuration: %w", err)
	}
	notifier, err := m.notifier()
	if err != nil {
		return nil, fmt.Errorf("rendering the portal's configuration: %w", err)
	}
	// The portal's own API lets whoever has the password remove a second factor. The proxy asks
	// this rule before it passes such a request on.
	own := rule{Domain: []string{m.Hostname}, Policy: "two_factor"}
	rules = append([]rule{own}, rules...)
	r := m.regulation()
	return marshal(configuration{
		Theme: "auto",
		Server: server{
			Address: "tcp://" + m.Listen.Portal + "/",
			// The check writes a file into the image's own tree, which is read-only.
			DisableHealthcheck: true,
			Buffers:            buffers{Read: headerBuffer, Write: headerBuffer},
			Endpoints: endpoints{
				Authz: map[string]authz{"forward-auth": {
					Implementation: "ForwardAuth",
					// The default strategies accept Basic credentials too, which know no second
					// factor.
					AuthnStrategies: []strategy{{Name: "CookieSession"}},
				}},
				// For one address: a bucket is full at first, and gets one more each period. By
				// default it may send 50 codes at once; a household behind one address sends a few.
				RateLimits: rateLimits{SecondFactorTOTP: rateLimit{Enable: true, Buckets: []bucket{{"1m", 10}, {"10m", 20}}}},
			},
		},
		// Failed logins are errors (Authelia 4.39). At level info the portal writes the whole URL
		// of every request that it turns away, with what its query holds.
		Log:       logging{Level: "warn", Format: "json", FilePath: m.Paths.Log, KeepStdout: true},
		Telemetry: telemetry{Metrics: metrics{Enabled: true, Address: "tcp://" + m.Listen.Metrics + "/metrics"}},
		TOTP:      totp{Issuer: m.Domain, Algorithm: "SHA1", Digits: 6, Period: 30, Skew: 1, SecretSize: 32},
		WebAuthn:  webauthn{DisplayName: m.Domain, Timeout: "60s", Selection: selection{UserVerification: "preferred"}},
		// The host keeps the time; a time server out of reach must not keep the portal from
		// starting.
		NTP: ntp{DisableStartupCheck: true},
		Backend: backend{
			PasswordReset:   disabled{Disable: true},
			PasswordChange:  disabled{Disable: true},
			RefreshInterval: "1m",
			File: fileBackend{
				Path: m.Paths.Users, Watch: true,
				Password: passwordOptions{Algorithm: "argon2", Argon2: argon{
					Variant: "argon2id", Iterations: argonTime, Memory: argonMemory, Parallelism: argonLanes, KeyLength: argonKey, SaltLength: 16,
				}},
			},
		},
		Definitions:   definitions{Network: map[string][]string{tailnetNetwork: sorted(m.TailnetRanges)}},
		AccessControl: accessControl{DefaultPolicy: "deny", Rules: rules},
		Session: session{
			Name: SessionCookie, SameSite: "lax",
			Inactivity: duration(m.Session.Inactivity), Expiration: duration(m.Session.Expiration), RememberMe: lifetime(m.Session.RememberMe),
			Cookies: []cookie{{
				Domain: m.sessionDomain(), AutheliaURL: "https://" + m.Hostname, DefaultRedirectionURL: m.DefaultRedirectionURL,
			}},
			Redis: redis{Host: host, Port: storePort, Timeout: "5s", MaxRetries: 3, MaximumActiveConnections: 16, MinimumIdleConnections: 2},
		},
		// A ban of a user would let strangers lock him out; an address is banned instead.
		Regulation: regulation{Modes: []string{"ip"}, MaxRetries: r.MaxRetries, FindTime: duration(r.FindTime), BanTime: duration(r.BanTime)},
		Storage:    storage{Local: localPath{m.Paths.Database}},
		Notifier:   notifier,
		Identity:   identity{ElevatedSession: elevated{CodeLifespan: "5m", ElevationLifespan: "10m", Characters: 8, RequireSecondFactor: true}},
	})
}

// rules returns the access rules. The first rule that matches decides, so a site's open paths stand
// before its guarded rest, and no two sites share a hostname. What no rule names is denied.
func rules(sites []site.Site) ([]rule, error) {
	var out []rule
	for _, s := range site.Sorted(sites) {
		if !s.Guarded() {
			continue
		}
		var networks []string
		if s.Visibility == access.Tailnet {
			networks = []string{tailnetNetwork}
		}
		open, err := openPaths(s, networks)
		if err != nil {
			return nil, fmt.Errorf("site %q: %w", s.Name, err)
		}
		out = append(out, open...)
		policy, err := policyName(s.Access.Policy)
		if err != nil {
			return nil, fmt.Errorf("site %q: %w", s.Name, err)
		}
		guarded := rule{Domain: []string{s.Hostname}, Policy: policy, Networks: networks}
		for _, g := range sorted(s.Access.Groups) {
			guarded.Subject = append(guarded.Subject, []string{"group:" + g})
		}
		out = append(out, guarded)
	}
	return out, nil
}

// openPaths returns a site's rules for the paths that skip the portal, one for each set of methods.
func openPaths(s site.Site, networks []string) ([]rule, error) {
	var out []rule
	for _, b := range s.Bypass {
		pattern, err := resource(b.Path)
		if err != nil {
			return nil, err
		}
		methods := b.Admitted()
		same := slices.IndexFunc(out, func(r rule) bool { return slices.Equal(r.Methods, methods) })
		if same < 0 {
			same = len(out)
			out = append(out, rule{Domain: []string{s.Hostname}, Policy: "bypass", Networks: networks, Methods: methods})
		}
		out[same].Resources = append(out[same].Resources, pattern)
	}
	return out, nil
}

func policyName(p access.Policy) (string, error) {
	switch p {
	case access.TwoFactor:
		return "two_factor", nil
	case access.OneFactor:
		return "one_factor", nil
	default:
		return "", fmt.Errorf("policy %q is not the portal's to enforce", p)
	}
}

// UsersDatabase renders users_database.yml. It holds password hashes: treat it as a secret.
func UsersDatabase(users []User) ([]byte, error) {
	p := validate.Of("users")
	p.Require(len(users) > 0, "is empty: nobody could log in")
	db := usersDatabase{Users: map[string]user{}}
	for _, u := range users {
		p.Merge(u.Validate())
		_, twice := db.Users[u.Name]
		p.Require(!twice, "user %q is listed twice", u.Name)
		db.Users[u.Name] = user{DisplayName: u.DisplayName, Password: u.PasswordHash, Email: u.Email, Groups: sorted(u.Groups)}
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("rendering the users' database: %w", err)
	}
	return marshal(db)
}

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return out.Bytes(), nil
}

func sorted(values []string) []string {
	out := slices.Clone(values)
	slices.Sort(out)
	return slices.Compact(out)
}

// duration writes d, which is in whole seconds, with the units Authelia reads.
func duration(d time.Duration) string {
	var out strings.Builder
	for _, u := range []struct {
		unit string
		size time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / u.size; n > 0 {
			out.WriteString(strconv.FormatInt(int64(n), 10) + u.unit)
			d -= n * u.size
		}
	}
	return out.String()
}
