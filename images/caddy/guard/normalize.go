package guard

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"
)

func init() {
	caddy.RegisterModule(Normalize{})
	caddy.RegisterModule(RequireClient{})
	httpcaddyfile.RegisterHandlerDirective("normalize", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Normalize), noArguments(h)
	})
	httpcaddyfile.RegisterHandlerDirective("require_client", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		name, err := oneArgument(h.Dispenser)
		return &RequireClient{Header: http.CanonicalHeaderKey(name)}, err
	})
}

// Normalize ends what concerns the client's connection alone, before anything of it could reach the
// portal or a service:
//
//   - Headers that Connection names are removed here, as HTTP asks of a proxy. Removed later, by
//     whoever sends the request on, they could be those that the portal has set.
//   - Of the upgrades, only that to a WebSocket is left.
//   - An Expect is answered here; anything but 100-continue is refused with 417.
//   - A target that does not begin with a slash is refused with 400: the portal would read it as the
//     end of the host's name.
//   - Trailers, and TE, which asks for some, are removed: nobody inspects them.
type Normalize struct{}

// CaddyModule returns the module's ID and constructor.
func (Normalize) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.normalize", New: func() caddy.Module { return new(Normalize) }}
}

// ServeHTTP changes the request and passes it on.
func (Normalize) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Opaque != "" || !strings.HasPrefix(r.URL.RequestURI(), "/") {
		return refuse(w, http.StatusBadRequest)
	}
	if expected := r.Header.Values("Expect"); len(expected) > 1 || (len(expected) == 1 && !strings.EqualFold(expected[0], "100-continue")) {
		return refuse(w, http.StatusExpectationFailed)
	}
	websocket := isWebSocket(r)
	for _, value := range r.Header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "Upgrade") {
				r.Header.Del(name)
			}
		}
	}
	for _, name := range []string{"Connection", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		r.Header.Del(name)
	}
	if websocket {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}
	// A copy: the server fills in the trailers of the original when the body ends.
	r = r.WithContext(r.Context())
	r.Trailer = nil
	return next.ServeHTTP(w, r)
}

// isWebSocket reports whether the request opens a WebSocket, as RFC 6455 has it, and asks for
// nothing beside.
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header.Values("Upgrade")
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ContentLength == 0 &&
		len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header.Values("Connection"), "Upgrade")
}

// RequireClient refuses a request, with 400, unless the header that the edge sets says once and
// clearly who the client is. Without it, Caddy would take the edge's own address for the client's,
// which is never banned; in another spelling, no ban of the address would be found. In a Caddyfile:
//
//	require_client CF-Connecting-IP
type RequireClient struct {
	// Header is the header's name; required.
	Header string `json:"header"`
}

// CaddyModule returns the module's ID and constructor.
func (RequireClient) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.require_client", New: func() caddy.Module { return new(RequireClient) }}
}

// ServeHTTP refuses the request or passes it on.
func (c *RequireClient) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	values := r.Header.Values(c.Header)
	client, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if len(values) != 1 {
		return refuse(w, http.StatusBadRequest)
	}
	address, err := netip.ParseAddr(values[0])
	if err != nil || address.Is4In6() || address.Zone() != "" || address.String() != client || !isVisitor(address) {
		return refuse(w, http.StatusBadRequest)
	}
	return next.ServeHTTP(w, r)
}

// isVisitor reports whether a visitor from the internet can have the address.
func isVisitor(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(translations, func(p netip.Prefix) bool { return p.Contains(a) })
}

// translations are ranges of IPv6 that stand for an IPv4 address: a ban of that one would not
// count.
var translations = []netip.Prefix{netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16")}

var (
	_ caddyhttp.MiddlewareHandler = (*Normalize)(nil)
	_ caddyhttp.MiddlewareHandler = (*RequireClient)(nil)
)
