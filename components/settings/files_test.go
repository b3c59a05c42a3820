package settings

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const (
	projectFile = "../../Pulumi.yaml"
	prodFile    = "../../Pulumi.prod.yaml"
)

// TestProjectFile holds the schema of the project file and the program to each other: the same
// keys, the same shapes, the same defaults. The file is read as the command line reads it.
func TestProjectFile(t *testing.T) {
	project, err := workspace.LoadProject(projectFile)
	require.NoError(t, err)
	assert.Equal(t, namespace, project.Name.String()+":")
	assert.Equal(t, "go", project.Runtime.Name())
	assert.NotEmpty(t, project.Runtime.Options()["buildTarget"])

	want := map[string]keyKind{passwordsKey: kindObject}
	for key, kind := range keys {
		want[namespace+key] = kind
	}
	for _, name := range secretNames() {
		if strings.HasPrefix(name, namespace) {
			want[name] = kindString
		}
	}
	assert.ElementsMatch(t, sortedKeys(want), sortedKeys(project.Config))
	for name, kind := range want {
		entry := project.Config[name]
		assert.Equal(t, string(kind), entry.TypeName(), name)
		assert.NotEmpty(t, entry.Description, name)
		// See the comment in the file.
		assert.False(t, entry.Secret, name)
		assert.Nil(t, entry.Value, name)

		key := strings.TrimPrefix(name, namespace)
		fallback, has := defaults[key]
		switch {
		case has:
		case name == passwordsKey:
			fallback = object{}
		case kind == kindString:
			fallback = ""
		case kind == kindArray:
			fallback = list{}
		default:
			t.Errorf("%s has no default", name)
		}
		assert.JSONEq(t, asJSON(t, fallback), asJSON(t, entry.Default), name)
		for _, child := range childrenOf(key) {
			assert.Contains(t, entry.Description, child, "%s does not describe %s", name, child)
		}
	}
}

// TestDefaultsFitTheShapes finds a default for a key that is not read.
func TestDefaultsFitTheShapes(t *testing.T) {
	known := map[string]bool{}
	for _, path := range allPaths("", reflect.TypeFor[raw]()) {
		known[path] = true
	}
	var walk func(prefix string, o object)
	walk = func(prefix string, o object) {
		for key, v := range o {
			assert.True(t, known[prefix+key], "no such key: %s", prefix+key)
			if below, ok := v.(object); ok {
				walk(prefix+key+".", below)
			}
		}
	}
	walk("", defaults)
	assert.ElementsMatch(t, childrenOf(""), sortedKeys(keys))
}

// prod is the example's configuration, as it stands in the file.
func prod(t *testing.T) object {
	t.Helper()
	text, err := os.ReadFile(prodFile)
	require.NoError(t, err)
	var content struct {
		Config object `yaml:"config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &content))
	return content.Config
}

func TestProdFileHoldsNoSecret(t *testing.T) {
	for _, name := range secretNames() {
		assert.NotContains(t, prod(t), name)
	}
	assert.NotContains(t, prod(t), passwordsKey)
	text, err := os.ReadFile(prodFile)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "secure:")
	for _, name := range secretNames() {
		assert.Contains(t, string(text), "pulumi config set --secret "+name+"\n", "the file says how to set it")
	}
	assert.Contains(t, string(text), setPassword("family")+"\n", "the file says how to choose a password")
}

func TestProdFileLoads(t *testing.T) {
	c := minimal().withSecrets("homelab:vpn.wireguard")
	credentials := map[string]any{}
	for key := range c.secret {
		credentials[key] = c.values[key]
	}
	c.values = prod(t)
	for key, value := range credentials {
		c.values[key] = value
	}
	got, err := run(t, c)
	require.NoError(t, err)
	assert.Equal(t, "example.com", got.Domain)
	assert.Equal(t, []string{"auth.example.com", "jellyfin.example.com", "requests.example.com", "qbittorrent.example.com"}, got.Hostnames())
	assert.Len(t, got.Users, 2)
	assert.Empty(t, got.Cloudflare.Rules, "the example blocks nobody that its owner did not choose")
}

// TestProdFileIsComplete requires every key to be set in the example, or shown in a comment.
func TestProdFileIsComplete(t *testing.T) {
	shown := map[string]bool{
		"alerts.nobody":         true,
		"cloudflare.rules.name": true, "cloudflare.rules.expression": true, "cloudflare.rules.action": true,
		"tailscale.extraGrants.src": true, "tailscale.extraGrants.dst": true, "tailscale.extraGrants.ip": true,
		"tailscale.extraTagOwners.tag": true, "tailscale.extraTagOwners.owners": true,
		"smtp": true, "smtp.host": true, "smtp.port": true, "smtp.tls": true, "smtp.username": true, "smtp.sender": true,
		"server.breakGlass": true, "server.breakGlass.cidr": true, "server.breakGlass.reason": true,
		"services.NAME.bypass.path": true, "services.NAME.bypass.methods": true, "services.NAME.bypass.reason": true,
		"services.NAME.uploads.path": true, "services.NAME.uploads.methods": true, "services.NAME.uploads.maxMB": true, "services.NAME.uploads.reason": true,
		"vpn.openvpn": true, "vpn.openvpn.address": true, "vpn.openvpn.port": true, "vpn.openvpn.protocol": true, "vpn.openvpn.username": true,
		// Needed only with native on a public hostname.
		"services.NAME.access.reason": true,
		"customServices":              true,
	}
	// README.md shows a service of the operator's own; a test deploys it.
	for _, path := range allPaths("customServices.", reflect.TypeFor[map[string]rawCustomService]()) {
		shown[path] = true
	}
	set := map[string]bool{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case object:
			for key, w := range v {
				if prefix == "services" {
					key = anyName
				}
				path := strings.TrimPrefix(prefix+"."+strings.TrimPrefix(key, namespace), ".")
				set[path] = true
				walk(path, w)
			}
		case list:
			for _, w := range v {
				walk(prefix, w)
			}
		}
	}
	walk("", prod(t))
	for _, path := range allPaths("", reflect.TypeFor[raw]()) {
		assert.True(t, set[path] || shown[path], "%s is not in %s", path, prodFile)
	}
}

func TestConfigNames(t *testing.T) {
	const stackFile = "config:\n  homelab:domian: example.com\n  ports: {https: 443}\n  hcloud:token:\n    secure: abc\n"
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.prod.yaml"), []byte(stackFile), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.broken.yaml"), []byte("config: [s3cret"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.empty.yaml"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "Pulumi.folder.yaml"), 0o700))

	t.Setenv(pulumi.EnvConfig, "")
	names, err := configNames(dir, "prod")
	require.NoError(t, err)
	assert.Equal(t, []string{"hcloud:token", "homelab:domian", "homelab:ports"}, names)

	for _, stack := range []string{"absent", "empty"} {
		names, err = configNames(dir, stack)
		require.NoError(t, err)
		assert.Empty(t, names)
	}
	_, err = configNames(dir, "broken")
	require.ErrorContains(t, err, "Pulumi.broken.yaml does not hold the configuration of a stack")
	assert.NotContains(t, err.Error(), "s3cret")
	_, err = configNames(dir, "folder")
	require.Error(t, err)

	// A program run from its caller's process is not told the directory.
	t.Chdir(dir)
	names, err = configNames("", "prod")
	require.NoError(t, err)
	assert.Len(t, names, 3)

	t.Setenv(pulumi.EnvConfig, `{"homelab:b":"1","homelab:a":"2"}`)
	names, err = configNames(dir, "prod")
	require.NoError(t, err)
	assert.Equal(t, []string{"homelab:a", "homelab:b"}, names)

	t.Setenv(pulumi.EnvConfig, `{"homelab:a":"s3cret"`)
	_, err = configNames(dir, "prod")
	require.ErrorContains(t, err, "PULUMI_CONFIG does not hold a JSON object")
	assert.NotContains(t, err.Error(), "s3cret")
}

// TestStackFileNamesUnknownKeys loads without PULUMI_CONFIG, as a program run from its caller's
// process.
func TestStackFileNamesUnknownKeys(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.prod.yaml"), []byte("config:\n  homelab:domian: example.com\n"), 0o600))
	t.Setenv(pulumi.EnvConfig, "")
	c := minimal()
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := Load(ctx, ctx.RootDirectory(), catalogue())
		return err
	}, pulumi.WithMocks("homelab", "prod", &recorder{}), func(info *pulumi.RunInfo) {
		info.Config, info.ConfigSecretKeys, info.RootDirectory = c.text(), sortedKeys(c.secret), dir
	})
	var problems *Problems
	require.ErrorAs(t, err, &problems)
	assert.Equal(t, []Problem{{
		Path: "homelab:domian", What: "is not a key", Remedy: "did you mean homelab:domain?",
	}}, problems.List)
}

func TestLoadFailsWhereTheNamesCannotBeRead(t *testing.T) {
	t.Setenv(pulumi.EnvConfig, "not JSON")
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := Load(ctx, ctx.RootDirectory(), catalogue())
		return err
	}, pulumi.WithMocks("homelab", "prod", &recorder{}))
	require.ErrorContains(t, err, "listing the configuration of stack prod: PULUMI_CONFIG does not hold a JSON object")
	var problems *Problems
	assert.NotErrorAs(t, err, &problems)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}
