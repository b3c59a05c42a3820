package plan

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

const goodFile = "testdata/good.json"

func good(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(goodFile)
	require.NoError(t, err)
	return data
}

func TestGoodPlan(t *testing.T) {
	p, err := Read(goodFile)
	require.NoError(t, err)
	for _, app := range Apps() {
		assert.True(t, p.Has(app), app)
	}
	assert.True(t, p.Enforces(Radarr))
	assert.False(t, p.Enforces(Sonarr))
	assert.Equal(t, "homelab:services.radarr", p.Common(Radarr).Setting)
	assert.Equal(t, "gluetun", p.QBittorrent.URL.Host())
	assert.Equal(t, 8080, p.QBittorrent.URL.Port())
	assert.Equal(t, 4711, p.QBittorrent.ListenPort)
	assert.Equal(t, 443, p.Jellyseerr.ApplicationURL.Port())
	assert.True(t, p.Jellyseerr.ApplicationURL.TLS())
	again, err := json.Marshal(p)
	require.NoError(t, err)
	assert.JSONEq(t, string(good(t)), string(again))
}

func TestFewAppsAreEnough(t *testing.T) {
	p, err := Parse([]byte(`{"version":1}`))
	require.NoError(t, err)
	for _, app := range Apps() {
		assert.False(t, p.Has(app), app)
	}
}

// TestBadPlans compares all problems of each bad plan with a golden file.
func TestBadPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Read(file)
			var problems Problems
			require.ErrorAs(t, err, &problems)
			assert.NotContains(t, err.Error(), "SECRET", "no problem has a value")
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o600))
			}
			want, readErr := os.ReadFile(golden)
			require.NoError(t, readErr)
			assert.Equal(t, string(want), err.Error()+"\n")
		})
	}
}

func TestPlanThatIsNotThere(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "missing.json"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	large := filepath.Join(t.TempDir(), "large.json")
	require.NoError(t, os.WriteFile(large, make([]byte, maxSize+1), 0o600))
	_, err = Read(large)
	assert.ErrorContains(t, err, "larger than")
}

func TestSecretsAreNotShown(t *testing.T) {
	p, err := Parse(good(t))
	require.NoError(t, err)
	shown := fmt.Sprintf("%v %+v %#v %s", *p.Radarr, *p.Radarr, *p.Radarr, p.Radarr.APIKey)
	for _, secret := range p.secrets() {
		assert.NotContains(t, shown, string(secret.Value))
		text := p.Redact("before " + string(secret.Value) + " after")
		assert.Equal(t, "before ("+secret.Name+") after", text)
	}
	assert.Equal(t, "token=(jellyfin)", p.Redact("token=made+later", NamedSecret{"jellyfin", "made later"}))
	p.Sonarr.APIKey = "radarr-key-0123456789-and-more"
	assert.Equal(t, "(sonarr.apiKey)", p.Redact("radarr-key-0123456789-and-more"), "the longer one first")
	p.Radarr.APIKey = "a secret/with+signs&more"
	assert.Equal(t, `{"a":"(radarr.apiKey)"}`, p.Redact(`{"a":"a secret/with+signs\u0026more"}`))
	assert.Equal(t, "apikey=(radarr.apiKey)", p.Redact("apikey=a+secret%2Fwith%2Bsigns%26more"))
}

// valuesOf returns the long strings that are values in data, but not also names of fields.
func valuesOf(data []byte) []string {
	var content any
	if json.Unmarshal(data, &content) != nil {
		return nil
	}
	var values, names []string
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case string:
			if len(value) >= MinSecret {
				values = append(values, value)
			}
		case []any:
			for _, item := range value {
				walk(item)
			}
		case map[string]any:
			for name, item := range value {
				names = append(names, name)
				walk(item)
			}
		}
	}
	walk(content)
	return slices.DeleteFunc(values, func(value string) bool {
		return strings.Contains(strings.Join(names, " "), value) ||
			strings.Contains("must be http:// or https://, a host", value)
	})
}

// FuzzParse looks for plans that crash the parser, that are not the same after they were written,
// or whose problems repeat a value.
func FuzzParse(f *testing.F) {
	f.Add(good(f))
	files, err := filepath.Glob("testdata/bad/*.json")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			var problems Problems
			require.ErrorAs(t, err, &problems)
			require.NotEmpty(t, problems)
			for _, text := range valuesOf(data) {
				require.NotContains(t, err.Error(), text)
			}
			return
		}
		written, err := json.Marshal(p)
		require.NoError(t, err)
		again, err := Parse(written)
		require.NoError(t, err)
		require.Equal(t, p, again)
		for _, secret := range p.secrets() {
			require.NotContains(t, p.Redact("<"+string(secret.Value)+">"), "<"+string(secret.Value)+">")
		}
	})
}
