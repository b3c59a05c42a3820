package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// problems collects what is wrong.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p *problems) require(ok bool, format string, args ...any) {
	if !ok {
		p.add(format, args...)
	}
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	p.require(slices.Contains(allowed, value), "%s: must be one of '%s' but it's configured as '%s'", key, strings.Join(allowed, "', '"), value)
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate applies defaults, compiles patterns and returns everything wrong.
func validate(c *Configuration) []error {
	var p problems
	orDefault(&c.Theme, "light")
	p.oneOf("theme", c.Theme, "light", "dark", "grey", "oled", "auto")
	c.Log.validate(&p)
	c.Server.validate(&p)
	orDefault(&c.Telemetry.Metrics.Address.Port, "9959")
	orDefault(&c.Telemetry.Metrics.Address.Path, "/metrics")
	c.TOTP.validate(&p)
	c.WebAuthn.validate(&p)
	c.Identity.ElevatedSession.validate(&p)
	c.Backend.validate(&p)
	c.AccessControl.validate(&p, c.Definitions.validate(&p))
	c.Session.validate(&p)
	c.Regulation.validate(&p)
	c.Storage.validate(&p)
	p.require(c.Notifier.Filesystem != nil, "notifier: you must ensure the 'filesystem' notifier is configured: the stand-in has no other")
	if c.Notifier.Filesystem != nil {
		p.require(c.Notifier.Filesystem.Filename != "", "notifier: filesystem: option 'filename' is required")
	}
	c.Providers.validate(&p)
	return p
}

func (l *Log) validate(p *problems) {
	orDefault(&l.Level, "info")
	orDefault(&l.Format, "text")
	p.oneOf("log: option 'level'", l.Level, "trace", "debug", "info", "warn", "error")
	p.require(l.Format == "json", "log: option 'format': the stand-in writes only 'json' but it's configured as '%s'", l.Format)
}

var endpointName = regexp.MustCompile(`^[a-zA-Z](?:[a-zA-Z0-9/_.-]*[a-zA-Z0-9])?$`)

func (s *Server) validate(p *problems) {
	orDefault(&s.Address.Port, "9091")
	p.require(s.Address.Path == "" || s.Address.Path == "/", "server: option 'address': the stand-in serves only the path '/' but it's '%s'", s.Address.Path)
	orDefault(&s.Buffers.Read, 4096)
	orDefault(&s.Buffers.Write, 4096)
	p.require(s.Buffers.Read > 0 && s.Buffers.Write > 0, "server: option 'buffers' must be above 0")
	s.Endpoints.RateLimits.validate(p)
	p.require(len(s.Endpoints.Authz) > 0, "server: endpoints: authz: the stand-in has no default endpoints: configure one")
	for _, name := range slices.Sorted(maps.Keys(s.Endpoints.Authz)) {
		e := s.Endpoints.Authz[name]
		key := "server: endpoints: authz: " + name
		p.require(endpointName.MatchString(name), "%s: contains invalid characters", key)
		p.require(e.Implementation == "ForwardAuth", "%s: option 'implementation': the stand-in has only 'ForwardAuth' but it's configured as '%s'", key, e.Implementation)
		p.require(len(e.AuthnStrategies) > 0, "%s: authn_strategies: the defaults read credentials from headers, which the stand-in does not: configure CookieSession", key)
		seen := map[string]bool{}
		for _, strategy := range e.AuthnStrategies {
			p.require(!seen[strategy.Name], "%s: authn_strategies: duplicate strategy name detected with name '%s'", key, strategy.Name)
			p.require(strategy.Name == "CookieSession", "%s: authn_strategies: the stand-in has only 'CookieSession' but it's configured as '%s'", key, strategy.Name)
			seen[strategy.Name] = true
		}
	}
}

func (t *TOTP) validate(p *problems) {
	orDefault(&t.Issuer, "Authelia")
	orDefault(&t.Algorithm, "SHA1")
	t.Algorithm = strings.ToUpper(t.Algorithm)
	p.oneOf("totp: option 'algorithm'", t.Algorithm, "SHA1", "SHA256", "SHA512")
	orDefault(&t.Digits, 6)
	p.require(t.Digits == 6 || t.Digits == 8, "totp: option 'digits' must be 6 or 8 but it's configured as '%d'", t.Digits)
	orDefault(&t.Period, 30)
	p.require(t.Period >= 15, "totp: option 'period' must be 15 or more but it's configured as '%d'", t.Period)
	if t.Skew == nil {
		one := 1
		t.Skew = &one
	}
	p.require(*t.Skew >= 0, "totp: option 'skew' must not be negative but it's configured as '%d'", *t.Skew)
	orDefault(&t.SecretSize, 32)
	p.require(t.SecretSize >= 20, "totp: option 'secret_size' must be 20 or higher but it's configured as '%d'", t.SecretSize)
}

func (w *WebAuthn) validate(p *problems) {
	orDefault(&w.DisplayName, "Authelia")
	orDefault(&w.Timeout, Duration(time.Minute))
	orDefault(&w.Selection.UserVerification, "preferred")
	p.oneOf("webauthn: selection_criteria: option 'user_verification'", w.Selection.UserVerification, "discouraged", "preferred", "required")
	p.require(!w.EnablePasskeyLogin, "webauthn: option 'enable_passkey_login': the stand-in knows no passkey")
}

func (e *Elevated) validate(p *problems) {
	orDefault(&e.CodeLifespan, Duration(5*time.Minute))
	orDefault(&e.ElevationLifespan, Duration(10*time.Minute))
	orDefault(&e.Characters, 8)
	p.require(e.CodeLifespan > 0 && e.ElevationLifespan > 0, "identity_validation: elevated_session: lifespans must be above 0")
	p.require(e.Characters > 0 && e.Characters <= 20, "identity_validation: elevated_session: option 'characters' must be 20 or less but it's configured as %d", e.Characters)
}

func (b *Backend) validate(p *problems) {
	orDefault(&b.RefreshInterval, Duration(5*time.Minute))
	p.require(b.PasswordReset.Disable, "authentication_backend: password_reset: option 'disable': the stand-in resets no password")
	p.require(b.PasswordChange.Disable, "authentication_backend: password_change: option 'disable': the stand-in changes no password")
	if b.File == nil {
		p.add("authentication_backend: you must ensure the 'file' authentication backend is configured: the stand-in has no other")
		return
	}
	p.require(b.File.Path != "", "authentication_backend: file: option 'path' is required")
	key := "authentication_backend: file: password"
	orDefault(&b.File.Password.Algorithm, "argon2")
	p.require(b.File.Password.Algorithm == "argon2", "%s: option 'algorithm': the stand-in has only 'argon2' but it's configured as '%s'", key, b.File.Password.Algorithm)
	a := &b.File.Password.Argon2
	orDefault(&a.Variant, "argon2id")
	p.oneOf(key+": argon2: option 'variant'", a.Variant, "argon2id", "id")
	orDefault(&a.Iterations, 3)
	orDefault(&a.Memory, 65536)
	orDefault(&a.Parallelism, 4)
	orDefault(&a.KeyLength, 32)
	orDefault(&a.SaltLength, 16)
	p.require(a.Iterations >= 1, "%s: argon2: option 'iterations' must be 1 or more", key)
	p.require(a.Parallelism >= 1, "%s: argon2: option 'parallelism' must be 1 or more", key)
	p.require(a.Memory >= 8*a.Parallelism, "%s: argon2: option 'memory' must be at least 8 times the parallelism", key)
	p.require(a.KeyLength >= 4 && a.SaltLength >= 1, "%s: argon2: options 'key_length' and 'salt_length' are too small", key)
}

// parsePrefix reads an address or a range.
func parsePrefix(text string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func (d Definitions) validate(p *problems) map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	for _, name := range slices.Sorted(maps.Keys(d.Network)) {
		for _, text := range d.Network[name] {
			prefix, err := parsePrefix(text)
			if err != nil {
				p.add("definitions: network: %s: %q is neither an address nor a range", name, text)
				continue
			}
			out[name] = append(out[name], prefix)
		}
	}
	return out
}

func (s *Storage) validate(p *problems) {
	switch {
	case s.EncryptionKey == "":
		p.add("storage: option 'encryption_key' is required")
	case len(s.EncryptionKey) < 20:
		p.add("storage: option 'encryption_key' must be 20 characters or longer")
	}
	if s.Local == nil {
		p.add("storage: configuration for a 'local' database must be provided: the stand-in has no other")
		return
	}
	p.require(s.Local.Path != "", "storage: local: option 'path' is required")
}

func (r *Regulation) validate(p *problems) {
	if len(r.Modes) == 0 {
		r.Modes = []string{"user"}
	}
	for _, mode := range r.Modes {
		p.oneOf("regulation: option 'modes'", mode, "ip", "user")
	}
	if r.MaxRetries == nil {
		three := 3
		r.MaxRetries = &three
	}
	orDefault(&r.FindTime, Duration(2*time.Minute))
	orDefault(&r.BanTime, Duration(5*time.Minute))
	p.require(r.FindTime <= r.BanTime, "regulation: option 'find_time' must be less than or equal to option 'ban_time'")
}

func (s *Session) validate(p *problems) {
	orDefault(&s.Name, "authelia_session")
	orDefault(&s.SameSite, "lax")
	p.oneOf("session: option 'same_site'", s.SameSite, "none", "lax", "strict")
	orDefault(&s.Expiration, Duration(time.Hour))
	orDefault(&s.Inactivity, Duration(5*time.Minute))
	orDefault(&s.RememberMe, Duration(30*day))
	p.require(s.Expiration > 0 && s.Inactivity > 0, "session: options 'expiration' and 'inactivity' must be above 0")
	p.require(s.RememberMe > 0 || s.RememberMe == RememberMeDisabled, "session: option 'remember_me' must be above 0, or -1")
	p.require(len(s.Cookies) > 0, "session: option 'cookies' is required")
	for i := range s.Cookies {
		s.Cookies[i].validate(p, s.Cookies[:i])
	}
	if s.Redis == nil {
		p.add("session: option 'redis' is required: the stand-in keeps no session in memory")
		return
	}
	p.require(s.Secret != "", "session: option 'secret' is required when using the 'redis' provider")
	p.require(s.Redis.Host != "", "session: redis: option 'host' is required")
	p.require(!filepath.IsAbs(s.Redis.Host), "session: redis: option 'host': the stand-in opens no socket file")
	orDefault(&s.Redis.Port, 6379)
	p.require(s.Redis.Port > 0 && s.Redis.Port <= 65535, "session: redis: option 'port' must be between 1 and 65535 but it's configured as '%d'", s.Redis.Port)
	orDefault(&s.Redis.Timeout, Duration(5*time.Second))
	orDefault(&s.Redis.MaxRetries, 3)
	orDefault(&s.Redis.MaximumActiveConnections, 8)
}

var domainName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)

func (c *Cookie) validate(p *problems, before []Cookie) {
	key := fmt.Sprintf("session: domain config '%s'", c.Domain)
	p.require(domainName.MatchString(c.Domain), "%s: option 'domain' is not a cookie domain", key)
	if suffix, icann := publicsuffix.PublicSuffix(c.Domain); icann && suffix == c.Domain {
		p.add("%s: option 'domain' is not a valid cookie domain: the domain is part of the special public suffix list", key)
	}
	for _, other := range before {
		p.require(!HasDomainSuffix(c.Domain, other.Domain), "%s: option 'domain' shares the same cookie domain scope as another configured session domain", key)
	}
	var err error
	c.Portal, err = c.link("authelia_url", c.AutheliaURL)
	p.require(err == nil, "%s: %w", key, err)
	if c.DefaultRedirectionURL == "" {
		return
	}
	c.Redirect, err = c.link("default_redirection_url", c.DefaultRedirectionURL)
	p.require(err == nil, "%s: %w", key, err)
	if c.Portal != nil && c.Redirect != nil {
		p.require(c.Portal.Host != c.Redirect.Host || strings.Trim(c.Portal.Path, "/") != strings.Trim(c.Redirect.Path, "/"),
			"%s: option 'default_redirection_url' is effectively the same as option 'authelia_url'", key)
	}
}

func (c *Cookie) link(option, text string) (*url.URL, error) {
	if text == "" {
		return nil, fmt.Errorf("option '%s' is required", option)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("option '%s': %w", option, err)
	}
	switch {
	case u.Scheme != "https":
		return nil, fmt.Errorf("option '%s' does not have a secure scheme with a value of '%s'", option, text)
	case !HasDomainSuffix(u.Hostname(), c.Domain):
		return nil, fmt.Errorf("option '%s' does not share a cookie scope with domain '%s' with a value of '%s'", option, c.Domain, text)
	}
	return u, nil
}

// HasDomainSuffix reports whether host is the domain or under it, by letter.
func HasDomainSuffix(host, domain string) bool {
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}

var errNoAddress = errors.New("neither the name of a network nor a range")
