package shipper

import "strings"

// Redacted is what stands in the place of a secret.
const Redacted = "REDACTED"

// Pattern finds a kind of secret in a log line. Both shippers apply it in the same way: of each
// match, what the capture group holds is replaced by Redacted, and the rest of the line stays.
type Pattern struct {
	// Name says what is found.
	Name string
	// Expression is an RE2 expression with exactly one capture group, which is the secret.
	Expression string
}

// Names of what is secret.
var (
	// headers are HTTP headers whose whole value is secret.
	headers = alternatives("(?:proxy-)?authorization", "(?:set-)?cookie", "x-api-key", "x-(?:emby|mediabrowser|plex|auth|csrf)-token", "x-emby-authorization")
	// parameters are secret in a query, where their names cannot be mistaken for a word.
	parameters = alternatives(
		"access_token", "api_?key", "auth", "authkey", "client_assertion", "client_secret", "code", "code_challenge", "code_verifier", "id_token",
		"jackett_apikey", "jwt", "key", "nonce", "pass", "passkey", "password", "passwd", "pwd", "refresh_token", "rsskey", "secret", "session", "sid",
		"sig", "signature", "state", "token", "torrent_pass", "uk", "user_code")
	// fields are secret wherever they are the end of a name: adminPassword, RADARR__AUTH__APIKEY.
	fields = alternatives("api[_-]?key", "auth[_-]?key", "pass(?:word|wd|phrase|key)", "passwordconfirmation", "pre-?shared[_-]?key", "private[_-]?key",
		"client[_-]?secret", "secret[_-]?key")
	// tokens are words that a sentence may hold, too: only a long value without spaces is one.
	tokens = alternatives("token", "secret", "jwt", "cookie")
)

func alternatives(names ...string) string { return "(?:" + strings.Join(names, "|") + ")" }

// text is what a JSON text may hold between its quotes.
const text = `(?:[^"\\]|\\.)`

// Patterns returns what is looked for, in the order in which it is replaced. Values in JSON come
// first, so that a line that was JSON before is JSON afterwards.
func Patterns() []Pattern {
	return []Pattern{
		{"headers, as JSON lists", `(?i)"` + headers + `"\s*:\s*\[\s*"(` + text + `*(?:"\s*,\s*"` + text + `*)*)"\s*\]`},
		{"headers and fields, as JSON", `(?i)"(?:` + headers + `|[a-z0-9_.-]*(?:` + fields + `|` + tokens + `))"\s*:\s*"(` + text + `+)"`},
		{"headers and fields, as JSON in a JSON text", `(?i)\\+"(?:` + headers + `|[a-z0-9_.-]*(?:` + fields + `|` + tokens + `))\\+"\s*:\s*\[?\s*\\+"([^"\\]+)`},
		{"headers", `(?i)(?:^|[^a-z0-9_"-])(?:` + headers + `)\s*[:=]\s*\[?"?((?:(?:apikey|basic|bearer|digest|mediabrowser|negotiate|token) +)?[^\s"'\[\],]+(?:; *[^\s"'\[\];,]+)*)`},
		{"credentials of a scheme", `(?i)\b(?:bearer|basic)\s+([a-z0-9._~+/=-]{20,})`},
		{"parameters of a URL", `(?i)(?:[?&]|\\u0026|&amp;)` + parameters + `=([^&\s"'\\<>]+)`},
		// To its end: what follows in the inner URL is not told apart.
		{"parameters of a URL in a URL", `(?i)%(?:25)*(?:3F|26)` + parameters + `%(?:25)*3D([^&\s"'\\<>]+)`},
		{"passwords in a URL", `(?i)\b[a-z][a-z0-9+.-]*://[^/\s:@"'<>]*:([^/\s@"'<>]+)@`},
		{"fields", `(?i)` + alternatives(fields, "api key", "private key", "preshared key") + `["']?\s*[:=]\s*\\*["']?([^\s"'\\,;&<>()\[\]{}]+)`},
		{"tokens", `(?i)` + tokens + `["']?\s*[:=]\s*\\*["']?([a-z0-9._~+/=-]{16,})`},
		{"cookies of sessions", `(?i)\b(?:[a-z0-9_.-]*session|connect\.sid|(?:qbt_)?sid(?:_\d+)?|jackett|(?:radarr|sonarr|prowlarr)auth)=([^;,\s"'\\&]{8,})`},
		// qBittorrent, as long as no password is set.
		{"temporary passwords", `(?i)temporary password[^:]*:\s*(\S+)`},
		// Caddy's module for certificates, before it asks Cloudflare.
		{"API tokens in quotes", `API token '([^']+)'`},
		// ASP.NET, at the level of information: the API key among others, without its name.
		{"arguments of a controller", `Executing action method .* with arguments \(([^)]+)\)`},
		// Each has a beginning of its own: Tailscale, Cloudflare, qBittorrent, ntfy, GitHub.
		{"keys with a prefix", `\b(tskey-[a-zA-Z0-9-]+|cf(?:k|ut|at)_[a-zA-Z0-9]{20,}|qbt_[a-zA-Z0-9]{20,}|tk_[a-z0-9]{29}|gh[pousr]_[a-zA-Z0-9]{36,})`},
		{"JSON Web Tokens", `\b(eyJ[a-zA-Z0-9_-]{5,}\.[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]*){0,3})`},
		{"hashes of passwords", `(\$(?:argon2(?:id|i|d)|pbkdf2(?:-sha[0-9]+)?|scrypt|bcrypt(?:-sha256)?|2[abxy]?|[156y])\$[^\s"';]{16,})`},
		{"passkeys of trackers", `(?i)/announce(?:\.php)?/([a-z0-9]{16,})`},
		{"passkeys of trackers, in front", `(?i)/([a-z0-9]{16,})/announce\b`},
		// 32 bytes: the last letter before the sign of equality can be one of 16 only.
		{"WireGuard keys", `([a-zA-Z0-9+/]{42,}[AEIMQUYcgkosw048]=)`},
		{"private keys in one line", `-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(.+?)(?:-----END|$)`},
		// Of a private key that is printed as it is, each line is a line of the log.
		{"lines of a private key", `^\s*([a-zA-Z0-9+/]{60,76}|(?:[a-zA-Z0-9+/]{4}){5,}(?:[a-zA-Z0-9+/]{2}==|[a-zA-Z0-9+/]{3}=))\s*$`},
	}
}
