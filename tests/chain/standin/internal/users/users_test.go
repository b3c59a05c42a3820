package users_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/users"
)

func golden(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../../../components/gateway/internal/authelia/testdata/users.golden")
	require.NoError(t, err)
	return string(data)
}

func TestPasswords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yml")
	require.NoError(t, os.WriteFile(path, []byte(golden(t)), 0o600))
	d, err := users.Open(path)
	require.NoError(t, err)
	ok, err := d.Check("admin", "correct horse battery staple")
	require.NoError(t, err)
	assert.True(t, ok)
	ok, err = d.Check("admin", "correct horse battery stable")
	require.NoError(t, err)
	assert.False(t, ok)
	ok, err = d.Check("Admin", "correct horse battery staple")
	require.ErrorIs(t, err, users.ErrNotFound, "names have their letters' case")
	assert.False(t, ok)
	u, err := d.Get("admin")
	require.NoError(t, err)
	assert.Equal(t, []string{"admins", "users"}, u.Groups)

	reloaded, err := d.Reload()
	require.NoError(t, err)
	assert.False(t, reloaded)
	require.NoError(t, os.WriteFile(path, []byte("users: {}\n"), 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	_, err = d.Reload()
	require.ErrorContains(t, err, "no users")
	_, err = d.Get("admin")
	require.NoError(t, err, "after an error the users stay")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(golden(t), "displayname: Admin", "displayname: Admin\n    disabled: true", 1)), 0o600))
	reloaded, err = d.Reload()
	require.NoError(t, err)
	assert.True(t, reloaded)
	_, err = d.Get("admin")
	require.ErrorIs(t, err, users.ErrNotFound)
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":    {"displayname: Admin", "displayname: Admin\n    phone: 1", "field phone not found"},
		"user twice":     {"  guest:", "  admin:", "already defined"},
		"wrong type":     {"email: admin@example.com", "email: [a]", "cannot unmarshal"},
		"no name":        {"displayname: Admin", `displayname: ""`, "displayname is missing"},
		"password":       {"$argon2id$v=19$m=65536,t=3,p=4$MDEy", "in clear", `user "admin": the password is not an argon2id digest`},
		"another digest": {"$argon2id$v=19", "$argon2i$v=19", "is not an argon2id digest"},
		"no memory":      {"m=65536,t=3,p=4$MDEy", "m=8,t=3,p=4$MDEy", "out of range"},
		"two documents":  {"users:", "---\nusers: {}\n---\nusers:", "after the first document"},
	} {
		t.Run(name, func(t *testing.T) {
			text := golden(t)
			require.Contains(t, text, c.old)
			path := filepath.Join(t.TempDir(), "users.yml")
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, c.old, c.new, 1)), 0o600))
			_, err := users.Open(path)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "in clear")
		})
	}
	_, err := users.Open(filepath.Join(t.TempDir(), "nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
