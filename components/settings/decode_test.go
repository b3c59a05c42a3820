package settings

import (
	"encoding/json"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeJSON(t *testing.T) {
	for text, want := range map[string]any{
		`{"a":1}`: object{"a": json.Number("1")}, ` [ ] `: list{}, `null`: nil, `"x"`: "x",
	} {
		got, err := decodeJSON(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{``, ` `, `{`, `{"a":}`, `{} {}`, `{}x`, `nul`, `[1,]`} {
		_, err := decodeJSON(text)
		require.Error(t, err, text)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"domian", "domain", 2}, {"kitten", "sitting", 3}, {"é", "e", 1}} {
		assert.Equal(t, c.want, distance(c.a, c.b), "%s, %s", c.a, c.b)
		assert.Equal(t, c.want, distance(c.b, c.a), "%s, %s", c.b, c.a)
	}
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct{ parent, key, want string }{
		{"", "Domain", "did you mean homelab:domain?"},
		{"", "tailscal", "did you mean homelab:tailscale?"},
		{"", "breakGlass", "did you mean homelab:server.breakGlass?"},
		{"server", "adress", "remove it; the keys here are breakGlass, generation, image, location, name, type"},
		{"cloudflare.rules[3]", "expr", "remove it; the keys here are action, expression, name"},
		{"cloudflare.rules[3]", "expresion", "did you mean homelab:cloudflare.rules[3].expression?"},
		// Several keys are called reason: none is suggested.
		{"ports", "reason", "remove it; the keys here are https, ssh, tailscale"},
	} {
		assert.Equal(t, c.want, suggest(c.parent, c.key), "%s %s", c.parent, c.key)
	}
}

func TestComparePaths(t *testing.T) {
	sorted := []string{
		"cloudflare:apiToken", "homelab:auth", "homelab:auth.hostname", "homelab:users",
		"homelab:users[0].name", "homelab:users[2]", "homelab:users[2].name", "homelab:users[10]", "pulumi:x",
	}
	shuffled := slices.Clone(sorted)
	rand.New(rand.NewSource(3)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, comparePaths)
	assert.Equal(t, sorted, shuffled)
}

func TestWithoutLiterals(t *testing.T) {
	for text, want := range map[string]string{
		`ssl`:                         `ssl`,
		`(http.host eq "a\"b(")`:      `(http.host eq "")`,
		`http.host in {"a" "b"}`:      `http.host in {"" ""}`,
		`http.host matches r"\" or x`: `http.host matches r"" or x`,
		`x eq r#"a"b"# and y`:         `x eq r#"" and y`,
		`x eq r##"a"#b"## and y`:      `x eq r##"" and y`,
	} {
		got, err := withoutLiterals(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{`(`, `)`, `())`, `"`, `"a\"`, `r#"a"`} {
		_, err := withoutLiterals(text)
		require.Error(t, err, text)
	}
}

func TestCountries(t *testing.T) {
	assert.Len(t, countries, 249)
	assert.True(t, slices.IsSorted(countries))
	assert.Len(t, slices.Compact(slices.Clone(countries)), 249)
	for _, c := range countries {
		assert.Len(t, c, 2)
	}
}

func TestProblemsError(t *testing.T) {
	one := &Problems{Stack: "prod", List: []Problem{{Path: "homelab:a", What: "is wrong", Remedy: "correct it"}}}
	assert.Equal(t, "reading configuration of stack prod: 1 problem\n  - homelab:a: is wrong; correct it", one.Error())
}

func TestQuote(t *testing.T) {
	assert.Equal(t, `"a\nb"`, quote("a\nb"))
	assert.Equal(t, `"`+strings.Repeat("é", 80)+`"…`, quote(strings.Repeat("é", 81)))
}

// fakeSource is a configuration without an engine.
type fakeSource struct {
	values map[string]string
	secret map[string]bool
}

func (f fakeSource) GetConfig(key string) (string, bool) { v, ok := f.values[key]; return v, ok }
func (f fakeSource) IsConfigSecret(key string) bool      { return f.secret[key] }

// FuzzLoad puts any text under any key. Whatever it is, loading must end in settings or in a list
// of problems, never in a panic, another error or a secret shown; and loading again must say the
// same.
func FuzzLoad(f *testing.F) {
	all := append(topLevelKeys(), "domian", "", "a.b[0]")
	for i, key := range all {
		f.Add(i, minimal().text()[namespace+key])
		for _, text := range []string{"", "null", "true", "[]", "{}", `"x"`, "1e400", "-1", "[null,[{}]]", `{"":null,"a.b":{"[0]":1}}`} {
			f.Add(i, text)
		}
	}
	for _, cases := range [][]badCase{badEdge, badHost, badPasswords, badPeople, badServices, badCustom, badShapes} {
		for _, bad := range cases {
			c := minimal()
			bad.change(c)
			for i, key := range all {
				if text, set := c.text()[namespace+key]; set {
					f.Add(i, text)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, which int, text string) {
		c := minimal()
		src := fakeSource{values: c.text(), secret: c.secret}
		src.values[namespace+all[(which%len(all)+len(all))%len(all)]] = text
		names := sortedKeys(src.values)
		got, err := load(src, "prod", catalogue(), names, nil)
		if err == nil {
			require.NotNil(t, got)
			return
		}
		var problems *Problems
		require.ErrorAs(t, err, &problems)
		require.NotEmpty(t, problems.List)
		require.Nil(t, got)
		for _, p := range problems.List {
			require.NotEmpty(t, p.Path)
			require.NotEmpty(t, p.What)
			require.NotEmpty(t, p.Remedy)
			require.NotContains(t, p.String(), "\n")
			if utf8.ValidString(text) {
				require.True(t, utf8.ValidString(p.String()), p.String())
			}
		}
		for key := range c.secret {
			if value := src.values[key]; len(value) >= 16 {
				require.NotContains(t, err.Error(), value)
			}
		}
		_, again := load(src, "prod", catalogue(), names, nil)
		require.EqualError(t, again, err.Error())
	})
}
