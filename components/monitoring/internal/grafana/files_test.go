package grafana

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
)

func testLogin() Login {
	const portal = "https://auth.example.com/api/oidc/"
	return Login{
		ClientID: "grafana", AuthorizationURL: portal + "authorization", TokenURL: portal + "token", UserInfoURL: portal + "userinfo",
		SecretFile: "/run/secrets/grafana-openid", AdminGroup: "admins", ViewerGroups: []string{"users"},
	}
}

// goldenName is the name of a file's golden: its path below the folder.
func goldenName(f File) string {
	return strings.ReplaceAll(strings.TrimPrefix(f.Path, Folder+"/"), "/", "-")
}

func TestFiles(t *testing.T) {
	files, err := Files(example.Model(), testLogin())
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) }))
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
		golden.Equal(t, goldenName(f), f.Content)
	}
	golden.Equal(t, "paths", []byte(strings.Join(paths, "\n")+"\n"))
	golden.Equal(t, "expressions", []byte(strings.Join(Expressions(example.Model()), "\n")+"\n"))
	golden.Equal(t, "expressions-applications", []byte(strings.Join(applicationExpressions(), "\n")+"\n"))
	golden.Equal(t, "log-queries", []byte(strings.Join(LogQueries(example.Model()), "\n")+"\n"))
}

// applicationExpressions are those of every application that has panels of its own if it is there.
func applicationExpressions() []string {
	var out []string
	for _, a := range applications() {
		for _, q := range a.panel.Targets {
			out = append(out, q.Expr)
		}
	}
	slices.Sort(out)
	return out
}

// What is shown of an application is there if it is, and somebody measures it.
func TestApplicationsHaveTheirPanels(t *testing.T) {
	titles := func(names ...string) (out []string) {
		var m watch.Model
		for _, name := range names {
			m.Subjects = append(m.Subjects, watch.Subject{Name: name, Exporter: "wire"})
		}
		for _, p := range saidBy(m) {
			out = append(out, p.Title)
		}
		return out
	}
	assert.Equal(t, []string{"Indexers", "Problems"}, titles("prowlarr"))
	assert.Equal(t, titles("radarr"), titles("radarr", "sonarr"), "one more changes nothing")
	assert.Len(t, titles("jackett", "jellyfin", "jellyseerr", "qbittorrent", "radarr"), len(applications()))
	assert.Empty(t, saidBy(watch.Model{Subjects: []watch.Subject{{Name: "radarr"}}}))
}

func TestFilesRefuse(t *testing.T) {
	for name, change := range map[string]func(*watch.Model, *Login){
		"refused-empty-login": func(_ *watch.Model, l *Login) { *l = Login{} },
		"refused-injections": func(m *watch.Model, l *Login) {
			m.Timezone = "UTC;x"
			l.ClientID = "grafana\nenabled = false"
			l.AdminGroup = "admins') || 'Admin' || contains(groups, 'x"
			l.ViewerGroups = []string{"a b", "%(x)s"}
			l.TokenURL = "https://auth.example.com/token#x"
			l.SecretFile = "/run/secrets/x}y"
		},
		"refused-same-group":   func(_ *watch.Model, l *Login) { l.ViewerGroups = []string{l.AdminGroup} },
		"refused-no-grafana":   func(m *watch.Model, _ *Login) { remove(m, "grafana") },
		"refused-no-hostname":  func(m *watch.Model, _ *Login) { subject(m, "grafana").Hostname = "" },
		"refused-no-loki":      func(m *watch.Model, _ *Login) { remove(m, "loki") },
		"refused-wrong-model":  func(m *watch.Model, _ *Login) { m.Retention.LogsDays = 0 },
		"refused-bad-hostname": func(m *watch.Model, _ *Login) { subject(m, "grafana").Hostname = "grafana.example.com/x" },
	} {
		t.Run(name, func(t *testing.T) {
			m, l := example.Model(), testLogin()
			change(&m, &l)
			_, err := Files(m, l)
			golden.Error(t, name, err)
		})
	}
}

func subject(m *watch.Model, name string) *watch.Subject {
	return &m.Subjects[slices.IndexFunc(m.Subjects, func(s watch.Subject) bool { return s.Name == name })]
}

// remove takes a subject out of the model, and out of what others use.
func remove(m *watch.Model, name string) {
	m.Subjects = slices.DeleteFunc(m.Subjects, func(s watch.Subject) bool { return s.Name == name })
	for i := range m.Subjects {
		m.Subjects[i].Uses = slices.DeleteFunc(slices.Clone(m.Subjects[i].Uses), func(used string) bool { return used == name })
	}
}

// A default role is found in the ID token, which has no groups; then the user info is never asked.
func TestNobodyHasADefaultRole(t *testing.T) {
	for _, groups := range [][]string{nil, {"users"}, {"users", "family"}} {
		l := testLogin()
		l.ViewerGroups = groups
		for _, alternative := range strings.Split(roles(l), " || ") {
			assert.Regexp(t, `^groups && contains\(groups, '[a-z]+'\) && '(Admin|Viewer)'$`, alternative)
		}
		assert.Equal(t, 1, strings.Count(roles(l), "'Admin'"))
		assert.Contains(t, roles(l), "contains(groups, 'admins') && 'Admin'")
	}
}

// Whatever a key is set to here, it is set once, and secrets are only in files.
func TestConfiguration(t *testing.T) {
	seen := map[string]string{}
	for _, s := range configuration(example.Model(), "grafana.example.com", testLogin()) {
		for _, k := range s.Keys {
			name := s.Name + "." + k.Key
			assert.NotContains(t, seen, name)
			seen[name] = k.Value
			if strings.Contains(k.Key, "secret") || strings.Contains(k.Key, "password") {
				assert.Regexp(t, `^\$__file\{/run/secrets/[a-z-]+\}$`, k.Value, name)
			}
		}
	}
	for name, want := range map[string]string{
		"auth.disable_login_form": "true", "auth.basic.enabled": "false", "auth.anonymous.enabled": "false",
		"security.disable_initial_admin_creation": "true", "users.allow_sign_up": "false", "auth.generic_oauth.allow_sign_up": "true",
		"auth.generic_oauth.role_attribute_strict": "true", "auth.generic_oauth.allow_assign_grafana_admin": "false",
		"users.auto_assign_org_role": "None", "unified_alerting.enabled": "false", "analytics.reporting_enabled": "false",
		"plugins.preinstall_auto_update": "false", "security.cookie_secure": "true", "server.root_url": "https://grafana.example.com/",
	} {
		assert.Equal(t, want, seen[name], name)
	}
}

func TestWhatTheFormatWouldChangeIsRefused(t *testing.T) {
	for _, value := range []string{
		"a # b", "a;b", "%(x)s", "${HOME}", "`a`", `"a"`, "'a'", " a", "a ", "a\nb", `a\`, "$__env{X}", "$__file{/a}$__env{X}", "$__file{/a;b}",
	} {
		_, err := ini{{"s", []setting{{"k", value}}}}.render()
		assert.Error(t, err, value)
	}
	for _, key := range []string{"", "a b", "a=b", "[a]", ";a", "#a", "a\nb"} {
		_, err := ini{{"s", []setting{{key, "v"}}}}.render()
		assert.Error(t, err, key)
	}
	for _, name := range []string{"", "a]", "a\nb"} {
		_, err := ini{{name, nil}}.render()
		assert.Error(t, err, name)
	}
	out, err := ini{{"a.b", []setting{{"k", "groups && contains(groups, 'x')"}, {"e", ""}, {"f", "$__file{/run/x}"}}}}.render()
	require.NoError(t, err)
	assert.Contains(t, string(out), "\n[a.b]\nk = groups && contains(groups, 'x')\ne =\nf = $__file{/run/x}\n")
}

// Each dashboard is complete in itself: its panels do not overlap, and differ in their number.
func TestPanelsHaveTheirPlace(t *testing.T) {
	for _, d := range dashboards(example.Model()) {
		taken, ids := map[[2]int]string{}, map[int]bool{}
		for _, p := range d.Panels {
			assert.False(t, ids[p.ID], "%s: two panels have the number %d", d.UID, p.ID)
			ids[p.ID] = true
			assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, columns, "%s: %s", d.UID, p.Title)
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					assert.Empty(t, taken[at], "%s: %s is on top of another panel", d.UID, p.Title)
					taken[at] = p.Title + "."
				}
			}
			assert.False(t, p.Type != "row" && p.Type != "text" && len(p.Targets) == 0, "%s: %s asks nothing", d.UID, p.Title)
		}
	}
}

func TestExpressionsHoldNoVariable(t *testing.T) {
	require.NotEmpty(t, Expressions(example.Model()))
	for _, e := range append(Expressions(example.Model()), LogQueries(example.Model())...) {
		assert.NotContains(t, e, "$", e)
	}
}

// another is a service that the example does not have.
func another() watch.Subject {
	return watch.Subject{
		Name: "photos", Title: "Photos", Layer: watch.Service, Hostname: "photos.example.com", Groups: []string{"users"},
		Target: watch.Target{Port: 8081, Path: "/metrics"}, MemoryMiB: 256, Uses: []string{"jellyfin"},
	}
}

// A service more is a row more, a box on the map, and nothing else.
func TestAServiceMoreIsARowMore(t *testing.T) {
	before, after := example.Model(), example.Model()
	at := slices.IndexFunc(after.Subjects, func(s watch.Subject) bool { return s.Name > another().Name })
	after.Subjects = slices.Insert(after.Subjects, at, another())
	require.NoError(t, after.Validate())

	was, is := dashboards(before), dashboards(after)
	require.Len(t, is, len(was))
	for i := range was {
		switch was[i].UID {
		case servicesUID:
			added := rowsBut(t, is[i], rowTitles(was[i]))
			golden.Equal(t, "added-row", added)
			is[i].Panels = slices.Concat(rowsOf(is[i], rowTitles(was[i]))...)
		case chainUID:
			where := slices.IndexFunc(is[i].Panels, func(p panel) bool { return p.Type == "text" })
			require.NotEqual(t, was[i].Panels[where].Options, is[i].Panels[where].Options, "the map shows it")
			is[i].Panels[where].Options = was[i].Panels[where].Options
		}
		assert.Equal(t, content(t, was[i]), content(t, is[i]), was[i].UID)
	}
}

// rowsOf returns the panels of each row with one of these titles, head first.
func rowsOf(d dashboard, titles []string) [][]panel {
	var out [][]panel
	for _, p := range d.Panels {
		if p.Type == "row" {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], p)
	}
	return slices.DeleteFunc(out, func(row []panel) bool { return !slices.Contains(titles, row[0].Title) })
}

func rowTitles(d dashboard) []string {
	var out []string
	for _, p := range d.Panels {
		if p.Type == "row" {
			out = append(out, p.Title)
		}
	}
	return out
}

// rowsBut returns what each panel of the other rows is called and asks.
func rowsBut(t *testing.T, d dashboard, titles []string) []byte {
	t.Helper()
	var out strings.Builder
	others := slices.DeleteFunc(rowTitles(d), func(title string) bool { return slices.Contains(titles, title) })
	require.Len(t, others, 1)
	for _, p := range rowsOf(d, others)[0] {
		out.WriteString(p.Type + ": " + p.Title + "\n")
		for _, q := range p.Targets {
			out.WriteString("  " + q.Expr + "\n")
		}
	}
	return []byte(out.String())
}

// content is a dashboard without the places and numbers of its panels.
func content(t *testing.T, d dashboard) string {
	t.Helper()
	d.Panels = slices.Clone(d.Panels)
	for i := range d.Panels {
		d.Panels[i].ID, d.Panels[i].GridPos = 0, gridPos{}
	}
	out, err := json.MarshalIndent(d, "", " ")
	require.NoError(t, err)
	return string(out)
}

// The map shows each subject once, and each connection.
func TestTheMapIsComplete(t *testing.T) {
	m := example.Model()
	drawn := draw(m)
	var boxes []string
	for _, b := range drawn.Boxes {
		boxes = append(boxes, b.Text.Text)
	}
	want := []string{internetTitle, tailnetTitle}
	connected := 2
	for _, s := range m.Subjects {
		want = append(want, s.Name)
		connected += len(s.Uses)
		if s.Behind != "" {
			connected++
		}
	}
	assert.ElementsMatch(t, want, boxes)
	assert.Len(t, edges(m), connected)
	assert.Len(t, drawn.Edges, 2*connected, "a line and a point each")
	for _, p := range drawn.Edges {
		assert.NotContains(t, p.D, "NaN")
	}
	golden.Equal(t, "map.svg", append(encodeSVG(drawn), '\n'))
}
