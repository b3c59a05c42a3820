package boxes

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// hostKeyMakers make a key of each type that a real box shows, by the name of its file.
var hostKeyMakers = []struct {
	name string
	make func() (crypto.PrivateKey, error)
}{
	{"ed25519", func() (crypto.PrivateKey, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
	{"rsa", func() (crypto.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{"ecdsa", func() (crypto.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) }},
}

// HostKeys returns the host keys that a folder keeps, one of each type that Hetzner's boxes have,
// and makes those that are missing.
func HostKeys(folder string) ([]ssh.Signer, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the storage boxes' host keys: %w", err)
	}
	var out []ssh.Signer
	for _, each := range hostKeyMakers {
		signer, err := hostKey(filepath.Join(folder, each.name), each.make)
		if err != nil {
			return nil, fmt.Errorf("making the host key %s of the storage boxes: %w", each.name, err)
		}
		out = append(out, signer)
	}
	return out, nil
}

// hostKey reads a key, or makes it.
func hostKey(path string, generate func() (crypto.PrivateKey, error)) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		private, err := generate()
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			return nil, err
		}
		text = pem.EncodeToMemory(block)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(text)
}

// PublicKeys returns the public halves of the host keys, as lines of authorized_keys.
func (s *Server) PublicKeys() []string {
	var out []string
	for _, key := range s.options.HostKeys {
		out = append(out, publicLine(key))
	}
	return out
}

func publicLine(key ssh.Signer) string {
	line := ssh.MarshalAuthorizedKey(key.PublicKey())
	return string(line[:len(line)-1])
}
