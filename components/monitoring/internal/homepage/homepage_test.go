package homepage_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/homepage"
)

func render(t *testing.T, m watch.Model) []byte {
	t.Helper()
	data, err := homepage.Config(m)
	require.NoError(t, err)
	return data
}

// images/home reads this golden file in its own tests: the two hold each other to the format.
func TestConfig(t *testing.T) {
	golden.Equal(t, "page", render(t, example.Model()))
}

type document struct {
	Entries []map[string]any `json:"entries"`
	Rest    map[string]any   `json:"-"`
}

func parse(t *testing.T, data []byte) document {
	t.Helper()
	var d document
	require.NoError(t, json.Unmarshal(data, &d))
	require.NoError(t, json.Unmarshal(data, &d.Rest))
	delete(d.Rest, "entries")
	return d
}

func TestASubjectMoreIsItsEntryMore(t *testing.T) {
	m := example.Model()
	before := render(t, m)
	lidarr := watch.Subject{
		Name: "lidarr", Title: "Lidarr", Summary: "Music & more", Layer: watch.Service, Hostname: "music.example.com",
		Groups: []string{"admins", "users"}, NoMetrics: "none", MemoryMiB: 512,
	}
	at := slices.IndexFunc(m.Subjects, func(s watch.Subject) bool { return s.Name > lidarr.Name })
	m.Subjects = slices.Insert(m.Subjects, at, lidarr)
	with := render(t, m)
	old, now := parse(t, before), parse(t, with)
	assert.Equal(t, old.Rest, now.Rest)
	added := slices.IndexFunc(now.Entries, func(e map[string]any) bool { return e["name"] == "lidarr" })
	require.GreaterOrEqual(t, added, 0)
	assert.Equal(t, map[string]any{
		"name": "lidarr", "title": "Lidarr", "summary": "Music & more", "layer": "service", "hostname": "music.example.com",
		"public": false, "groups": []any{"admins", "users"},
	}, now.Entries[added])
	assert.Equal(t, old.Entries, slices.Delete(now.Entries, added, added+1))

	m.Subjects = slices.Delete(m.Subjects, at, at+1)
	assert.Equal(t, string(before), string(render(t, m)), "without it, everything is as before")
}

func TestWhatHasNoHostnameIsNoEntry(t *testing.T) {
	m := example.Model()
	before := render(t, m)
	m.Subjects = slices.Insert(m.Subjects, slices.IndexFunc(m.Subjects, func(s watch.Subject) bool { return s.Name > homepage.Name }),
		watch.Subject{Name: homepage.Name, Title: "Start page", Layer: watch.Monitoring, Hostname: "home.example.com", NoMetrics: "none", MemoryMiB: 64})
	assert.Equal(t, string(before), string(render(t, m)), "the page does not list itself")
	for _, e := range parse(t, before).Entries {
		s, ok := m.Subject(e["name"].(string))
		require.True(t, ok)
		assert.NotEmpty(t, s.Hostname)
	}
}

func TestWhatIsNotThereIsNotShown(t *testing.T) {
	m := example.Model()
	m.Subjects = slices.DeleteFunc(m.Subjects, func(s watch.Subject) bool { return s.Name != "prometheus" && s.Name != "alertmanager" })
	for i := range m.Subjects {
		m.Subjects[i].Uses = nil
	}
	rest := parse(t, render(t, m)).Rest
	assert.Equal(t, false, rest["vpn"])
	assert.Equal(t, false, rest["library"])
	assert.Contains(t, string(render(t, m)), `"entries": []`)
}

func TestWhatThePageCannotShowIsRefused(t *testing.T) {
	change := func(name string, edit func(s *watch.Subject)) func(m *watch.Model) {
		return func(m *watch.Model) {
			at := slices.IndexFunc(m.Subjects, func(s watch.Subject) bool { return s.Name == name })
			edit(&m.Subjects[at])
		}
	}
	for problem, edit := range map[string]func(m *watch.Model){
		"the machine's name, the domain and the timezone": func(m *watch.Model) { m.Timezone = "" },
		"start page: alertmanager is not there":           change("alertmanager", func(s *watch.Subject) { s.Target, s.NoMetrics = watch.Target{}, "none" }),
		"start page: prometheus is not there":             change("prometheus", func(s *watch.Subject) { s.Target, s.NoMetrics = watch.Target{}, "none" }),
		"radarr: the hostname evil.org is not of example": change("radarr", func(s *watch.Subject) { s.Hostname = "evil.org" }),
		"radarr has the hostname of jellyfin":             change("radarr", func(s *watch.Subject) { s.Hostname = "jellyfin.example.com" }),
		`radarr: "users,admins" cannot be a group`:        change("radarr", func(s *watch.Subject) { s.Groups = []string{"users,admins"} }),
		`radarr: "" cannot be a group`:                    change("radarr", func(s *watch.Subject) { s.Groups = []string{""} }),
	} {
		m := example.Model()
		edit(&m)
		_, err := homepage.Config(m)
		assert.ErrorContains(t, err, problem)
	}
}
