package edge

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// visit is a request as expressions see it.
type visit struct {
	request *http.Request
	visitor netip.Addr
	country string
	path    string // as it is written, normalized if the zone is set so
	secure  bool
}

// host is what the visitor asks for, without a port.
func (v *visit) host() string { return hostname(v.request.Host) }

func (v *visit) uri() string {
	if q := v.request.URL.RawQuery; q != "" {
		return v.path + "?" + q
	}
	return v.path
}

func (v *visit) scheme() string {
	if v.secure {
		return "https"
	}
	return "http"
}

// hostname is a Host header's name: lower case, without port and final dot.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// kind is the type of a value.
type kind int

const (
	kindString kind = iota
	kindInt
	kindBool
	kindIP
)

// field is what an expression can look at. many is a list, and a map is one of lists, by a key in
// lower case.
type field struct {
	kind kind
	one  func(v *visit) any
	many func(v *visit) []any
	byID func(v *visit) map[string][]any
}

func ofText(f func(v *visit) string) field {
	return field{kind: kindString, one: func(v *visit) any { return f(v) }}
}

func ofHeader(name string) field {
	return ofText(func(v *visit) string { return strings.Join(v.request.Header.Values(name), ", ") })
}

func constant(kind kind, value any) field {
	return field{kind: kind, one: func(*visit) any { return value }}
}

// fields are those of the rules language that a rehearsal can know. A visitor here is no bot, and no
// Worker asks.
var fields = map[string]field{
	"http.host":                       ofText(func(v *visit) string { return v.host() }),
	"http.request.method":             ofText(func(v *visit) string { return v.request.Method }),
	"http.request.uri":                ofText(func(v *visit) string { return v.uri() }),
	"http.request.uri.path":           ofText(func(v *visit) string { return v.path }),
	"http.request.uri.path.extension": ofText(func(v *visit) string { return extension(v.path) }),
	"http.request.uri.query":          ofText(func(v *visit) string { return v.request.URL.RawQuery }),
	"http.request.full_uri":           ofText(func(v *visit) string { return v.scheme() + "://" + v.host() + v.uri() }),
	"http.request.version":            ofText(func(v *visit) string { return strings.TrimSuffix(v.request.Proto, ".0") }),
	"http.user_agent":                 ofHeader("User-Agent"),
	"http.referer":                    ofHeader("Referer"),
	"http.cookie":                     ofHeader("Cookie"),
	"http.x_forwarded_for":            ofHeader("X-Forwarded-For"),
	"http.request.headers":            {kind: kindString, byID: headers},
	"http.request.headers.names":      {kind: kindString, many: headerNames},
	"ip.src":                          {kind: kindIP, one: func(v *visit) any { return v.visitor }},
	"ip.src.country":                  ofText(func(v *visit) string { return v.country }),
	"ip.geoip.country":                ofText(func(v *visit) string { return v.country }), // its name before
	"ssl":                             {kind: kindBool, one: func(v *visit) any { return v.secure }},
	"cf.worker.upstream_zone":         constant(kindString, ""),
	"cf.client.bot":                   constant(kindBool, false),
	"cf.bot_management.verified_bot":  constant(kindBool, false),
}

// headers are a request's, as Cloudflare has them: names in lower case.
func headers(v *visit) map[string][]any {
	out := map[string][]any{"host": {v.request.Host}}
	for name, values := range v.request.Header {
		for _, value := range values {
			out[strings.ToLower(name)] = append(out[strings.ToLower(name)], value)
		}
	}
	return out
}

// headerNames are in the order of the alphabet: Go does not keep the visitor's.
func headerNames(v *visit) []any {
	names := []string{}
	for name := range headers(v) {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = name
	}
	return out
}
