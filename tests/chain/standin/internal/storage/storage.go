// Package storage keeps second factors, one-time codes, failed logins and bans. Authelia keeps them
// in SQLite with single columns encrypted; here they are one JSON document in such a database,
// encrypted as a whole with AES-GCM under the SHA-256 of the encryption key. Each change writes the
// whole document.
package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"homelab/internal/standins/document"
	"homelab/tests/chain/standin/internal/totp"
)

// ErrNoDevice says that the user has enrolled none.
var ErrNoDevice = errors.New("no TOTP configuration for user")

// Device is an enrolled TOTP device.
type Device struct {
	totp.Device
	Created  time.Time
	LastUsed time.Time
}

// Attempt is one login with a password.
type Attempt struct {
	Time       time.Time
	Successful bool
	Banned     bool
	User       string
	Addr       netip.Addr
}

// Ban refuses an address or a user until it expires.
type Ban struct {
	Addr    netip.Addr
	User    string
	Expires time.Time
}

// Code is a one-time code, of which only a keyed digest is kept.
type Code struct {
	// ID names the code to who wants to revoke it.
	ID        string
	Signature string
	User      string
	Expires   time.Time
	Consumed  bool
	Revoked   bool
}

type contents struct {
	Devices  map[string]Device
	Used     map[string]time.Time
	Attempts []Attempt
	Bans     []Ban
	Codes    []Code
	Methods  map[string]string
}

// retention is for how long attempts, used codes and expired entries are kept.
const retention = 48 * time.Hour

// Storage is the file; it is safe for use by many goroutines.
type Storage struct {
	file *document.File
	aead cipher.AEAD
	mac  []byte
	now  func() time.Time

	mu  sync.Mutex
	doc contents
}

// Open reads the file, or begins a new one. It fails when the file was written with another key.
func Open(path, key string, now func() time.Time) (*Storage, error) {
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, fmt.Errorf("preparing the storage's encryption: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("preparing the storage's encryption: %w", err)
	}
	mac := sha256.Sum256([]byte("one-time codes " + key))
	s := &Storage{aead: aead, mac: mac[:], now: now}
	s.doc = contents{Devices: map[string]Device{}, Used: map[string]time.Time{}, Methods: map[string]string{}}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err) // which would be made, and Authelia makes none
	}
	if s.file, err = document.Open(path); err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	if err := s.read(path); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// read reads the document, or begins a new one.
func (s *Storage) read(path string) error {
	sealed := s.file.Content()
	if sealed == nil {
		return s.change(func(*contents) {})
	}
	if len(sealed) < s.aead.NonceSize() {
		return fmt.Errorf("opening the storage %s: it is too short to be one", path)
	}
	plain, err := s.aead.Open(nil, sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():], nil)
	if err != nil {
		return fmt.Errorf("opening the storage %s: the configured encryption key does not appear to be valid for it: %w", path, err)
	}
	if err := json.Unmarshal(plain, &s.doc); err != nil {
		return fmt.Errorf("opening the storage %s: %w", path, err)
	}
	return nil
}

// Close closes the database.
func (s *Storage) Close() error { return s.file.Close() }

// change edits the document and writes it. After an error the edit holds in memory only.
func (s *Storage) change(edit func(*contents)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(&s.doc)
	s.prune()
	plain, err := json.Marshal(s.doc)
	if err != nil {
		return fmt.Errorf("writing the storage: %w", err)
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	if err := s.file.Write(s.aead.Seal(nonce, nonce, plain, nil)); err != nil {
		return fmt.Errorf("writing the storage: %w", err)
	}
	return nil
}

func (s *Storage) prune() {
	limit := s.now().Add(-retention)
	s.doc.Attempts = slices.DeleteFunc(s.doc.Attempts, func(a Attempt) bool { return a.Time.Before(limit) })
	s.doc.Bans = slices.DeleteFunc(s.doc.Bans, func(b Ban) bool { return b.Expires.Before(limit) })
	s.doc.Codes = slices.DeleteFunc(s.doc.Codes, func(c Code) bool { return c.Expires.Before(limit) })
	for step, at := range s.doc.Used {
		if at.Before(limit) {
			delete(s.doc.Used, step)
		}
	}
}

func view[T any](s *Storage, look func(contents) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return look(s.doc)
}

// Device returns the user's device, or ErrNoDevice.
func (s *Storage) Device(user string) (Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	device, ok := s.doc.Devices[user]
	if !ok {
		return Device{}, ErrNoDevice
	}
	return device, nil
}

// SaveDevice enrols the device, in the place of another.
func (s *Storage) SaveDevice(user string, d Device) error {
	return s.change(func(doc *contents) { doc.Devices[user] = d })
}

// DeleteDevice removes the user's device.
func (s *Storage) DeleteDevice(user string) error {
	return s.change(func(doc *contents) { delete(doc.Devices, user) })
}

// Use notes that the user's code of a step was used, and reports whether it had been before.
func (s *Storage) Use(user string, step uint64) (again bool, err error) {
	key := fmt.Sprintf("%d %s", step, user)
	err = s.change(func(doc *contents) {
		if _, again = doc.Used[key]; !again {
			doc.Used[key] = s.now()
		}
	})
	return again, err
}

// Append keeps an attempt.
func (s *Storage) Append(a Attempt) error {
	return s.change(func(doc *contents) { doc.Attempts = append(doc.Attempts, a) })
}

// Attempts returns those since a time that match and met no ban, the latest first.
func (s *Storage) Attempts(since time.Time, match func(Attempt) bool) []Attempt {
	return view(s, func(doc contents) []Attempt {
		var out []Attempt
		for _, a := range slices.Backward(doc.Attempts) {
			if a.Time.After(since) && !a.Banned && match(a) {
				out = append(out, a)
			}
		}
		return out
	})
}

// SaveBan keeps a ban.
func (s *Storage) SaveBan(b Ban) error {
	return s.change(func(doc *contents) { doc.Bans = append(doc.Bans, b) })
}

// Banned returns the latest ban in force that matches.
func (s *Storage) Banned(match func(Ban) bool) (Ban, bool) {
	now := s.now()
	bans := view(s, func(doc contents) []Ban { return slices.Clone(doc.Bans) })
	for _, b := range slices.Backward(bans) {
		if b.Expires.After(now) && match(b) {
			return b, true
		}
	}
	return Ban{}, false
}

// HasPreferences reports whether the user has a row of preferences, which SaveMethod makes.
func (s *Storage) HasPreferences(user string) bool {
	return view(s, func(doc contents) bool {
		_, found := doc.Methods[user]
		return found
	})
}

// Method returns the user's preferred second factor; empty without one.
func (s *Storage) Method(user string) string {
	return view(s, func(doc contents) string { return doc.Methods[user] })
}

// SaveMethod keeps the user's preferred second factor.
func (s *Storage) SaveMethod(user, method string) error {
	return s.change(func(doc *contents) { doc.Methods[user] = method })
}

// sign binds a code to its user and to the address it was asked for from.
func (s *Storage) sign(user string, addr netip.Addr, code string) string {
	mac := hmac.New(sha256.New, s.mac)
	for _, part := range []string{user, addr.String(), code} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// SaveCode keeps a one-time code.
func (s *Storage) SaveCode(id, user string, addr netip.Addr, code string, expires time.Time) error {
	signature := s.sign(user, addr, code)
	return s.change(func(doc *contents) {
		doc.Codes = append(doc.Codes, Code{ID: id, Signature: signature, User: user, Expires: expires})
	})
}

// ErrCode says why a one-time code is refused.
type ErrCode string

func (e ErrCode) Error() string { return string(e) }

// The reasons for refusing a code.
const (
	ErrCodeUnknown  ErrCode = "the code didn't match any recorded code challenges"
	ErrCodeExpired  ErrCode = "the code challenge has expired"
	ErrCodeRevoked  ErrCode = "the code challenge has been revoked"
	ErrCodeConsumed ErrCode = "the code challenge has already been consumed"
)

// ConsumeCode uses a code up; the error is an ErrCode when it cannot be used.
func (s *Storage) ConsumeCode(user string, addr netip.Addr, code string) error {
	signature := s.sign(user, addr, code)
	reason := error(ErrCodeUnknown)
	err := s.change(func(doc *contents) {
		for i, c := range doc.Codes {
			if c.User != user || !hmac.Equal([]byte(c.Signature), []byte(signature)) {
				continue
			}
			if reason = c.usable(s.now()); reason == nil {
				doc.Codes[i].Consumed = true
			}
			return
		}
	})
	return errors.Join(reason, err)
}

func (c Code) usable(now time.Time) error {
	switch {
	case c.Expires.Before(now):
		return ErrCodeExpired
	case c.Revoked:
		return ErrCodeRevoked
	case c.Consumed:
		return ErrCodeConsumed
	}
	return nil
}

// RevokeCode makes a code useless by its ID.
func (s *Storage) RevokeCode(id string) error {
	reason := error(ErrCodeUnknown)
	err := s.change(func(doc *contents) {
		for i, c := range doc.Codes {
			switch {
			case c.ID != id:
			case c.Revoked:
				reason = ErrCodeRevoked
			case c.Consumed:
				reason = ErrCodeConsumed
			default:
				doc.Codes[i].Revoked, reason = true, nil
			}
		}
	})
	return errors.Join(reason, err)
}
