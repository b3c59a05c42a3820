package guard

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(StripHeaders{})
	httpcaddyfile.RegisterHandlerDirective("strip_headers", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		s := new(StripHeaders)
		h.Next()
		for h.NextBlock(0) {
			s.Names = append(s.Names, h.Val())
			if h.NextArg() {
				return nil, h.ArgErr()
			}
		}
		if len(s.Names) == 0 {
			return nil, h.ArgErr()
		}
		return s, nil
	})
}

// StripHeaders removes headers from the request, all in one pass. In a Caddyfile:
//
//	strip_headers {
//		Remote*
//		*Forwarded*
//	}
type StripHeaders struct {
	// Names are the headers' names, compared without case. A * at the beginning or the end stands
	// for anything. Required.
	Names []string `json:"names"`

	exact                  map[string]bool
	prefix, suffix, within []string
}

// CaddyModule returns the module's ID and constructor.
func (StripHeaders) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.strip_headers", New: func() caddy.Module { return new(StripHeaders) }}
}

// Provision sorts the names by what they compare.
func (s *StripHeaders) Provision(caddy.Context) error {
	s.exact = map[string]bool{}
	for _, name := range s.Names {
		name = strings.ToLower(name)
		plain := strings.Trim(name, "*")
		switch begins, ends := strings.HasSuffix(name, "*"), strings.HasPrefix(name, "*"); {
		case begins && ends:
			s.within = append(s.within, plain)
		case begins:
			s.prefix = append(s.prefix, plain)
		case ends:
			s.suffix = append(s.suffix, plain)
		default:
			s.exact[plain] = true
		}
	}
	return nil
}

// ServeHTTP removes the headers and passes the request on.
func (s *StripHeaders) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	for name := range r.Header {
		if s.match(strings.ToLower(name)) {
			delete(r.Header, name)
		}
	}
	return next.ServeHTTP(w, r)
}

func (s *StripHeaders) match(name string) bool {
	if s.exact[name] {
		return true
	}
	for _, p := range s.prefix {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, p := range s.suffix {
		if strings.HasSuffix(name, p) {
			return true
		}
	}
	for _, p := range s.within {
		if strings.Contains(name, p) {
			return true
		}
	}
	return false
}

var (
	_ caddy.Provisioner           = (*StripHeaders)(nil)
	_ caddyhttp.MiddlewareHandler = (*StripHeaders)(nil)
)
