package caddyfile

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/access"
)

//go:embed templates/Caddyfile.tmpl
var templates embed.FS

var caddyfile = template.Must(template.ParseFS(templates, "templates/Caddyfile.tmpl"))

// ambiguousPath finds, in the raw request target up to its query, what intermediaries are known to
// read differently: empty and dot segments, path parameters, backslashes, and encoded forms of / .
// \ ; % ? and NUL. The portal matches a rule against the decoded path, where what follows an
// encoded ? passes for a query.
const ambiguousPath = `(?i)^[^?]*(?://|/\.{1,2}(?:/|\?|$)|;|\\|%2e|%2f|%5c|%3b|%3f|%25|%00)`

// withoutSecondFactor finds the paths of the portal that a visitor changes something at before
// having a second factor, or without a session: registering one, and the link in a mail that takes
// a code back (Authelia 4.39).
const withoutSecondFactor = `^/api/(?:secondfactor/totp/register|secondfactor/webauthn/credential/register|user/session/elevation(?:/[^/]+)?)$`

// strippedHeaders are the headers by which a visitor could pass for somebody else, or for another
// request, at the portal or at a service. A * stands for anything; Caddy compares without case, and
// itself drops names with _ or a dot.
var strippedHeaders = []string{
	"Remote*", "X-Remote*", "X-Webauth*", "X-Authentik*",
	"*Forwarded*", "X-Original*", "X-Rewrite*", "X-Real-IP", "*Client-IP", "*Connecting-IP*", "X-Cluster-*", "Cf-*",
	"X-HTTP-Method*", "X-Method-Override",
	// The portal ends a session whose user has another name than this says.
	"Session-Username",
}

// loggedHeaders are the request's headers that the access log holds: CrowdSec reads the User-Agent,
// and nobody reads another.
var loggedHeaders = []string{"User-Agent"}

// secretParameters are query parameters that carry credentials; names are compared without case.
var secretParameters = []string{
	"access_token", "api_key", "apikey", "auth", "client_secret", "code", "id_token", "jwt", "key",
	"password", "rd", "refresh_token", "secret", "sid", "state", "token",
}

// What a service asks the portal by itself, letter by letter: the issuer's description and keys,
// tokens for a code, and who the user is. Whatever else there is of OpenID Connect is the browser's,
// or asked for by no service.
var (
	readFromPortal = []string{"/.well-known/openid-configuration", "/api/oidc/userinfo", "/jwks.json"}
	postedToPortal = []string{"/api/oidc/token", "/api/oidc/userinfo"}
)

// block is one hostname on one listener.
type block struct {
	Comment  string
	Hostname string
	Address  string
	Listener string
	Upstream string
	MaxBody  string
	Uploads  []upload
	Pool     string
	Portal   bool
	Guarded  bool
	Public   bool
}

// upload is a path that takes larger files.
type upload struct {
	Path    string
	MaxBody string
	Methods []string
}

func uploadsOf(s site.Site) []upload {
	out := make([]upload, 0, len(s.Uploads))
	for _, u := range s.Uploads {
		out = append(out, upload{Path: u.Path, MaxBody: bytesOf(u.MaxMB * megabyte), Methods: u.Admitted()})
	}
	slices.SortFunc(out, func(a, b upload) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// view is what the template sees.
type view struct {
	Model
	PublicServer     string
	TailnetServer    string
	InnerServer      string
	PublicAddress    string
	TailnetAddress   string
	InnerAddress     string
	Ranges           string
	Interval         string
	AmbiguousPath    string
	StrippedHeaders  []string
	SecretParameters []string
	LoggedHeaders    []string
	Holds            []Hold
	// WithoutSecondFactor finds the portal's paths that change something without one.
	WithoutSecondFactor string
	ProbeMaxBody        string
	PortalMaxBody       string
	PortalPool          string
	ReadFromPortal      []string
	PostedToPortal      []string
	Blocks              []block
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
		InnerServer:      InnerServer,
		PublicAddress:    net.JoinHostPort(m.Listen.Address, strconv.Itoa(m.Listen.Public)),
		TailnetAddress:   net.JoinHostPort(m.Listen.Address, strconv.Itoa(m.Listen.Tailnet)),
		InnerAddress:     net.JoinHostPort(m.Listen.Address, strconv.Itoa(m.Listen.Inner)),
		Ranges:           joinRanges(m.TrustedProxies),
		Interval:         interval.String(),
		AmbiguousPath:    ambiguousPath,
		StrippedHeaders:  strippedHeaders,
		SecretParameters: secretParameters,
		LoggedHeaders:    loggedHeaders,
		Holds:            Holds(),

		WithoutSecondFactor: withoutSecondFactor,
		ProbeMaxBody:        bytesOf(portalMaxBody),
		PortalMaxBody:       bytesOf(portalMaxBody),
		PortalPool:          portalPool,
		ReadFromPortal:      readFromPortal,
		PostedToPortal:      postedToPortal,
		Blocks:              m.blocks(),
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
					Hostname: m.Portal.Hostname,
					Address:  address(m.Portal.Hostname, port),
					Listener: listener,
					Upstream: m.Portal.Upstream,
					MaxBody:  bytesOf(portalMaxBody),
					Pool:     portalPool,
					Portal:   true,
					Public:   v == access.Public,
				})
			}
		}
		for _, s := range site.Sorted(m.Sites) {
			if s.Visibility != v {
				continue
			}
			out = append(out, block{
				Comment:  fmt.Sprintf("%s (%s)", s.Name, s.Access.Policy),
				Hostname: s.Hostname,
				Address:  address(s.Hostname, port),
				Listener: listener,
				Upstream: s.Upstream,
				MaxBody:  bytesOf(s.BodyLimitMB() * megabyte),
				Uploads:  uploadsOf(s),
				Pool:     openPool,
				Guarded:  s.Guarded(),
				Public:   v == access.Public,
			})
		}
	}
	return out
}
