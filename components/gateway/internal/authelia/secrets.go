package authelia

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"sync"

	"golang.org/x/crypto/argon2"
)

// Names of the portal's secret files, inside Paths.Secrets.
const (
	// StorageKeyFile holds the key that encrypts the database; at least 20 characters, and losing
	// it loses every second factor.
	StorageKeyFile = "storage-encryption-key"
	// SessionSecretFile holds the key that encrypts sessions in the store.
	SessionSecretFile = "session-secret"
	// StorePasswordFile holds the password of the session store.
	StorePasswordFile = "session-store-password"
	// MailPasswordFile holds the password at the mail server, with Model.Mail only.
	MailPasswordFile = "smtp-password"
)

// SecretFiles returns the names of the files that must always be in Paths.Secrets, sorted.
func SecretFiles() []string { return []string{SessionSecretFile, StorePasswordFile, StorageKeyFile} }

// Environment returns the portal's environment: paths of files, no secret.
func (m Model) Environment() map[string]string {
	f := m.Paths
	out := map[string]string{
		"AUTHELIA_SESSION_SECRET_FILE":         path.Join(f.Secrets, SessionSecretFile),
		"AUTHELIA_SESSION_REDIS_PASSWORD_FILE": path.Join(f.Secrets, StorePasswordFile),
		"AUTHELIA_STORAGE_ENCRYPTION_KEY_FILE": path.Join(f.Secrets, StorageKeyFile),
	}
	if m.Mail != nil {
		out["AUTHELIA_NOTIFIER_SMTP_PASSWORD_FILE"] = path.Join(f.Secrets, MailPasswordFile)
	}
	if len(m.openIDSites()) > 0 {
		maps.Copy(out, f.openIDEnvironment())
	}
	return out
}

// Cost of a password hash: memory in KiB, passes and lanes; bytes of the key.
const (
	argonMemory = 64 * 1024
	argonTime   = 3
	argonLanes  = 4
	argonKey    = 32
)

// input is what a digest is made of.
type input struct{ password, salt string }

// digests holds, by input, a function that returns the digest and works it out once. One is slow on
// purpose, and a process that previews, deploys and looks again asks for the same ones each time.
var digests sync.Map

// HashPassword returns the argon2id digest of a password in the form the users' database wants. The
// same password and salt give the same digest; the salt must be random, the user's own, and 16
// bytes or more.
func HashPassword(password string, salt []byte) string {
	once, _ := digests.LoadOrStore(input{password, string(salt)}, sync.OnceValue(func() string {
		key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
			base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
	}))
	return once.(func() string)()
}
