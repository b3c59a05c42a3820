package containerrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSecretVariable(t *testing.T) {
	for _, name := range []string{"DB_PASSWORD", "apiKey", "API_KEY", "token", "CLIENT_SECRET", "SSH_PRIVATE_KEY"} {
		assert.True(t, SecretVariable.MatchString(name), name)
	}
	for _, name := range []string{"TZ", "PASSWORD_FILE", "TOKEN_PATH", "KEYBOARD"} {
		assert.False(t, SecretVariable.MatchString(name), name)
	}
}

func TestDatabasePath(t *testing.T) {
	for _, p := range []string{"app.db", "data/*.db", "db/db.sqlite3", "_x/y"} {
		assert.True(t, DatabasePath(p), p)
	}
	for _, p := range []string{"", "/app.db", "../app.db", "a/../b.db", "a//b", "*/b.db", "a/", "-x", "a b"} {
		assert.False(t, DatabasePath(p), p)
	}
}
