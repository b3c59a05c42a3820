package workspace

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
)

// sealer encrypts the simulation's secrets the way the CLI's passphrase provider does, so that no
// secret has to go through a command line or another process.
type sealer struct {
	passphrase string
	salt       string // what the stack's file has under encryptionsalt
	crypter    config.Crypter
}

// saltCheck is the text the passphrase provider encrypts beside the salt, to recognise a wrong
// passphrase.
const saltCheck = "pulumi"

// processSealer serves all temporary simulations of this process: deriving a key from a passphrase
// is slow on purpose, and tests open hundreds.
var processSealer = sync.OnceValues(func() (*sealer, error) {
	passphrase, err := randomHex(32)
	if err != nil {
		return nil, err
	}
	return newSealer(passphrase)
})

// openSealer returns the folder's sealer and leaves its passphrase in a file for the CLI.
func openSealer(dir string, temporary bool) (*sealer, error) {
	path := filepath.Join(dir, passphraseFile)
	if temporary {
		shared, err := processSealer()
		if err != nil {
			return nil, err
		}
		return shared, os.WriteFile(path, []byte(shared.passphrase), 0o600)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		return reopenSealer(dir, strings.TrimSpace(string(data)))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	passphrase, err := randomHex(32)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(passphrase), 0o600); err != nil {
		return nil, err
	}
	return newSealer(passphrase)
}

// reopenSealer takes the salt from the stack file of an earlier simulation: the state's secrets are
// encrypted with it. Every stack of a folder has the same one.
func reopenSealer(dir, passphrase string) (*sealer, error) {
	files, err := filepath.Glob(filepath.Join(dir, "Pulumi.*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		file, err := readStackFile(path)
		if err != nil {
			return nil, err
		}
		if file.EncryptionSalt == "" {
			continue
		}
		salt, err := saltOf(file.EncryptionSalt)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		crypter := config.NewSymmetricCrypterFromPassphrase(passphrase, salt.bytes)
		return &sealer{passphrase: passphrase, salt: file.EncryptionSalt, crypter: crypter}, nil
	}
	return newSealer(passphrase)
}

func newSealer(passphrase string) (*sealer, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	crypter := config.NewSymmetricCrypterFromPassphrase(passphrase, salt)
	check, err := crypter.EncryptValue(context.Background(), saltCheck)
	if err != nil {
		return nil, fmt.Errorf("encrypting the salt's check: %w", err)
	}
	text := "v1:" + base64.StdEncoding.EncodeToString(salt) + ":" + check
	return &sealer{passphrase: passphrase, salt: text, crypter: crypter}, nil
}

func (s *sealer) seal(ctx context.Context, value string) (string, error) {
	return s.crypter.EncryptValue(ctx, value)
}

func (s *sealer) open(ctx context.Context, ciphertext string) (string, error) {
	return s.crypter.DecryptValue(ctx, ciphertext)
}

func randomHex(bytes int) (string, error) {
	data := make([]byte, bytes)
	if _, err := rand.Read(data); err != nil {
		return "", err
	}
	return hex.EncodeToString(data), nil
}
