package access

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAccessProblems(t *testing.T) {
	users := []string{"users"}
	for name, c := range map[string]struct {
		access     Access
		visibility Visibility
		want       []string
	}{
		"two-factor":            {Access{Policy: TwoFactor, Groups: users}, Public, nil},
		"one-factor":            {Access{Policy: OneFactor, Groups: users}, Public, nil},
		"native on the tailnet": {Access{Policy: Native}, Tailnet, nil},
		"native with a reason":  {Access{Policy: Native, Reason: "apps"}, Public, nil},
		"native without a reason": {Access{Policy: Native, Reason: " "}, Public, []string{
			"reason is missing: policy native on a public hostname lets the whole internet reach the service's own login: " +
				"use two-factor, make the service's visibility tailnet, or give a reason",
		}},
		"native with groups": {Access{Policy: Native, Groups: users}, Tailnet, []string{
			"groups cannot be used with policy native: the portal that knows the groups is not asked: " +
				"remove groups, or use two-factor or one-factor",
		}},
		"no groups": {Access{Policy: TwoFactor}, Public, []string{
			"groups is empty: policy two-factor needs to know who may enter: name at least one group",
		}},
		"odd groups": {Access{Policy: OneFactor, Groups: []string{"a", " ", "a"}}, Tailnet, []string{
			"groups[1] is empty: name a group or remove the entry",
			`groups[2] "a" is listed twice: remove one`,
		}},
		"no policy":      {Access{}, Public, []string{"policy is missing: use one of two-factor, one-factor, native"}},
		"no such policy": {Access{Policy: "none"}, Public, []string{`policy "none" is not an access policy: use one of two-factor, one-factor, native`}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ElementsMatch(t, c.want, c.access.Problems(c.visibility))
		})
	}
}

func TestBypassProblems(t *testing.T) {
	for path, want := range map[string]string{
		`^/api/status$`:               "",
		`^(/a|/b)/c`:                  "",
		`^/a|^/b`:                     "",
		`(^/a)`:                       "",
		`(^/a){1,2}`:                  "",
		`(?i)^/API/`:                  "",
		`(?i)^/[a-f]`:                 "",
		`^/(a|b|c)`:                   "",
		`^/(?:assets|static)/.*\.js$`: "",
		`^/a?b`:                       "",
		`^/x+$`:                       "",
		`^/\.well-known/`:             "",
		`^/(?:api/)?status$`:          "",
		``:                            "path is missing: give a regular expression such as ^/api/status$",
		`/api`:                        "anchored",
		`^/a|/b`:                      "anchored",
		`(^/a)?/b`:                    "anchored",
		`(^/a){0,2}`:                  "anchored",
		`(?m)^/a`:                     "anchored",
		`(^)*/b`:                      "anchored",
		`.*`:                          "anchored",
		`^/\Ba`:                       "",
		`^/%`:                         "",
		`^`:                           "nearly every path",
		`^/`:                          "nearly every path",
		`^/$`:                         "nearly every path",
		`^/.*$`:                       "nearly every path",
		`^(/api|/[^x]*)`:              "nearly every path",
		`^/[^n]`:                      "nearly every path",
		`^/[^/]`:                      "nearly every path",
		`^/[^/]+/feed$`:               "nearly every path",
		`^/.*\.js$`:                   "nearly every path",
		`^/[a-z]`:                     "nearly every path",
		`^/\w`:                        "nearly every path",
		`^/[^\n]{64}$`:                "nearly every path",
		`^/a?`:                        "nearly every path",
		`^/(a|)`:                      "nearly every path",
		`^/a*`:                        "nearly every path",
		`^/(?:a|.)b`:                  "nearly every path",
		`^/{1,2}a`:                    "nearly every path",
		`^//a`:                        "nearly every path",
		`^/a|^/`:                      "nearly every path",
		`^/?a`:                        "nearly every path",
		`^a`:                          "nearly every path",
		`^[/]?`:                       "nearly every path",
		`^/(?:a.*|[^a].*)`:            "nearly every path",
		`^/(?i:[a-z])`:                "nearly every path",
		`^/[\x00-\x{10FFFF}]`:         "nearly every path",
		`^/\b`:                        "nearly every path",
		`^(?:/|/a)`:                   "nearly every path",
		`^/(?:a1|b1|c1|d1|e1|f1|g1|h1|i1|j1|k1|l1|m1|n1|o1|p1|q1)`: "nearly every path",
		`^\x2f.`:            "nearly every path",
		`^/(`:               "missing closing )",
		`^/(?=a)`:           "invalid or unsupported Perl syntax",
		`^/` + "\xff" + `$`: "invalid UTF-8",
	} {
		got := Bypass{Path: path, Reason: "test"}.Problems()
		if want == "" {
			assert.Empty(t, got, path)
			continue
		}
		if assert.Len(t, got, 1, path) {
			assert.Contains(t, got[0], want, path)
		}
	}
	assert.Equal(t, []string{"reason is missing: a path that skips the portal needs a reason: say why"},
		Bypass{Path: "^/a$", Reason: "\t"}.Problems())
}

func TestBypassMethods(t *testing.T) {
	b := Bypass{Path: "^/hook$", Reason: "test"}
	assert.Equal(t, []string{"GET", "HEAD", "OPTIONS"}, b.Admitted())
	b.Methods = []string{"POST", "GET"}
	assert.Empty(t, b.Problems())
	assert.Equal(t, []string{"GET", "POST"}, b.Admitted())
	b.Methods = []string{"POST", "get", "POST", "TRACE", "", "CONNECT"}
	all := "use one of GET, HEAD, OPTIONS, DELETE, PATCH, POST, PUT"
	assert.Equal(t, []string{
		`methods[1] "get" is not a method that the proxy forwards: ` + all,
		`methods[2] "POST" is listed twice: remove one`,
		`methods[3] "TRACE" is not a method that the proxy forwards: ` + all,
		`methods[4] "" is not a method that the proxy forwards: ` + all,
		`methods[5] "CONNECT" is not a method that the proxy forwards: ` + all,
	}, b.Problems())
}

// A path that the check lets through must not match a path that begins with an arbitrary character.
func TestAcceptedPathsAreSelective(t *testing.T) {
	pieces := []string{"^", "/", "a", "b", "[^n]", ".", "*", "?", "(", ")", "|", "[a-c]", "$", "+", "x{0,2}", `\b`, "(?:"}
	random := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 200_000 {
		var path strings.Builder
		path.WriteString("^/")
		for range 1 + random.IntN(6) {
			path.WriteString(pieces[random.IntN(len(pieces))])
		}
		if len((Bypass{Path: path.String(), Reason: "test"}).Problems()) > 0 {
			continue
		}
		accepted++
		re := regexp.MustCompile(path.String())
		for _, probe := range []string{"/", "//", "//a", "/q", "/qa", "/qaaab", "/no-such-path", "/Q/a/b", "/0abx"} {
			require.False(t, re.MatchString(probe), "%s matches %s", path.String(), probe)
		}
	}
	assert.Greater(t, accepted, 5000)
}

func TestClosedSets(t *testing.T) {
	for _, p := range Policies() {
		assert.True(t, p.Valid())
	}
	for _, v := range Visibilities() {
		assert.True(t, v.Valid())
	}
	for _, s := range []string{"", "none", "Two-Factor", "public "} {
		assert.False(t, Policy(s).Valid())
		assert.False(t, Visibility(s).Valid())
	}
}
