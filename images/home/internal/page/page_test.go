package page

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rendered is what the deployment writes: the golden file of the main module's renderer.
const rendered = "../../../../components/monitoring/internal/homepage/testdata/page.golden"

// What the deployment writes is what this program reads, and it uses every field of it.
func TestTheDeploymentsPageIsRead(t *testing.T) {
	data, err := os.ReadFile(rendered)
	require.NoError(t, err)
	p, err := Read(rendered)
	require.NoError(t, err)
	assert.NotEmpty(t, p.Entries)
	assert.Equal(t, "Europe/Berlin", p.Location().String())
	again, err := json.Marshal(p)
	require.NoError(t, err)
	assert.JSONEq(t, string(data), string(again))
}

func TestWhatIsNotAPageIsRefused(t *testing.T) {
	data, err := os.ReadFile(rendered)
	require.NoError(t, err)
	with := func(old, new string) string {
		t.Helper()
		require.Contains(t, string(data), old)
		return strings.Replace(string(data), old, new, 1)
	}
	for problem, text := range map[string]string{
		"not JSON of this form: unexpected end":                       "",
		"not JSON of this form: invalid character":                    string(data) + "{}",
		"version 2 is not 1":                                          with(`"version": 1`, `"version": 2, "new": true`),
		"version 0 is not 1":                                          with(`"version": 1,`, ``),
		`unknown field "color"`:                                       with(`"domain"`, `"color": "red", "domain"`),
		`unknown field "color" `:                                      with(`"title"`, `"color": "red", "title"`),
		"cannot unmarshal number":                                     with(`"example.com"`, `7`),
		"domain is missing":                                           with(`"domain": "example.com"`, `"domain": ""`),
		`timezone: "Mars/Olympus" is not known`:                       with("Europe/Berlin", "Mars/Olympus"),
		`timezone: "" is not known`:                                   with("Europe/Berlin", ""),
		`prometheus: "http://prometheus:9090/x"`:                      with("http://prometheus:9090", "http://prometheus:9090/x"),
		`prometheus: "http://u@prometheus:9090"`:                      with("http://prometheus:9090", "http://u@prometheus:9090"),
		`alertmanager: "https://alertmanager"`:                        with("http://alertmanager:9093", "https://alertmanager"),
		`admins: "a,b" is not the name of a group`:                    with(`"admins": "admins"`, `"admins": "a,b"`),
		`hostname: "auth.example.com/x" is none`:                      with(`"auth.example.com"`, `"auth.example.com/x"`),
		`hostname: "javascript:x" is none`:                            with(`"auth.example.com"`, `"javascript:x"`),
		`layer: "cloud" is not known`:                                 with(`"gateway"`, `"cloud"`),
		`groups: " x" is not the name of a group`:                     with(`"groups": []`, `"groups": [" x"]`),
		"name and title are required":                                 with(`"title": "Authelia"`, `"title": ""`),
		`entries[1]: "authelia" is there twice or out of order`:       with(`"name": "grafana"`, `"name": "authelia"`),
		"admins: \"\" is not the name of a group\nentries[1]: \"aa\"": strings.Replace(with(`"name": "grafana"`, `"name": "aa"`), `"admins": "admins"`, `"admins": ""`, 1),
	} {
		_, err := Parse([]byte(text))
		assert.ErrorContains(t, err, strings.TrimSpace(problem))
	}
}

func TestAFileThatIsNoPage(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "missing.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
	large := filepath.Join(t.TempDir(), "large.json")
	require.NoError(t, os.WriteFile(large, make([]byte, maxSize+1), 0o600))
	_, err = Read(large)
	require.ErrorContains(t, err, "larger than")
	bad := filepath.Join(t.TempDir(), "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"version": 3}`), 0o600))
	_, err = Read(bad)
	require.ErrorContains(t, err, "bad.json: version 3")
}
