package settings

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// SecretKey is a configuration key that holds a secret.
type SecretKey struct {
	// Key is the full key, such as hcloud:token.
	Key string
	// What says whose secret it is.
	What string
	// Needs is the setting without which the secret must not be given, and with which it must: a
	// key with an object, or an object or truth value in one, such as homelab:alerts.webhook. Empty
	// for a secret that every stack has.
	Needs string

	renew    string // what to do about one that was seen; empty: revokeToken
	pattern  *regexp.Regexp
	shape    string
	prefix   string
	suffix   string
	sections []int
	alphabet string
	field    func(*Credentials) *Secret
}

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

	oauthClientIDKey = "tailscale:oauthClientId"

	smtpKey         = namespace + "smtp"
	smtpPasswordKey = namespace + "smtpPassword"

	alertsWebhookKey = namespace + "alertsWebhook"

	deadMansSwitchKey = namespace + "deadMansSwitchUrl"

	vpnConfigurationKey = namespace + "vpnConfiguration"
	vpnPasswordKey      = namespace + "vpnPassword"
	vpnPresharedKeyKey  = namespace + "vpnPresharedKey"
	vpnPrivateKeyKey    = namespace + "vpnPrivateKey"
)

// cloudflareToken is the syntax of Cloudflare's tokens, as Caddy's DNS module for Cloudflare checks
// it: a token refused there would be found out only when the proxy starts.
var cloudflareToken = regexp.MustCompile(`^[A-Za-z0-9_-]{35,50}$`)

// webhookAddress is an address whose path is the secret.
var webhookAddress = regexp.MustCompile(`^https://[a-z0-9.-]+(:[0-9]{1,5})?/[!-~]{1,500}$`)

// wireGuardKey is 32 bytes in base64.
var wireGuardKey = regexp.MustCompile(`^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$`)

const wireGuardKeyShape = "44 characters of base64 that end with ="

// revokeToken is what to do about a token that was seen.
const revokeToken = "revoke the token, it may have been seen; create a new one and "

const cloudflareTokenShape = "35 to 50 letters, digits, hyphens and underscores"

// secretKeys are all of them, sorted by key.
var secretKeys = []SecretKey{
	{
		Key: "cloudflare:apiToken", What: "the Cloudflare token that configures the zone (zone settings, DNS, WAF, cache rules, certificates)",
		pattern: cloudflareToken, shape: cloudflareTokenShape, sections: []int{40}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.CloudflareAPIToken },
	},
	{
		Key: "hcloud:token", What: "a read and write token of the Hetzner Cloud project",
		pattern: regexp.MustCompile(`^[A-Za-z0-9]{64}$`), shape: "64 letters and digits",
		sections: []int{64}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.HcloudToken },
	},
	{
		Key: alertsWebhookKey, What: "the address that alerts are sent to", Needs: namespace + "alerts.webhook",
		// Who knows the address can read the alerts, or send some.
		renew:   "choose another address, it may have been seen, and ",
		pattern: webhookAddress, shape: "https://, a host and a path, such as https://ntfy.sh/TOPIC",
		prefix: "https://ntfy.example.com/homelab", sections: []int{32}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.AlertsWebhook },
	},
	{
		Key: namespace + "cloudflareAcmeToken", What: "the Cloudflare token the proxy answers DNS challenges with",
		pattern: cloudflareToken, shape: cloudflareTokenShape, sections: []int{40}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.CloudflareACMEToken },
	},
	{
		Key: namespace + "cloudflareBanToken", What: "the Cloudflare token Fail2ban blocks addresses with",
		pattern: cloudflareToken, shape: cloudflareTokenShape, sections: []int{40}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.CloudflareBanToken },
	},
	{
		Key: deadMansSwitchKey, What: "the address that is told that all is well", Needs: namespace + "monitoring.deadMansSwitch",
		renew:   "choose another address, it may have been seen, and ",
		pattern: webhookAddress, shape: "https://, a host and a path, such as https://hc-ping.com/UUID",
		prefix: "https://hc-ping.example.com/homelab", sections: []int{32}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.DeadMansSwitch },
	},
	{
		Key: smtpPasswordKey, What: "the password at the mail server", Needs: smtpKey,
		// A mail server's password has no syntax. A line end would be cut off where it is read from
		// a file.
		renew:   "change the password, it may have been seen, and ",
		pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,256}$`), shape: "1 to 256 characters on one line",
		sections: []int{32}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.SMTPPassword },
	},
	{
		Key: vpnConfigurationKey, What: "the OpenVPN configuration file of the VPN's provider", Needs: namespace + "vpn.openvpn",
		renew:   "ask the provider for another, it may have been seen, and ",
		pattern: regexp.MustCompile(`(?m)^remote\s`), shape: "the text of the file, with a line that begins with remote",
		prefix: "remote 193.138.218.74 1194 udp\n#", sections: []int{64}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.VPNConfiguration },
	},
	{
		Key: vpnPasswordKey, What: "the password of the VPN's OpenVPN login", Needs: namespace + "vpn.openvpn",
		renew:   "change the password, it may have been seen, and ",
		pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,256}$`), shape: "1 to 256 characters on one line",
		sections: []int{24}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.VPNPassword },
	},
	{
		Key: vpnPresharedKeyKey, What: "the VPN's WireGuard preshared key", Needs: namespace + "vpn.presharedKey",
		renew:   "ask the provider for another, it may have been seen, and ",
		pattern: wireGuardKey, shape: wireGuardKeyShape, sections: []int{42}, alphabet: alphanumeric, suffix: "A=",
		field: func(c *Credentials) *Secret { return &c.VPNPresharedKey },
	},
	{
		Key: vpnPrivateKeyKey, What: "the VPN's WireGuard private key", Needs: namespace + "vpn.wireguard",
		renew:   "make another at the provider, it may have been seen, and ",
		pattern: wireGuardKey, shape: wireGuardKeyShape, sections: []int{42}, alphabet: alphanumeric, suffix: "A=",
		field: func(c *Credentials) *Secret { return &c.VPNPrivateKey },
	},
	{
		Key: "tailscale:oauthClientSecret", What: "the secret of the Tailscale OAuth client",
		pattern: regexp.MustCompile(`^tskey-client-[A-Za-z0-9]+-[A-Za-z0-9]+$`), shape: "tskey-client-…-…",
		prefix: "tskey-client", sections: []int{17, 32}, alphabet: alphanumeric,
		field: func(c *Credentials) *Secret { return &c.TailscaleOAuthClientSecret },
	},
}

// oauthClientID is the syntax of a Tailscale OAuth client's ID.
var oauthClientID = regexp.MustCompile(`^[A-Za-z0-9]{8,64}$`)

// Secrets returns the keys whose values must be set with --secret, sorted by key.
func Secrets() []SecretKey {
	out := make([]SecretKey, len(secretKeys))
	copy(out, secretKeys)
	return out
}

func secretNames() []string {
	out := make([]string, 0, len(secretKeys))
	for _, k := range secretKeys {
		out = append(out, k.Key)
	}
	return out
}

// Generate makes a value with the syntax of a real one, for a simulated stack. It fails only if
// random does.
func (k SecretKey) Generate(random io.Reader) (string, error) {
	var parts []string
	if k.prefix != "" {
		parts = append(parts, k.prefix)
	}
	for _, n := range k.sections {
		part, err := draw(random, k.alphabet, n)
		if err != nil {
			return "", fmt.Errorf("generating a value for %s: %w", k.Key, err)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "-") + k.suffix, nil
}

// draw returns n characters of the alphabet, each as likely as any other.
func draw(random io.Reader, alphabet string, n int) (string, error) {
	out := make([]byte, 0, n)
	limit := 256 - 256%len(alphabet)
	buffer := make([]byte, n)
	for len(out) < n {
		if _, err := io.ReadFull(random, buffer[:n-len(out)]); err != nil {
			return "", err
		}
		for _, b := range buffer[:n-len(out)] {
			if int(b) < limit {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

// readCredentials reads every secret, and the one public name that goes with them. No value is ever
// shown.
func readCredentials(c *collector, src source) Credentials {
	var out Credentials
	holder := map[string]string{}
	for _, k := range secretKeys {
		value, ok := readSecret(c, src, k)
		if !ok {
			continue
		}
		if other, used := holder[value]; used {
			c.add(k.Key, "is the same token as "+other+": whoever gets hold of one would hold both",
				"create a token of its own, with only the permissions it needs")
			continue
		}
		holder[value] = k.Key
		*k.field(&out) = secretOf(value)
	}

	id, _ := src.GetConfig(oauthClientIDKey)
	remedy := "set it: pulumi config set " + oauthClientIDKey + " ID"
	switch {
	case id == "":
		c.add(oauthClientIDKey, "is missing: the ID of the Tailscale OAuth client", remedy)
	case strings.HasPrefix(id, "tskey-"):
		c.add(oauthClientIDKey, "is a Tailscale key, not the ID of an OAuth client",
			"revoke that key, it stands in the configuration in plain text; then "+remedy)
	case !oauthClientID.MatchString(id):
		c.add(oauthClientIDKey, "does not look like the ID of an OAuth client: 8 to 64 letters and digits", remedy)
	default:
		out.TailscaleOAuthClientID = id
	}
	return out
}

// needed reports whether the stack must have the secret.
func (k SecretKey) needed(src source) bool {
	if k.Needs == "" {
		return true
	}
	// The engine's tools fill an absent key with the empty object that the project file declares
	// for it.
	key, field, _ := strings.Cut(k.Needs, ".")
	text, set := src.GetConfig(key)
	v, err := decodeJSON(text)
	o, isObject := v.(object)
	if field != "" {
		inner, _ := o[field].(object)
		return isObject && (o[field] == true || len(inner) > 0)
	}
	return set && (err != nil || !isObject || len(o) > 0)
}

// readSecret returns the value of k, unless there is a problem with it, which it reports.
func readSecret(c *collector, src source, k SecretKey) (string, bool) {
	remedy := "set it: pulumi config set --secret " + k.Key
	value, _ := src.GetConfig(k.Key)
	switch {
	case value == "" && !k.needed(src):
	case value == "":
		c.add(k.Key, "is missing: "+k.What, remedy)
	case !src.IsConfigSecret(k.Key):
		c.add(k.Key, "is in plain text", cmp.Or(k.renew, revokeToken)+remedy)
	case strings.TrimSpace(value) != value:
		c.add(k.Key, "begins or ends with white space", "remove the white space: "+remedy)
	case strings.HasPrefix(k.prefix, "tskey-") && strings.HasPrefix(value, "tskey-") && !strings.HasPrefix(value, k.prefix+"-"):
		c.add(k.Key, "is another kind of Tailscale key", "create an OAuth client and "+remedy)
	case !k.needed(src):
		c.add(k.Key, "is set, but "+k.Needs+" is not", "set "+k.Needs+", or remove the secret: pulumi config rm "+k.Key)
	case !k.pattern.MatchString(value):
		c.add(k.Key, "does not look like "+k.What+": "+k.shape, remedy)
	default:
		return value, true
	}
	return "", false
}
