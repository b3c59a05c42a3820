package guard

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(HideCookie{})
	httpcaddyfile.RegisterHandlerDirective("hide_cookie", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		name, err := oneArgument(h.Dispenser)
		return &HideCookie{Name: name}, err
	})
}

// HideCookie keeps a cookie between the client and the proxy: services neither see it nor set it.
// In a Caddyfile:
//
//	hide_cookie session
//
// Names are compared as the most generous of servers reads them: without blanks and quotes around
// them, decoded, and whatever their case.
type HideCookie struct {
	// Name is the cookie's name; required.
	Name string `json:"name"`
}

// CaddyModule returns the module's ID and constructor.
func (HideCookie) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.hide_cookie", New: func() caddy.Module { return new(HideCookie) }}
}

// ServeHTTP removes the cookie from the request, and from what comes back.
func (c *HideCookie) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var kept []string
	for _, line := range r.Header.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = strings.TrimSpace(pair); pair != "" && !c.is(pair) {
				kept = append(kept, pair)
			}
		}
	}
	if len(kept) == 0 {
		r.Header.Del("Cookie")
	} else {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
	return next.ServeHTTP(&cookieFilter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, hide: c}, r)
}

// is reports whether the pair, or what some servers find in it behind a comma, is the cookie. A
// browser sends a cookie without a name as its bare value, so what follows a leading = is a pair
// again.
func (c *HideCookie) is(pair string) bool {
	const around = " \t\r\n\f\v\"'="
	for part := range strings.SplitSeq(pair, ",") {
		name, _, _ := strings.Cut(strings.TrimLeft(part, around), "=")
		name = strings.Trim(name, around)
		if decoded, err := url.PathUnescape(name); err == nil {
			name = strings.Trim(decoded, around)
		}
		if strings.EqualFold(name, c.Name) {
			return true
		}
	}
	return false
}

// cookieFilter removes the cookie from the header before it is written.
type cookieFilter struct {
	*caddyhttp.ResponseWriterWrapper
	hide  *HideCookie
	wrote bool
}

// WriteHeader writes the header without the cookie.
func (f *cookieFilter) WriteHeader(status int) {
	header := f.Header()
	if set := header.Values("Set-Cookie"); len(set) > 0 {
		header.Del("Set-Cookie")
		for _, value := range set {
			pair, _, _ := strings.Cut(value, ";")
			if !f.hide.is(pair) {
				header.Add("Set-Cookie", value)
			}
		}
	}
	f.wrote = f.wrote || status >= 200 || status == http.StatusSwitchingProtocols
	f.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes the header first, if nobody has.
func (f *cookieFilter) Write(p []byte) (int, error) {
	f.ensure()
	return f.ResponseWriterWrapper.Write(p)
}

// ReadFrom writes the header first, if nobody has.
func (f *cookieFilter) ReadFrom(r io.Reader) (int64, error) {
	f.ensure()
	return f.ResponseWriterWrapper.ReadFrom(r)
}

func (f *cookieFilter) ensure() {
	if !f.wrote {
		f.WriteHeader(http.StatusOK)
	}
}

var (
	_ caddyhttp.MiddlewareHandler = (*HideCookie)(nil)
	_ http.ResponseWriter         = (*cookieFilter)(nil)
)
