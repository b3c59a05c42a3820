// Package state remembers what was last written to the apps, so that a later pass can tell a
// setting that changed from a change that somebody made by hand. Of a secret it keeps only a keyed
// digest. Beside that it keeps the API keys that apps made for us, in a file of their own.
package state

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	appliedFile     = "applied.json"
	credentialsFile = "credentials.json"
	keyFile         = "key"
	lockFile        = "lock"
	keySize         = 32
	version         = 1
)

// Object is what we know of one object in an app.
type Object struct {
	// Made is true for an object that we made. It is set before the object is made, so that one
	// made just before the program was killed is known as ours.
	Made bool `json:"made,omitempty"`
	// Fields are what we last wrote, as JSON; digests for secrets.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
	// Attempted are the fields of a write of which we do not know whether the app did it.
	Attempted map[string]json.RawMessage `json:"attempted,omitempty"`
}

type content struct {
	Version int                `json:"version"`
	Objects map[string]*Object `json:"objects"`
	// Pending are jobs that are to be done even if nothing changes again.
	Pending map[string]bool `json:"pending,omitempty"`
}

// credentials are the API keys that apps made for us, by the name of the app.
type credentials struct {
	Version int               `json:"version"`
	Keys    map[string]string `json:"keys"`
}

// State is what we remember. Each change is on disk when the method that makes it returns.
type State struct {
	dir         string
	key         []byte
	lock        *os.File
	content     content
	credentials credentials
}

// Open reads the state in a folder, which must exist. Only one at a time can have it open. With
// readOnly nothing is written and nothing is locked: changes are kept in memory alone.
func Open(dir string, readOnly bool) (_ *State, err error) {
	s := &State{
		content:     content{Version: version, Objects: map[string]*Object{}, Pending: map[string]bool{}},
		credentials: credentials{Version: version, Keys: map[string]string{}},
	}
	if !readOnly {
		s.dir = dir
		if s.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, s.Close())
			}
		}()
	}
	if err := load(filepath.Join(dir, appliedFile), &s.content, &s.content.Version); err != nil {
		return nil, err
	}
	if s.content.Objects == nil {
		s.content.Objects = map[string]*Object{}
	}
	if s.content.Pending == nil {
		s.content.Pending = map[string]bool{}
	}
	if err := load(filepath.Join(dir, credentialsFile), &s.credentials, &s.credentials.Version); err != nil {
		return nil, err
	}
	if s.credentials.Keys == nil {
		s.credentials.Keys = map[string]string{}
	}
	if err := s.loadKey(filepath.Join(dir, keyFile), readOnly); err != nil {
		return nil, err
	}
	return s, nil
}

// load reads a file, which need not be there. The error says nothing of its content.
func load(path string, into any, found *int) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading the state in %s: it is not what was written; remove the file to start without it",
			path)
	}
	if *found != version {
		return fmt.Errorf("reading the state in %s: its version is %d, not %d", path, *found, version)
	}
	return nil
}

func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking the state: another pass is running: %w", err), file.Close())
	}
	return file, nil
}

// loadKey reads the key of the digests, or makes one. With another key every secret looks changed,
// and is written again.
func (s *State) loadKey(path string, readOnly bool) error {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == keySize {
		s.key = key
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the state's key: %w", err)
	}
	s.key = make([]byte, keySize)
	rand.Read(s.key)
	if readOnly {
		return nil
	}
	return replace(path, s.key)
}

// Close lets others open the state.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Digest returns a digest of a secret that only this state's key can make.
func (s *State) Digest(secret string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(secret))
	return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
}

// Object returns what we know of an object, or nil. It must not be changed.
func (s *State) Object(key string) *Object { return s.content.Objects[key] }

// Keys returns the keys of the objects that we know with the prefix, sorted.
func (s *State) Keys(prefix string) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.content.Objects)) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Attempt remembers that we are about to write the fields of an object, and whether that makes it.
func (s *State) Attempt(key string, makes bool, fields map[string]json.RawMessage) error {
	object := s.content.Objects[key]
	if object == nil || makes {
		object = &Object{Made: makes}
		s.content.Objects[key] = object
	}
	object.Attempted = fields
	return s.save()
}

// Record remembers the fields that an object has now because we say so, besides those remembered.
func (s *State) Record(key string, fields map[string]json.RawMessage) error {
	object := s.content.Objects[key]
	if object == nil {
		object = &Object{}
		s.content.Objects[key] = object
	} else if same(object.Fields, fields) && object.Attempted == nil {
		return nil
	}
	object.Attempted = nil
	if object.Fields == nil {
		object.Fields = map[string]json.RawMessage{}
	}
	maps.Copy(object.Fields, fields)
	return s.save()
}

func same(known, fields map[string]json.RawMessage) bool {
	for name, value := range fields {
		if string(known[name]) != string(value) {
			return false
		}
	}
	return true
}

// Forget removes what we know of an object, or, if the key ends with a slash, of every object and
// job below it.
func (s *State) Forget(prefix string) error {
	before := len(s.content.Objects) + len(s.content.Pending)
	has := func(key string) bool {
		return key == prefix || (strings.HasSuffix(prefix, "/") && strings.HasPrefix(key, prefix))
	}
	maps.DeleteFunc(s.content.Objects, func(key string, _ *Object) bool { return has(key) })
	maps.DeleteFunc(s.content.Pending, func(key string, _ bool) bool { return has(key) })
	if len(s.content.Objects)+len(s.content.Pending) == before {
		return nil
	}
	return s.save()
}

// Pending reports whether a job is to be done.
func (s *State) Pending(job string) bool { return s.content.Pending[job] }

// SetPending remembers that a job is to be done, or that it is done.
func (s *State) SetPending(job string, pending bool) error {
	if s.content.Pending[job] == pending {
		return nil
	}
	if pending {
		s.content.Pending[job] = true
	} else {
		delete(s.content.Pending, job)
	}
	return s.save()
}

// Credential returns the API key that an app made for us, or "".
func (s *State) Credential(app string) string { return s.credentials.Keys[app] }

// SetCredential remembers the API key that an app made for us. Only its owner can read the file.
func (s *State) SetCredential(app, key string) error {
	if s.credentials.Keys[app] == key {
		return nil
	}
	s.credentials.Keys[app] = key
	return s.store(credentialsFile, s.credentials)
}

func (s *State) save() error { return s.store(appliedFile, s.content) }

func (s *State) store(name string, content any) error {
	if s.dir == "" {
		return nil
	}
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return replace(filepath.Join(s.dir, name), append(data, '\n'))
}

// replace writes a file so that after a crash it is either the old one or the new one.
func replace(path string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the state: %w", err)
		}
	}()
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	// CreateTemp gives the file mode 0600.
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
