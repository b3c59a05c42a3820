package authelia

import (
	"crypto/pbkdf2"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/validate"
)

// ConfigurationFile is the base name of the configuration that Configuration renders, beside the
// users' database.
const ConfigurationFile = "configuration.yml"

// Files of the portal that exist only with a service that logs its users in there, in
// Paths.Secrets.
const (
	// OpenIDFile is the configuration that OpenIDConfiguration renders. The issuer's key is an item
	// of a list, which no environment variable can name a file for. Authelia's other way, its
	// template filter, would read the whole configuration as a program, in which two braces in a
	// bypass path or a name mean something; a second file that is a secret as a whole has no such
	// language.
	OpenIDFile = "openid.yml"
	// HMACSecretFile holds the secret that authenticates codes and tokens.
	HMACSecretFile = "openid-hmac-secret"
)

// openIDEnvironment is what the portal's environment has beside the rest if a service logs its
// users in there.
func (f Paths) openIDEnvironment() map[string]string {
	return map[string]string{
		"AUTHELIA_IDENTITY_PROVIDERS_OIDC_HMAC_SECRET_FILE": path.Join(f.Secrets, HMACSecretFile),
		"X_AUTHELIA_CONFIG": path.Join(path.Dir(f.Users), ConfigurationFile) + "," + path.Join(f.Secrets, OpenIDFile),
	}
}

// OpenIDSecrets are the secrets in the portal's second configuration.
type OpenIDSecrets struct {
	// IssuerKey is the RSA key that signs, of at least 2048 bits, PKCS#8 in PEM.
	IssuerKey string
	// Digests are the clients' secrets by site, as HashClientSecret writes them.
	Digests map[string]string
}

// clientRounds are the rounds of a client secret's digest, those of Authelia's documentation.
const clientRounds = 310_000

var digestPattern = regexp.MustCompile(`^\$pbkdf2-sha512\$310000\$[A-Za-z0-9./]{22,}\$[A-Za-z0-9./]{86}$`)

// HashClientSecret returns the digest of a client's secret in the form the portal wants. The same
// secret and salt give the same digest; the salt must be random, the client's own, and 16 bytes or
// more.
func HashClientSecret(secret string, salt []byte) (string, error) {
	key, err := pbkdf2.Key(sha512.New, secret, salt, clientRounds, sha512.Size)
	if err != nil {
		return "", fmt.Errorf("hashing a client's secret: %w", err)
	}
	// The form is passlib's: base64 without padding, and a dot for the plus sign.
	encode := func(b []byte) string { return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".") }
	return fmt.Sprintf("$pbkdf2-sha512$%d$%s$%s", clientRounds, encode(salt), encode(key)), nil
}

func (s OpenIDSecrets) validate(m Model) error {
	p := validate.Of("openid")
	var names []string
	for _, site := range m.openIDSites() {
		names = append(names, site.Name)
		p.Require(digestPattern.MatchString(s.Digests[site.Name]), "site %q: the client secret's digest is not one", site.Name)
	}
	p.Require(len(names) > 0, "no site logs its users in at the portal: there is nothing to render")
	for _, name := range slices.Sorted(maps.Keys(s.Digests)) {
		p.Require(slices.Contains(names, name), "site %q: a digest, but no site of this name logs its users in at the portal", name)
	}
	p.Merge(issuerKey(s.IssuerKey))
	return p.Err()
}

// issuerKey returns an error, which shows nothing of it, unless text is a key that the portal can
// sign with.
func issuerKey(text string) error {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" || strings.TrimSpace(string(rest)) != "" {
		return errors.New("the issuer's key is not one private key, PKCS#8 in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return errors.New("the issuer's key is not a private key in PKCS#8") // the decoder's own words could show some of it
	}
	if key, ok := parsed.(*rsa.PrivateKey); !ok || key.N.BitLen() < 2048 {
		return errors.New("the issuer's key is not an RSA key of at least 2048 bits: with another RS256 cannot be signed")
	}
	return nil
}

func (m Model) openIDSites() []site.Site {
	return slices.DeleteFunc(site.Sorted(m.Sites), func(s site.Site) bool { return s.OpenID == nil })
}

// OpenIDConfiguration renders openid.yml, by which the portal logs users in at the services that
// ask for it. It holds the key that signs for everybody: treat it as a secret.
func OpenIDConfiguration(m Model, secrets OpenIDSecrets) ([]byte, error) {
	p := validate.Of("rendering the portal's OpenID Connect")
	p.Merge(m.Validate())
	p.Merge(secrets.validate(m))
	if err := p.Err(); err != nil {
		return nil, err
	}
	out := openIDConnect{
		EnforcePKCE: "always",
		JWKS:        []jwk{{Algorithm: "RS256", Use: "sig", Key: secrets.IssuerKey}},
		Policies:    map[string]openIDPolicy{},
	}
	for _, s := range m.openIDSites() {
		login := s.Login()
		required, err := policyName(login.Policy)
		if err != nil {
			return nil, fmt.Errorf("rendering the portal's OpenID Connect: site %q: %w", s.Name, err)
		}
		// No network of a site on the tailnet is named here: its visitors may reach the portal,
		// which is elsewhere, from the internet. Where the browser is sent back to, only the
		// tailnet answers.
		allowed := openIDRule{Policy: required}
		for _, group := range sorted(login.Groups) {
			allowed.Subject = append(allowed.Subject, []string{"group:" + group})
		}
		// A prefix keeps a site called deny from naming a policy of the portal's own.
		policy := "site-" + s.Name
		out.Policies[policy] = openIDPolicy{DefaultPolicy: "deny", Rules: []openIDRule{allowed}}
		out.Clients = append(out.Clients, clientOf(s, policy, secrets.Digests[s.Name]))
	}
	return marshal(openIDFile{IdentityProviders: identityProviders{OIDC: out}})
}

func clientOf(s site.Site, policy, digest string) openIDClient {
	c := openIDClient{
		ID: s.Name, Name: s.Name, Secret: digest, Policy: policy,
		RequirePKCE: true, ChallengeMethod: "S256",
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"}, GrantTypes: []string{"authorization_code"},
		TokenAuth: "client_secret_basic",
		// The services are the operator's own, know a secret, and get the browser back at exact
		// addresses of the same zone: a page that asks the user for consent at each login would
		// teach to click it away.
		Consent: "implicit",
		Scopes:  []string{"openid"},
	}
	for _, p := range sorted(s.OpenID.RedirectPaths) {
		c.RedirectURIs = append(c.RedirectURIs, "https://"+s.Hostname+p)
	}
	for _, scope := range s.OpenID.Scopes {
		c.Scopes = append(c.Scopes, string(scope))
	}
	c.Scopes = sorted(c.Scopes)
	return c
}
