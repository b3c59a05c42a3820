package caddyfile

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"strconv"
	"text/template"
	"time"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

//go:embed templates/Caddyfile.tmpl
var templates embed.FS

var caddyfile = template.Must(template.ParseFS(templates, "templates/Caddyfile.tmpl"))

// portalMaxBody bounds what a visitor may send to the portal: forms and small JSON documents.
const portalMaxBody = "1MB"

// ambiguousPath finds, in the raw request target up to its query, what intermediaries are known to read
// differently: empty and dot segments, path parameters, backslashes, and encoded forms of / . \ ; % ? and NUL. The
// portal matches a rule against the decoded path, where what follows an encoded ? passes for a query.
const ambiguousPath = `(?i)^[^?]*(?://|/\.{1,2}(?:/|\?|$)|;|\\|%2e|%2f|%5c|%3b|%3f|%25|%00)`

// strippedHeaders are the headers by which a visitor could pass for somebody else, or for another request, at the
// portal or at a service. A * stands for anything; Caddy compares without case, and itself drops names with _ or a dot.
var strippedHeaders = []string{
	"Remote*", "X-Remote*", "X-Webauth*", "X-Authentik*",
	"*Forwarded*", "X-Original*", "X-Rewrite*", "X-Real-IP", "*Client-IP", "*Connecting-IP*", "X-Cluster-*", "Cf-*",
	"X-HTTP-Method*", "X-Method-Override",
	// The portal ends a session whose user has another name than this says.
	"Session-Username",
}

// secretHeaders are headers that carry credentials and that Caddy's own redaction does not know.
var secretHeaders = []string{
	"X-Api-Key", "X-Emby-Authorization", "X-Emby-Token", "X-Mediabrowser-Token", "X-Plex-Token", "Cf-Access-Jwt-Assertion",
}

// secretParameters are query parameters that carry credentials; names are compared exactly.
var secretParameters = []string{
	"ApiKey", "access_token", "api_key", "apikey", "auth", "client_secret", "code", "id_token", "jwt", "key",
	"password", "refresh_token", "secret", "sid", "state", "token",
}

// secretFields are the fields of an access log entry that hold a URL.
var secretFields = []string{"request>uri", "request>headers>Referer", "resp_headers>Location"}

// block is one hostname on one listener.
type block struct {
	Comment  string
	Address  string
	Listener string
	Upstream string
	MaxBody  string
	Portal   bool
	Guarded  bool
}

// view is what the template sees.
type view struct {
	Model
	PublicServer     string
	TailnetServer    string
	PublicAddress    string
	TailnetAddress   string
	Ranges           string
	Interval         string
	AmbiguousPath    string
	StrippedHeaders  []string
	SecretHeaders    []string
	SecretParameters []string
	SecretFields     []string
	Blocks           []block
}

// Caddyfile renders the proxy's configuration.
func Caddyfile(m Model) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering the Caddyfile: %w", err)
	}
	interval := m.CrowdSec.Interval
	if interval == 0 {
		interval = 10 * time.Second
	}
	v := view{
		Model:            m,
		PublicServer:     PublicServer,
		TailnetServer:    TailnetServer,
		PublicAddress:    net.JoinHostPort(m.Listen.Address, strconv.Itoa(m.Listen.Public)),
		TailnetAddress:   net.JoinHostPort(m.Listen.Address, strconv.Itoa(m.Listen.Tailnet)),
		Ranges:           joinRanges(m.TrustedProxies),
		Interval:         interval.String(),
		AmbiguousPath:    ambiguousPath,
		StrippedHeaders:  strippedHeaders,
		SecretHeaders:    secretHeaders,
		SecretParameters: secretParameters,
		SecretFields:     secretFields,
		Blocks:           m.blocks(),
	}
	var out bytes.Buffer
	if err := caddyfile.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("rendering the Caddyfile: %w", err)
	}
	return out.Bytes(), nil
}

func (m Model) blocks() []block {
	var out []block
	for _, v := range access.Visibilities() {
		port, listener := m.Listen.Public, PublicServer
		if v == access.Tailnet {
			port, listener = m.Listen.Tailnet, TailnetServer
		}
		for _, offered := range m.Portal.Visibilities {
			if offered == v {
				out = append(out, block{
					Comment:  "the login portal",
					Address:  address(m.Portal.Hostname, port),
					Listener: listener,
					Upstream: m.Portal.Upstream,
					MaxBody:  portalMaxBody,
					Portal:   true,
				})
			}
		}
		for _, s := range site.Sorted(m.Sites) {
			if s.Visibility != v {
				continue
			}
			out = append(out, block{
				Comment:  fmt.Sprintf("%s (%s)", s.Name, s.Access.Policy),
				Address:  address(s.Hostname, port),
				Listener: listener,
				Upstream: s.Upstream,
				MaxBody:  fmt.Sprintf("%dMB", s.BodyLimitMB()),
				Guarded:  s.Guarded(),
			})
		}
	}
	return out
}
