package edge

import (
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asked is a request with a bit of everything.
func asked() *visit {
	r := httptest.NewRequest("POST", "https://Requests.example.com:443/API/v1/x.PNG?q=1", nil)
	r.Header.Set("Remote-User", "admin")
	r.Header.Add("X-Many", "one")
	r.Header.Add("X-Many", "two")
	r.Header.Set("User-Agent", `curl "8"`)
	return &visit{request: r, visitor: netip.MustParseAddr("203.0.113.201"), country: "DE", path: "/API/v1/x.PNG", secure: true}
}

func TestExpressions(t *testing.T) {
	for expression, want := range map[string]bool{
		`true`:                                true,
		`not true`:                            false,
		`http.host eq "requests.example.com"`: true,
		`http.host == "Requests.example.com"`: false,
		`(http.host ne "x") and (ssl)`:        true,
		`http.host in {"auth.example.com" "requests.example.com"}`:                      true,
		`http.host in {"auth.example.com"}`:                                             false,
		`not http.host in {"auth.example.com"}`:                                         true,
		`http.request.method in {"CONNECT" "TRACE" "TRACK"}`:                            false,
		`starts_with(lower(http.request.uri.path), "/api/")`:                            true,
		`starts_with(http.request.uri.path, "/api/")`:                                   false,
		`ends_with(http.request.uri.path, ".PNG") && !ends_with(http.host, ".org")`:     true,
		`http.request.uri.path.extension eq "png"`:                                      true,
		`http.request.uri contains "?q="`:                                               true,
		`http.request.full_uri eq "https://requests.example.com/API/v1/x.PNG?q=1"`:      true,
		`http.request.uri.query eq "q=1" xor ssl`:                                       false,
		`len(http.request.uri.path) gt 13 or len(http.request.uri.path) lt 13`:          false,
		`len(http.host) in {1..5 20}`:                                                   true,
		`len(http.host) in {1..5 21..30}`:                                               false,
		`ip.src.country in {"AT" "DE"}`:                                                 true,
		`ip.src.country ne "DE"`:                                                        false,
		`ip.src eq 203.0.113.201`:                                                       true,
		`ip.src in {2001:db8::/32 203.0.113.0/24}`:                                      true,
		`ip.src in {198.51.100.0/24 2001:db8::1}`:                                       false,
		`any(lower(http.request.headers.names[*])[*] in {"remote-name" "remote-user"})`: true,
		`any(lower(http.request.headers.names[*])[*] in {"remote-name"})`:               false,
		`any(http.request.headers["x-many"][*] eq "two")`:                               true,
		`all(http.request.headers["x-many"][*] eq "two")`:                               false,
		`any(starts_with(http.request.headers["x-many"][*], "tw"))`:                     true,
		`http.request.headers["x-many"][1] eq "two"`:                                    true,
		`http.request.headers["x-many"][2] eq "two"`:                                    false,
		`not http.request.headers["x-none"][0] eq "two"`:                                true,
		`any(http.request.headers["x-none"][*] eq "")`:                                  false,
		`not cf.worker.upstream_zone in {"" "example.com"}`:                             false,
		`http.user_agent contains "\"8\""`:                                              true,
		`http.user_agent matches r#"^curl "[0-9]"$"#`:                                   true,
		`http.host wildcard "*.EXAMPLE.com"`:                                            true,
		`http.host strict wildcard "*.EXAMPLE.com"`:                                     false,
		`false or false and true`:                                                       false,
		`true or false and false`:                                                       true,
		`cf.client.bot`:                                                                 false,
		`url_decode("a%2Fb") eq "a/b"`:                                                  true,
	} {
		holds, err := compile(expression)
		require.NoError(t, err, expression)
		assert.Equal(t, want, holds(asked()), expression)
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	for expression, want := range map[string]string{
		`cf.threat_score gt 10`:                     "the field cf.threat_score is not part of a rehearsal",
		`cf.bot_management.score lt 30`:             "the field cf.bot_management.score is not part",
		`ip.src in $bad`:                            "the list $bad is not part of a rehearsal",
		`ip.src.asnum eq 64496`:                     "the field ip.src.asnum is not part",
		`lookup_json_string(http.host, "a") eq "b"`: "the function lookup_json_string is not part of a rehearsal",
		`http.host eq`:                              `"" does not fit`,
		`http.host eq 5`:                            `"5" does not fit`,
		`ip.src eq "203.0.113.1"`:                   "does not fit",
		`ip.src eq 203.0.113.300`:                   "does not fit",
		`http.host`:                                 "no answer of yes or no",
		`(http.host eq "a"`:                         `")" is missing`,
		`http.host eq "a`:                           "does not end",
		`http.host eq "a\n"`:                        "has an escape",
		`http.host matches "("`:                     "missing closing )",
		`http.host eq "a" and`:                      "a field is expected",
		`http.host eq "a" ssl`:                      `nothing is expected where "ssl" is`,
		`http.host and ssl`:                         "a side of and has no answer",
		`not http.host`:                             "what follows not has no answer",
		`http.request.headers.names eq "a"`:         "a list is compared with [*]",
		`http.request.headers.names[*] eq "a"`:      "no answer of yes or no",
		`any(http.host eq "a")`:                     "takes a list of answers",
		`http.request.headers eq "a"`:               `"[" is missing`,
		`http.host[0] eq "a"`:                       `nothing is expected where "[" is`,
		`lower(http.host)[0] eq "a"`:                "lower is no list",
		`lower(ip.src) eq "a"`:                      "the function lower takes text",
		`starts_with(http.host) eq "a"`:             "takes 2 arguments, not 1",
		`http.host lt "a"`:                          "only numbers have an order",
		`http.host strict "a"`:                      "strict stands before wildcard",
		`http.host eq "a" ; ssl`:                    "means nothing in an expression",
		``:                                          "a field is expected",
	} {
		_, err := compile(expression)
		require.ErrorContains(t, err, want, expression)
	}
}

func TestNormalization(t *testing.T) {
	for path, want := range map[string][2]string{ // by Cloudflare, and by RFC 3986
		"/":                 {"/", "/"},
		"/a/b":              {"/a/b", "/a/b"},
		"/%61dmin":          {"/admin", "/admin"},
		"/a%2fb%C3%a4":      {"/a%2Fb%C3%A4", "/a%2Fb%C3%A4"},
		"/a/../b/./c":       {"/b/c", "/b/c"},
		"/a/%2e%2e/b":       {"/b", "/b"},
		"/../../etc/passwd": {"/etc/passwd", "/etc/passwd"},
		"/a/..":             {"/", "/"},
		"/a/.":              {"/a/", "/a/"},
		"//a///b":           {"/a/b", "//a///b"},
		`/a\b`:              {"/a/b", `/a\b`},
		`/a\..\.env`:        {"/.env", `/a\..\.env`},
		"/100%":             {"/100%", "/100%"},
		"/%zz%4":            {"/%zz%4", "/%zz%4"},
		"/.env%2Fx":         {"/.env%2Fx", "/.env%2Fx"},
	} {
		assert.Equal(t, want, [2]string{normalized(path, true), normalized(path, false)}, path)
	}
}
