package simcloud

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// KeySize is the length of the key that Save and Load take, in bytes.
const KeySize = 32

// storeHeader starts every saved world; it is authenticated with the content.
var storeHeader = []byte("simcloud world 1\n")

// ErrSealed is returned by Load for a file that the key does not open: another
// key, or a file that was changed.
var ErrSealed = errors.New("the saved world cannot be opened with this key")

// ErrMachines is returned by Load for a world whose machines are real when the options name none,
// and the other way round: what one has deployed the other cannot reach.
var ErrMachines = errors.New("real and simulated machines do not mix")

func sealer(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the key has %d bytes, not %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Save writes everything that exists to a file only its owner can read, sealed
// with AES-256-GCM: the file holds no secret in plain text. It replaces the file
// in one step. The journal, the faults and the options are not saved.
func (w *World) Save(path string, key []byte) error {
	aead, err := sealer(key)
	if err != nil {
		return fmt.Errorf("saving the simulated world to %s: %w", path, err)
	}
	w.mu.Lock()
	content, err := json.Marshal(w.state)
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("saving the simulated world to %s: %w", path, err)
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("saving the simulated world to %s: %w", path, err)
	}
	out := append(append([]byte(nil), storeHeader...), nonce...)
	out = aead.Seal(out, nonce, content, storeHeader)
	if err := replaceFile(path, out); err != nil {
		return fmt.Errorf("saving the simulated world to %s: %w", path, err)
	}
	return nil
}

// replaceFile writes a file beside the old one and renames it.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Load reads a world that Save wrote. Options are those of the new run. The error
// wraps fs.ErrNotExist when there is no file and ErrSealed when the key is wrong.
func Load(path string, key []byte, opts Options) (*World, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, fmt.Errorf("loading the simulated world from %s: %w", path, err)
	}
	in, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading the simulated world: %w", err)
	}
	rest, ok := bytes.CutPrefix(in, storeHeader)
	if !ok || len(rest) < aead.NonceSize() {
		return nil, fmt.Errorf("loading the simulated world from %s: %w", path, ErrSealed)
	}
	content, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], storeHeader)
	if err != nil {
		return nil, fmt.Errorf("loading the simulated world from %s: %w", path, ErrSealed)
	}
	w := New(opts)
	w.state.Rehearsed = false
	if err := json.Unmarshal(content, &w.state); err != nil {
		return nil, fmt.Errorf("loading the simulated world from %s: %w", path, err)
	}
	if w.state.Rehearsed != (opts.Machines != nil) {
		return nil, fmt.Errorf("loading the simulated world from %s: %w", path, ErrMachines)
	}
	return w, nil
}
