package rules

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// perilous are requests by which somebody learns secrets or gets the machine, as GET or HEAD.
var perilous = func() (out []string) {
	id, name := strings.Repeat("0a", 6), "crowdsec"
	for _, c := range []string{id, strings.Repeat("f", 64), name} {
		for _, of := range []string{
			"archive", "export", "attach/ws", "changes", "top", "stats", "exec", "start", "restart", "kill", "copy", "archive/etc", "logs/../archive",
		} {
			out = append(out, "/containers/"+c+"/"+of)
		}
		out = append(out, "/exec/"+c+"/json", "/exec/"+c+"/start", "/secrets/"+c, "/configs/"+c, "/volumes/"+c, "/images/"+c+"/get", "/swarm/"+c)
	}
	out = append(out, "/secrets", "/configs", "/volumes", "/images/get", "/images/json", "/swarm", "/swarm/unlockkey", "/events", "/info", "/system/df",
		"/containers/create", "/build", "/auth", "/plugins", "/distribution/alpine/json", "/session", "/")
	for _, path := range out[:len(out):len(out)] {
		out = append(out, "/v1.44"+path)
	}
	return out
}()

// A pattern that lets any of these through is refused, whatever else it says, and so is one that
// says nothing plain; what is accepted lets through what a log shipper asks.
func TestWhatTheEngineMayBeAsked(t *testing.T) {
	const ours = `(/v1\.[0-9]{1,2})?/(_ping|version|networks|containers/json|containers/[a-f0-9]{12,64}/(json|logs))`
	for _, pattern := range []string{
		ours, `/_ping`, `(?:/v1\.[0-9]+)?/containers/json`, `/v1\.51/containers/[A-Za-z0-9_-]+/logs`, `/(version|networks)`, `/v1\.5[0-9]/(version|networks)`, `/containers/[a-z]+/(json|logs)`,
	} {
		assert.Empty(t, dangerous(pattern), pattern)
		compiled := regexp.MustCompile("^" + pattern + "$")
		for _, path := range perilous {
			assert.False(t, compiled.MatchString(path), "%s lets %s through", pattern, path)
		}
	}
	for _, pattern := range []string{
		``, `.*`, `/.*`, `/containers/.+`, `/containers/[^/]+/json`, `/containers/[a-f0-9]{12}/(json|archive)`, `/containers/[a-z0-9]+/[a-z]+`, `/containers/[a-z/]+/json`,
		`/_ping|.*`, `/_ping|/version`, `/version|`, `|/version`, `(?s:.)`, `/[a-z]+`, `/v1\..*/containers/json`, `/containers/(crowdsec|caddy)/export`, `/secrets(/[a-z0-9]+)?`,
		`(/containers/[a-z0-9]+)+/json`, `/(?i)version`, `/exec/[a-f0-9]{64}/start`, `/events`, `/info`, `/containers/\w+/archive`, `/images/.*`, `/_ping(`, `/_ping\x00`,
		`/containers/[a-z.]+/json`, `(?m)/_ping`, `/_ping$|^/events`, `(((((/a|b)|c)|d)|e)|f){9}`, `/` + strings.Repeat(`[a-c](x|y)?`, 12),
	} {
		assert.NotEmpty(t, dangerous(pattern), pattern)
	}
	// The list is none of what cannot be asked: each of these is something that a wide pattern lets
	// through.
	wide := regexp.MustCompile(`^/.*$`)
	for _, path := range perilous {
		assert.True(t, wide.MatchString(path))
		assert.NotEmpty(t, dangerous(regexp.QuoteMeta(path)), path)
	}
}

func TestReadINI(t *testing.T) {
	got, err := readINI("\ufeffbefore = 1\n; a comment\n# another\n[a.b] ; of a\n key = one # comment\nlater: two\nquoted = \"three four\"\nsingle = 'x'\nempty =\n[c]\n[a.b]\nkey = again\n")
	require.NoError(t, err)
	assert.Equal(t, map[string]map[string]string{
		"": {"before": "1"}, "a.b": {"key": "again", "later": "two", "quoted": "three four", "single": "x", "empty": ""}, "c": {},
	}, got)
	for text, want := range map[string]string{
		"[a\n": "line 1: a section without an end", "a\n": "line 1: neither a section nor a key", "= 1": "line 1: neither",
		"\"k\" = 1": "line 1: neither", "\n[a]\nk = a \\\n": "line 3: a value that may go on", "k = `a": "line 1: a value that may go on", `k = """a`: "line 1: a value that may go on",
	} {
		_, err := readINI(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestSwitched(t *testing.T) {
	for text, want := range map[string][2]bool{
		"": {true, true}, "true": {true, true}, "ON": {true, true}, "1": {true, true}, "y": {true, true},
		"false": {false, true}, "No": {false, true}, "0": {false, true}, "off": {false, true}, "perhaps": {false, false}, "$__env{X}": {false, false},
	} {
		is, known := switched(text, true)
		assert.Equal(t, want, [2]bool{is, known}, text)
	}
}

// The listener for containers refuses what is no request of OpenID Connect before anything answers.
func TestWhatContainersMayAsk(t *testing.T) {
	const (
		userinfo = "not {\nmethod GET POST\npath /api/oidc/userinfo\n}\n"
		keys     = "not {\nmethod GET\nvars {http.request.uri} /jwks.json\n}\n"
		refusing = "@rest {\n" + userinfo + keys + "}\nrespond @rest 404\n"
		leading  = "reverse_proxy p:1\n"
	)
	in := func(route string) string { return "route {\n" + route + "}\n" }
	for block, want := range map[string]bool{
		in(refusing + leading):                                          true,
		"log\n" + in("bouncer\n"+refusing+leading):                      true,
		in("@rest not {\n}\nrespond @rest 404\n" + leading):             false,
		in("@rest {\n" + keys + "}\nabort @rest\n" + leading):           true,
		in("@rest {\n" + keys + "}\nerror @rest 403\n" + leading):       true,
		in("@rest {\n" + keys + "}\nrespond @rest 200\n" + leading):     false,
		in("@rest {\n" + keys + "}\nrespond @other 404\n" + leading):    false,
		in("@rest {\n" + keys + "path /x\n}\nabort @rest\n" + leading):  false,
		in("@rest {\nnot path /jwks.json\n}\nabort @rest\n" + leading):  false,
		in("@rest path /x\nabort @rest\n" + leading):                    false,
		in("route @x {\n" + leading + "}\n" + refusing + leading):       false,
		in("handle {\n" + leading + "}\n" + refusing):                   false,
		in("rewrite * /api/oidc/userinfo\n" + refusing + leading):       false,
		in("@o not method GET\nrespond @o 405\n" + refusing + leading):  true,
		in(leading + refusing):                                          false,
		in(leading):                                                     false,
		in(refusing+leading) + leading:                                  false,
		refusing + leading:                                              false,
		in("@rest {\nnot {\nmethod GET\n}\n}\nabort @rest\n" + leading): false,
		"": false,
	} {
		text := "https://a.example.com:443 {\n" + block + "}\n"
		sites := readSites(text)
		require.Len(t, sites, 1)
		assert.Equal(t, want, refusesTheRest(sites[0]), block)
	}
}

// A hostname on two listeners is two sites, and imports carry their arguments.
func TestSitesOfSeveralListeners(t *testing.T) {
	sites := readSites("(to) {\n\treverse_proxy {args[0]} {\n\t}\n}\nhttps://a.b:1 {\n\timport to s:2\n}\nhttps://a.b:3 {\n\tabort\n}\nhttps://:3 {\n\tabort\n}\nhttp://127.0.0.1:4 {\n\trespond 200\n}\n")
	require.Len(t, sites, 3)
	assert.Equal(t, []string{"s:2"}, sites[0].upstreams)
	assert.Equal(t, "3", sites[1].listener)
	assert.Empty(t, sites[1].upstream)
	assert.Empty(t, sites[2].hostname)
	assert.Equal(t, []string{"abort"}, sites[2].lines)
}

// What the operator runs himself is a service like any other, whatever program it is: it is judged
// by no rule about the monitoring, and may do nothing of what that may.
func TestServicesOfTheOperatorsOwn(t *testing.T) {
	own := Resource{URN: "g", Type: typeContainer, Parent: "w", Properties: map[string]any{"name": "custom-grafana", "image": "docker.io/grafana/grafana:13"}}
	component := Resource{URN: "w", Type: "homelab:workload:Container", Parent: "s"}
	g, err := New([]Resource{own, component, {URN: "s", Type: typeCustom, Parent: "stack"}, {URN: "stack", Type: "pulumi:pulumi:Stack"}})
	require.NoError(t, err)
	assert.Empty(t, g.named(grafana))
	component.Parent = "stack"
	g, err = New([]Resource{own, component, {URN: "stack", Type: "pulumi:pulumi:Stack"}})
	require.NoError(t, err)
	assert.Len(t, g.named(grafana), 1)
	// Parents that go in a circle, which no engine makes, end.
	own.Parent, component.Parent = "w", "g"
	g, err = New([]Resource{own, component})
	require.NoError(t, err)
	assert.Len(t, g.named(grafana), 1)
}

// A secret output hides no input in clear, and any other output takes its place.
func TestOverlay(t *testing.T) {
	of := map[string]any{"labels": []any{"x"}, "name": "asked", "key": Secret{}}
	Overlay(of, "labels", Secret{})
	Overlay(of, "name", "made")
	Overlay(of, "key", "clear")
	Overlay(of, "password", Secret{})
	Overlay(of, "__defaults", []any{})
	assert.Equal(t, map[string]any{"labels": []any{"x"}, "name": "made", "key": "clear", "password": Secret{}}, of)
}
