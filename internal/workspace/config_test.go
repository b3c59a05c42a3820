package workspace

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sampleStack = `encryptionsalt: v1:abc:def
config:
  homelab:domain: example.com
  homelab:mode: 0700
  homelab:cloudflare:
    plan: free
    token:
      secure: v1:aaa
  homelab:users:
    - name: admin
    - secure: v1:bbb
  hcloud:token:
    secure: v1:ccc
`

func sample(t *testing.T) *stackFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Pulumi.prod.yaml")
	require.NoError(t, os.WriteFile(path, []byte(sampleStack), 0o600))
	file, err := readStackFile(path)
	require.NoError(t, err)
	return file
}

func rendered(t *testing.T, file *stackFile) string {
	t.Helper()
	data, err := file.marshal()
	require.NoError(t, err)
	return string(data)
}

func TestDropSecureFindsEveryEncryptedValue(t *testing.T) {
	file := sample(t)
	dropped := file.config().dropSecure()
	assert.Equal(t, []string{"hcloud:token", "homelab:cloudflare.token", "homelab:users[1]"}, dropped)
	assert.YAMLEq(t, `
encryptionsalt: v1:abc:def
config:
  homelab:domain: example.com
  homelab:mode: 0700
  homelab:cloudflare: {plan: free}
  homelab:users: [{name: admin}]
`, rendered(t, file))
	assert.Contains(t, rendered(t, file), "0700", "values stay as they are written")
}

func TestSetReachesEveryPath(t *testing.T) {
	file := sample(t)
	config := file.config()
	config.dropSecure()
	for _, change := range []struct {
		path  string
		value any
	}{
		{"homelab:domain", nil},
		{"homelab:mode", 7},
		{"homelab:cloudflare.plan", "pro"},
		{"homelab:cloudflare.rateLimit.requests", 50},
		{"homelab:users[0].name", "root"},
		{"homelab:users[1]", map[string]any{"name": "guest", "groups": []string{"users"}}},
		{"homelab:new.list[0]", true},
		{"homelab:absent", nil},
	} {
		require.NoError(t, config.set(change.path, change.value), change.path)
	}
	assert.YAMLEq(t, `
encryptionsalt: v1:abc:def
config:
  homelab:mode: 7
  homelab:cloudflare: {plan: pro, rateLimit: {requests: 50}}
  homelab:users: [{name: root}, {name: guest, groups: [users]}]
  homelab:new: {list: [true]}
`, rendered(t, file))
	require.NoError(t, config.set("homelab:users[0]", nil))
	assert.Equal(t, "guest", config.text("homelab:users[0].name"))
	assert.Equal(t, "pro", config.text("homelab:cloudflare.plan"))
	assert.Empty(t, config.text("homelab:cloudflare"), "a mapping is no text")
	assert.Empty(t, config.text("homelab:users[9].name"))
	assert.Empty(t, config.text("broken"))
}

func TestSetRefusesPathsThatLeadNowhere(t *testing.T) {
	config := sample(t).config()
	for path, problem := range map[string]string{
		"domain":                    "has no namespace",
		"homelab:":                  "has no name",
		"homelab:a[":                "configuration key",
		"homelab:domain.sub":        "below a value that is no mapping",
		"homelab:users[7]":          "no list with an item 7",
		"homelab:domain[0]":         "no list with an item 0",
		"homelab:users[9].name.sub": "no list with an item 9",
	} {
		require.ErrorContains(t, config.set(path, 1), problem, path)
	}
	require.ErrorContains(t, config.set("homelab:users[2]", nil), "no list with an item 2")
}

func TestStackFilesThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Pulumi.prod.yaml")
	_, err := readStackFile(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	for text, problem := range map[string]string{
		"config: [1]": "config is not a mapping",
		"config: {":   "reading the stack's configuration",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := readStackFile(path)
		require.ErrorContains(t, err, problem, text)
	}
	require.NoError(t, os.WriteFile(path, []byte("config:\n"), 0o600))
	file, err := readStackFile(path)
	require.NoError(t, err)
	require.NoError(t, file.config().set("homelab:a", 1))
	assert.YAMLEq(t, "config: {homelab:a: 1}", rendered(t, file))
}
