package rules

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
)

// secretName finds names of properties and variables whose values are secrets.
var secretName = regexp.MustCompile(`(?i)(^|[^a-z])(password|passphrase|passwd|secret|token|api[_-]?key|apikey|private[_-]?key|preshared[_-]?key|credentials?)$|(?:[a-z](?:Password|Passphrase|Secret|Token|ApiKey|PrivateKey|PrivateKeyPem|PrivateKeyOpenssh|PrivateKeyPemPkcs8))$`)

// notSecret are names that end like one, and hold none.
var notSecret = []string{"publicKey", "keyFile", "deployKey", "hostKey"}

// shapes find secrets by what they look like, wherever they are. A text without any of a shape's
// marks, in lower case, cannot have it: most texts are long and have none.
var shapes = []struct {
	what    string
	marks   []string
	pattern *regexp.Regexp
}{
	{"a private key", []string{"private key"}, regexp.MustCompile(`-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----`)},
	{"a key of Tailscale", []string{"tskey-"}, regexp.MustCompile(`\btskey-[a-z]+-[A-Za-z0-9]{6,}`)},
	{"a token of GitHub", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}, regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}`)},
	{"a key of AWS", []string{"akia", "asia"}, regexp.MustCompile(`\bA(?:KIA|SIA)[0-9A-Z]{16}\b`)},
	{"a signed token", []string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.`)},
	{"a password in a URL", []string{"://"}, regexp.MustCompile(`://[^/\s:@]+:[^/\s:@]{4,}@`)},
	{"a WireGuard key", []string{"privatekey", "private_key"}, regexp.MustCompile(`(?i)private_?key\s*[=:]\s*[A-Za-z0-9+/]{42}[A-Za-z0-9+/=]{2}`)},
	{"a key of a service", []string{"apikey", "api_key", `password"`}, regexp.MustCompile(`(?i)<ApiKey>[^<\s]{8,}</ApiKey>|"(?:api_?key|(?:admin)?password)"\s*:\s*"[^"]{8,}"`)},
	{"a password of qBittorrent", []string{"password_pbkdf2"}, regexp.MustCompile(`Password_PBKDF2\s*=\s*"?@ByteArray\([^)]{8,}`)},
	{"a password on a command line", []string{"--password", "--token", "--secret", "--api-key"}, regexp.MustCompile(`(?i)--(?:password|token|secret|api-key)[= ][^\s"'$-][^\s]{3,}`)},
}

var secretRules = []Rule{
	{
		ID: "secret-encrypted", Title: "Every property that holds a secret is encrypted in the state", Severity: Critical, Layer: LayerSecrets,
		Remedy:  "mark the value as a secret: pulumi.ToSecret, or additionalSecretOutputs; then change the secret, because the old one is in the state's history",
		Unknown: "an unknown value is not judged",
		check: func(g *Graph, out *report) {
			out.look()
			for _, r := range g.resources {
				(Value{r.Properties}).walk("", func(path, text string) {
					name := path[strings.LastIndexByte(path, '.')+1:]
					if r.Type == typeContainer || text == "" || !secretName.MatchString(name) || slices.Contains(notSecret, name) || publicText(text) {
						return
					}
					out.fail(r, "%s is in clear in the state", path)
				})
				if what := inClear(r); what != "" {
					out.fail(r, "%s is in clear in the state", what)
				}
			}
		},
	},
	{
		ID: "secret-shape", Title: "Nothing in clear looks like a secret", Severity: Critical, Layer: LayerSecrets,
		Remedy: "mark the value as a secret, and change it: it is in the state's history", Unknown: "an unknown value is not judged",
		check: func(g *Graph, out *report) {
			out.look()
			for _, r := range g.resources {
				(Value{r.Properties}).walk("", func(path, text string) {
					lower := strings.ToLower(text)
					for _, s := range shapes {
						marked := slices.ContainsFunc(s.marks, func(mark string) bool { return strings.Contains(lower, mark) })
						if marked && s.pattern.MatchString(text) {
							out.fail(r, "%s holds %s in clear", path, s.what)
						}
					}
				})
			}
		},
	},
	{
		ID: "secret-environment", Title: "No secret is in a container's environment, labels or command", Severity: High, Layer: LayerSecrets,
		Remedy: "give the program a file: whoever may inspect a container reads its environment", Unknown: unknownOpen,
		check: eachContainer(func(_ *Graph, c *Resource, out *report) {
			for _, pair := range c.At("envs").Texts() {
				name, value, _ := strings.Cut(pair, "=")
				file := strings.HasSuffix(strings.ToUpper(name), "_FILE") || strings.HasPrefix(value, "/")
				out.require(value == "" || file || !secretName.MatchString(name), c, "the variable %s of %s holds a secret", name, c.Name())
			}
			for _, label := range c.At("labels").List() {
				out.require(label.text("value") == "" || !secretName.MatchString(label.text("label")), c, "the label %s of %s holds a secret", label.text("label"), c.Name())
			}
			if c.At("envs").Secret() {
				out.fail(c, "the environment of %s holds a secret", c.Name())
			}
		}),
	},
	{
		ID: "secret-entropy", Title: "No command, environment or label holds what looks random", Severity: Medium, Layer: LayerSecrets,
		Remedy: "give the program a file, or standard input, and mark the value as a secret", Unknown: "an unknown value is not judged",
		check: func(g *Graph, out *report) {
			out.absent("command or container")
			for _, r := range g.resources {
				for _, key := range visible[r.Type] {
					out.look()
					r.At(key).walk(key, func(path, text string) {
						if publicKey.MatchString(text) {
							return
						}
						if word := random(text); word != "" {
							out.fail(r, "%s holds %d characters that look random", path, len(word))
						}
					})
				}
			}
		},
	},
	{
		ID: "secret-logged", Title: "A command that writes a secret logs nothing", Severity: Medium, Layer: LayerSecrets,
		Remedy: "set logging to none on commands whose standard input is a secret", Unknown: unknownNone,
		check: func(g *Graph, out *report) {
			out.absent("command")
			for _, c := range g.Of(typeCommand) {
				if c.At("stdin").Secret() && puts.MatchString(c.Text("create")) {
					out.require(c.Text("logging") == "none", c, "%s may show in a log what it writes", c.Name())
				}
			}
		},
	},
	{
		ID: "monitoring-secrets", Title: "The configuration of the monitoring names its secrets as files", Severity: High, Layer: LayerSecrets,
		Remedy:  "write the secret to a file of its own, and name the file: url_file, password_file, $__file{…}; then change the secret",
		Unknown: unknownOpen,
		check:   judgeMonitoringSecrets,
	},
}

// secretFile finds files for secrets, by their folder; who a login is for is none.
var (
	secretFile = regexp.MustCompile(`/secrets/[^/]+$`)
	loginName  = regexp.MustCompile(`(?:^|[_-])user(?:name)?$`)
)

// inClear returns what of a resource must be a secret, though no property's name says so, and is
// none: what is written to a file for secrets, and a generated password.
func inClear(r *Resource) string {
	switch r.Type {
	case typeCommand:
		m := puts.FindStringSubmatch(r.Text("create"))
		if m == nil || r.Text("stdin") == "" {
			return ""
		}
		base := path.Base(m[1])
		if secretFile.MatchString(m[1]) && !loginName.MatchString(base) || secretName.MatchString(base) && !slices.Contains(notSecret, base) {
			return "what is written to " + m[1]
		}
	case typePassword:
		if r.Text("result") != "" || r.Text("bcryptHash") != "" {
			return "the password"
		}
	}
	return ""
}

// visible are the properties that everybody on the machine can read.
var visible = map[string][]string{
	typeCommand:   {"create", "update", "delete", "environment"},
	typeContainer: {"command", "entrypoints", "envs", "labels"},
}

// publicKey finds variables with a public key, such as that of a VPN server.
var publicKey = regexp.MustCompile(`^[A-Z_]*PUBLIC_KEY=`)

// words finds what could be a key: long, and of the alphabet of base64.
var words = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)

// random returns a word of the text that looks random, or "": one of letters of both cases and
// digits, each of which says more than four bits. A digest in hexadecimal digits, a path and a name
// do not.
func random(text string) string {
	for _, word := range words.FindAllString(text, -1) {
		lower := strings.ContainsFunc(word, func(c rune) bool { return c >= 'a' && c <= 'z' })
		upper := strings.ContainsFunc(word, func(c rune) bool { return c >= 'A' && c <= 'Z' })
		digit := strings.ContainsFunc(word, func(c rune) bool { return c >= '0' && c <= '9' })
		if lower && upper && digit && entropy(word) > 4 {
			return word
		}
	}
	return ""
}

// entropy is how much a character of the text says on average, in bits, by how often each is in it.
func entropy(text string) (bits float64) {
	count := map[rune]int{}
	for _, c := range text {
		count[c]++
	}
	for _, n := range count {
		share := float64(n) / float64(len(text))
		bits -= share * math.Log2(share)
	}
	return bits
}

// publicText reports whether a text that a secret's name leads to is plainly none.
func publicText(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, "ssh-") || strings.HasPrefix(text, "-----BEGIN PUBLIC") ||
		strings.HasPrefix(text, "-----BEGIN CERTIFICATE") || text == "true" || text == "false"
}
