package config

import (
	"crypto/pbkdf2"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Providers are the ways in which the portal lets other services ask who a user is.
type Providers struct {
	OIDC *OIDC `yaml:"oidc"`
}

// OIDC is OpenID Connect.
type OIDC struct {
	HMACSecret  string                `yaml:"hmac_secret"`
	EnforcePKCE string                `yaml:"enforce_pkce"`
	JWKS        []JWK                 `yaml:"jwks"`
	Policies    map[string]OIDCPolicy `yaml:"authorization_policies"`
	Clients     []Client              `yaml:"clients"`
}

// JWK is a key that signs.
type JWK struct {
	Algorithm string `yaml:"algorithm"`
	Use       string `yaml:"use"`
	Key       string `yaml:"key"`

	// Private is parsed by Validate.
	Private *rsa.PrivateKey `yaml:"-"`
}

// OIDCPolicy says who may log in at a client; the first rule that matches decides.
type OIDCPolicy struct {
	DefaultPolicy string     `yaml:"default_policy"`
	Rules         []OIDCRule `yaml:"rules"`
}

// OIDCRule is one rule of a policy.
type OIDCRule struct {
	Policy  string   `yaml:"policy"`
	Subject Subjects `yaml:"subject"`
}

// Client is a service that logs its users in at the portal.
type Client struct {
	ID              string   `yaml:"client_id"`
	Name            string   `yaml:"client_name"`
	Secret          string   `yaml:"client_secret"`
	Public          bool     `yaml:"public"`
	Policy          string   `yaml:"authorization_policy"`
	RequirePKCE     bool     `yaml:"require_pkce"`
	ChallengeMethod string   `yaml:"pkce_challenge_method"`
	RedirectURIs    []string `yaml:"redirect_uris"`
	Scopes          []string `yaml:"scopes"`
	ResponseTypes   []string `yaml:"response_types"`
	ResponseModes   []string `yaml:"response_modes"`
	GrantTypes      []string `yaml:"grant_types"`
	TokenAuth       string   `yaml:"token_endpoint_auth_method"`
	Consent         string   `yaml:"consent_mode"`

	// digest is parsed by Validate.
	digest digest
}

type digest struct {
	rounds    int
	salt, key []byte
}

var digestPattern = regexp.MustCompile(`^\$pbkdf2-sha512\$(\d+)\$([A-Za-z0-9./]+)\$([A-Za-z0-9./]+)$`)

func parseDigest(text string) (digest, error) {
	parts := digestPattern.FindStringSubmatch(text)
	if parts == nil {
		return digest{}, errors.New("option 'client_secret': the stand-in has only $pbkdf2-sha512$ROUNDS$SALT$KEY")
	}
	rounds, numberErr := strconv.Atoi(parts[1])
	salt, saltErr := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(parts[2], ".", "+"))
	key, keyErr := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(parts[3], ".", "+"))
	if err := errors.Join(numberErr, saltErr, keyErr); err != nil || rounds < 100_000 || len(salt) < 16 || len(key) != sha512.Size {
		return digest{}, errors.New("option 'client_secret': the digest has rounds, salt or key out of range")
	}
	return digest{rounds, salt, key}, nil
}

// Proves reports whether the secret is the client's.
func (c Client) Proves(secret string) bool {
	key, err := pbkdf2.Key(sha512.New, secret, c.digest.salt, c.digest.rounds, len(c.digest.key))
	return err == nil && subtle.ConstantTimeCompare(key, c.digest.key) == 1
}

func (c *Providers) validate(p *problems) {
	o := c.OIDC
	if o == nil {
		return
	}
	p.require(o.HMACSecret != "", "identity_providers: oidc: option 'hmac_secret' is required")
	orDefault(&o.EnforcePKCE, "public_clients_only")
	p.oneOf("identity_providers: oidc: option 'enforce_pkce'", o.EnforcePKCE, "never", "public_clients_only", "always")
	p.require(len(o.JWKS) == 1, "identity_providers: oidc: option 'jwks': the stand-in signs with one key")
	for i := range o.JWKS {
		o.JWKS[i].validate(p, fmt.Sprintf("identity_providers: oidc: jwks: key #%d", i+1))
	}
	names := []string{"one_factor", "two_factor"}
	for _, name := range slices.Sorted(maps.Keys(o.Policies)) {
		key := "identity_providers: oidc: authorization_policies: policy '" + name + "'"
		p.require(name != "" && name != "one_factor" && name != "two_factor" && name != "deny", "%s: must have a name of its own", key)
		policy := o.Policies[name]
		policy.validate(p, key)
		names = append(names, name)
	}
	p.require(len(o.Clients) > 0, "identity_providers: oidc: option 'clients' must have one or more clients configured")
	seen := map[string]bool{}
	for i := range o.Clients {
		c := &o.Clients[i]
		p.require(!seen[c.ID], "identity_providers: oidc: clients: option 'id' must be unique for every client but one or more clients share the 'id' '%s'", c.ID)
		seen[c.ID] = true
		c.validate(p, names)
	}
}

func (k *JWK) validate(p *problems, key string) {
	p.require(k.Use == "sig" || k.Use == "", "%s: option 'use': the stand-in signs only", key)
	p.require(k.Algorithm == "RS256" || k.Algorithm == "", "%s: option 'algorithm': the stand-in has only 'RS256'", key)
	block, rest := pem.Decode([]byte(k.Key))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		p.add("%s: option 'key' must be a PEM block", key)
		return
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	p.require(err == nil && ok, "%s: option 'key' must be an RSA private key", key)
	if ok {
		p.require(private.N.BitLen() >= 2048, "%s: option 'key' is an RSA key with %d bits but it must have at least 2048", key, private.N.BitLen())
		k.Private = private
	}
}

func (o OIDCPolicy) validate(p *problems, key string) {
	p.oneOf(key+": option 'default_policy'", o.DefaultPolicy, "one_factor", "two_factor", "deny")
	p.require(len(o.Rules) > 0, "%s: option 'rules' is required", key)
	for i, rule := range o.Rules {
		at := fmt.Sprintf("%s: rule #%d", key, i+1)
		p.oneOf(at+": option 'policy'", rule.Policy, "one_factor", "two_factor", "deny")
		p.require(len(rule.Subject) > 0, "%s: option 'subject' must be present: the stand-in knows no networks here", at)
		for _, all := range rule.Subject {
			p.require(len(all) > 0, "%s: option 'subject' has an empty list", at)
			for _, subject := range all {
				p.require(strings.HasPrefix(subject, "user:") || strings.HasPrefix(subject, "group:"), "%s: option 'subject' with value '%s' is invalid", at, subject)
			}
		}
	}
}

var clientID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,100}$`)

func (c *Client) validate(p *problems, policies []string) {
	key := "identity_providers: oidc: clients: client '" + c.ID + "'"
	p.require(clientID.MatchString(c.ID), "%s: option 'client_id' must be unreserved characters, 100 or fewer", key)
	orDefault(&c.Policy, "two_factor")
	p.oneOf(key+": option 'authorization_policy'", c.Policy, policies...)
	p.require(!c.Public, "%s: option 'public': the stand-in wants a secret of every client", key)
	var err error
	c.digest, err = parseDigest(c.Secret)
	p.require(err == nil, "%s: %w", key, err)
	p.require(c.ChallengeMethod == "S256", "%s: option 'pkce_challenge_method': the stand-in has only 'S256'", key)
	p.require(c.TokenAuth == "client_secret_basic" || c.TokenAuth == "", "%s: option 'token_endpoint_auth_method': the stand-in has only 'client_secret_basic'", key)
	p.require(c.Consent == "implicit", "%s: option 'consent_mode': the stand-in has no page that asks: configure 'implicit'", key)
	for _, option := range []struct {
		name string
		have []string
		want string
	}{{"response_types", c.ResponseTypes, "code"}, {"response_modes", c.ResponseModes, "query"}, {"grant_types", c.GrantTypes, "authorization_code"}} {
		p.require(slices.Equal(option.have, []string{option.want}), "%s: option '%s': the stand-in has only '%s'", key, option.name, option.want)
	}
	p.require(slices.Contains(c.Scopes, "openid"), "%s: option 'scopes' must have 'openid'", key)
	for i, scope := range c.Scopes {
		p.oneOf(key+": option 'scopes'", scope, "openid", "email", "groups", "profile")
		p.require(slices.Index(c.Scopes, scope) == i, "%s: option 'scopes' has the duplicate value '%s'", key, scope)
	}
	p.require(len(c.RedirectURIs) > 0, "%s: option 'redirect_uris' is required", key)
	for i, text := range c.RedirectURIs {
		u, err := url.Parse(text)
		p.require(err == nil && u.Scheme == "https" && u.Host != "" && u.Fragment == "" && u.RawQuery == "", "%s: option 'redirect_uris' has the invalid value '%s'", key, text)
		p.require(slices.Index(c.RedirectURIs, text) == i, "%s: option 'redirect_uris' has the duplicate value '%s'", key, text)
	}
}
