package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadPasswords(t *testing.T) { runBad(t, badPasswords) }

// choose sets chosen passwords, encrypted.
func (c *stackConfig) choose(passwords object) *stackConfig {
	c.secret[passwordsKey] = true
	return c.set(passwordsKey, passwords)
}

var badPasswords = []badCase{
	{"passwords-wrong", func(c *stackConfig) {
		c.set("homelab:users", list{
			object{"name": "admin", "email": "admin@example.com", "groups": list{"admins", "users"}},
			object{"name": "b", "email": "b@example.com", "groups": list{"users"}},
			object{"name": "c", "email": "c@example.com", "groups": list{"users"}},
			object{"name": "d.e", "email": "d@example.com", "groups": list{"users"}},
			object{"name": "f", "email": "f@example.com", "groups": list{"users"}},
			object{"name": "g", "email": "g@example.com", "groups": list{"users"}},
			object{"name": "h", "email": "h@example.com", "groups": list{"users"}},
		})
		c.choose(object{
			"admin": "elevenchars", "b": strings.Repeat("ü", longestPassword+1), "c": "ends in a line\n", "d.e": "a\tletter box", "f": 123456789012,
			"g": "a good password", "h": "a good password", "admni": "of nobody at all", "nobody": " nor of this one",
		})
	}},
	{"passwords-plain", func(c *stackConfig) {
		c.choose(object{"admin": "correct horse battery staple", "zoe": "in-plain-text"})
		delete(c.secret, passwordsKey)
	}},
	{"passwords-pasted", func(c *stackConfig) {
		c.choose(object{"admin": "correct horse battery staple"}).set("homelab:timezone", "correct horse battery staple")
	}},
	{"passwords-list", func(c *stackConfig) { c.choose(nil).set(passwordsKey, list{"correct horse battery staple"}) }},
	{"passwords-text", func(c *stackConfig) { c.choose(nil).set(passwordsKey, "correct horse battery staple") }},
	{"passwords-null", func(c *stackConfig) { c.choose(object{"admin": nil}) }},
	{"passwords-object", func(c *stackConfig) { c.choose(object{"admin": object{"password": "correct horse battery staple"}}) }},
	// Users that could not be read may well include this one.
	{"passwords-users-unread", func(c *stackConfig) {
		c.choose(object{"zoe": "correct horse battery staple"}).set("homelab:users", "admin")
	}},
}

func TestChosenPasswordsReachTheirUsers(t *testing.T) {
	for _, length := range []int{shortestPassword, longestPassword} {
		password := strings.Repeat("é", length)
		c := minimal().choose(object{"admin": password})
		c.set("homelab:users", list{
			object{"name": "zoe", "email": "zoe@example.com", "groups": list{"users"}},
			object{"name": "admin", "email": "admin@example.com", "groups": list{"admins", "users"}},
		})
		got, err := run(t, c)
		require.NoError(t, err)
		require.True(t, got.Users[0].Password.Given())
		assert.Equal(t, password, *got.Users[0].Password.value)
		assert.False(t, got.Users[1].Password.Given())
	}
}

func TestNoPasswordNeedsToBeChosen(t *testing.T) {
	// The engine's tools fill the absent key with the default that the project file declares.
	got, err := run(t, minimal().set(passwordsKey, object{}))
	require.NoError(t, err)
	assert.False(t, got.Users[0].Password.Given())
}

// The engine tells the program of the object that it is secret as soon as one value in it is.
func TestAPasswordInPlainTextBesideAnEncryptedOne(t *testing.T) {
	for _, key := range []string{passwordsKey, passwordsName} {
		dir := t.TempDir()
		file := "config:\n  " + key + ":\n    admin: correct horse battery staple\n    zoe:\n      secure: v1:abc\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.prod.yaml"), []byte(file), 0o600))
		c := minimal().choose(object{"admin": "correct horse battery staple", "zoe": "another good one"})
		c.set("homelab:users", list{
			object{"name": "admin", "email": "admin@example.com", "groups": list{"admins", "users"}},
			object{"name": "zoe", "email": "zoe@example.com", "groups": list{"users"}},
		})
		t.Setenv(pulumi.EnvConfig, "{}")
		err := pulumi.RunErr(func(ctx *pulumi.Context) error {
			_, err := Load(ctx, dir, catalogue())
			return err
		}, pulumi.WithMocks("homelab", "prod", &recorder{}), func(info *pulumi.RunInfo) {
			info.Config, info.ConfigSecretKeys = c.text(), sortedKeys(c.secret)
		})
		var problems *Problems
		require.ErrorAs(t, err, &problems)
		require.Len(t, problems.List, 1)
		assert.Equal(t, passwordsKey+".admin", problems.List[0].Path)
		assert.Equal(t, "is in plain text", problems.List[0].What)
		assert.NotContains(t, err.Error(), "horse")
	}
}

func TestPlainPasswords(t *testing.T) {
	dir := t.TempDir()
	for stack, content := range map[string]string{
		"whole": "config:\n  homelab:userPasswords:\n    secure: v1:abc\n", "empty": "", "none": "config:\n  homelab:userPasswords: {}\n",
		"text": "config:\n  homelab:userPasswords: hunter2hunter2\n", "encrypted": "config:\n  homelab:userPasswords:\n    zoe:\n      secure: v1:abc\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi."+stack+".yaml"), []byte(content), 0o600))
		names, err := plainPasswords(dir, stack)
		require.NoError(t, err, stack)
		assert.Empty(t, names, stack)
	}
	names, err := plainPasswords(dir, "absent")
	require.NoError(t, err)
	assert.Empty(t, names)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.broken.yaml"), []byte("config: [s3cret"), 0o600))
	_, err = plainPasswords(dir, "broken")
	require.ErrorContains(t, err, "Pulumi.broken.yaml does not hold the configuration of a stack")
	assert.NotContains(t, err.Error(), "s3cret")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "Pulumi.folder.yaml"), 0o700))
	_, err = plainPasswords(dir, "folder")
	require.Error(t, err)
}
