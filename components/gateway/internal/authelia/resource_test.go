package authelia

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResource(t *testing.T) {
	for pattern, want := range map[string]string{
		`^/api/v1/status$`:     `\A/api/v1/status(?:\?|\z)`,
		`^/.*\.js$`:            `\A/[^\?]*\.js(?:\?|\z)`,
		`^/(?P<User>[a-z]+)/?`: `\A/[a-z]+/?`,
		`^/a|/b`:               `\A(?:\A/a|/b)`,
		`^/x[^/]+$`:            `\A/x[^/\?]+(?:\?|\z)`,
		`^(?i)/Public`:         `(?i:\A/PUBLIC)`,
	} {
		t.Run(pattern, func(t *testing.T) {
			got, err := resource(pattern)
			require.NoError(t, err)
			// RE2 has more than one spelling of the same expression.
			assert.Equal(t, regexp.MustCompile(want).String(), got)
		})
	}
}

func TestResourceRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		`^/api\?key=`: `literal "?"`,
		`^/a$b`:       "$ that is not at the end",
		`^/(a$)*`:     "$ that is not at the end",
		`^/(`:         "missing closing )",
	} {
		_, err := resource(pattern)
		require.ErrorContains(t, err, want, pattern)
	}
}

// The portal matches the path and the query as one text. Whatever the query says, the answer must
// be the one that the configured pattern gives for the path alone.
func TestResourceLooksOnlyAtThePath(t *testing.T) {
	patterns := []string{
		`^/api/v1/status$`, `^/.*\.js$`, `^/static/`, `^/[^/]+/feed$`, `^/(a|b)$`, `^/a|/b`, `^/s?$`, `^/(?i:abc)\b`,
		`^/[!-~]*\.png$`, `^/(x$|y)`, `^/a.c$`, `^/\W+$`, `^/a\B`,
	}
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "/ab?.jsxyc=&!"
	word := func(n int) string {
		var out strings.Builder
		for range random.IntN(n) {
			out.WriteByte(letters[random.IntN(len(letters))])
		}
		return out.String()
	}
	fixed := []string{"/api/v1/status", "/x.js", "/static/a", "/u/feed", "/a", "/b", "/abc", "/p.png", "/x", "/y", "/admin"}
	for _, pattern := range patterns {
		rewritten, err := resource(pattern)
		require.NoError(t, err, pattern)
		// The start of every alternative is anchored too.
		want, got := regexp.MustCompile("^(?:"+pattern+")"), regexp.MustCompile(rewritten)
		for range 5000 {
			path := fixed[random.IntN(len(fixed))]
			if random.IntN(2) == 0 {
				path = "/" + strings.ReplaceAll(word(8), "?", "")
			}
			require.Equal(t, want.MatchString(path), got.MatchString(path), "%s on %s", pattern, path)
			withQuery := path + "?" + word(8) + fixed[random.IntN(len(fixed))]
			require.Equal(t, want.MatchString(path), got.MatchString(withQuery), "%s on %s", pattern, withQuery)
		}
	}
}
