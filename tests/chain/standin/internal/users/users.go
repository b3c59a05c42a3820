// Package users reads the users' database and checks passwords.
package users

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"gopkg.in/yaml.v3"
)

// ErrNotFound says that there is no such user, or that it is disabled.
var ErrNotFound = errors.New("user not found")

// User is one entry of the database.
type User struct {
	Name        string
	DisplayName string
	Email       string
	Groups      []string

	hash hash
}

type entry struct {
	DisplayName string   `yaml:"displayname"`
	Password    string   `yaml:"password"`
	Email       string   `yaml:"email"`
	Groups      []string `yaml:"groups"`
	Disabled    bool     `yaml:"disabled"`
}

type hash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

var hashPattern = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

func parseHash(text string) (hash, error) {
	parts := hashPattern.FindStringSubmatch(text)
	if parts == nil {
		return hash{}, errors.New("the password is not an argon2id digest ($argon2id$v=19$m=…,t=…,p=…$salt$key)")
	}
	var numbers [3]uint64
	for i := range numbers {
		n, err := strconv.ParseUint(parts[i+1], 10, 32)
		if err != nil || n == 0 {
			return hash{}, errors.New("the password's digest has a cost out of range")
		}
		numbers[i] = n
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(saltErr, keyErr); err != nil {
		return hash{}, fmt.Errorf("the password's digest: %w", err)
	}
	if numbers[2] > 255 || numbers[0] < 8*numbers[2] || len(salt) < 8 || len(key) < 16 {
		return hash{}, errors.New("the password's digest has a cost, salt or key out of range")
	}
	return hash{uint32(numbers[0]), uint32(numbers[1]), uint8(numbers[2]), salt, key}, nil
}

func (h hash) matches(password string) bool {
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// unknown is the digest that the password of a user who does not exist is compared with, to take as
// long.
var unknown = hash{memory: 64 * 1024, time: 3, threads: 4, salt: []byte("no such user 0000"), key: make([]byte, 32)}

// Database is the users' database; it is safe for use by many goroutines.
type Database struct {
	path string

	mu    sync.RWMutex
	users map[string]User
	read  time.Time
	size  int64
}

// Open reads the file. The error joins every problem in it.
func Open(path string) (*Database, error) {
	d := &Database{path: path}
	if _, err := d.Reload(); err != nil {
		return nil, err
	}
	return d, nil
}

// Reload reads the file again if it changed, and reports whether it did. After an error the users
// stay as they were.
func (d *Database) Reload() (bool, error) {
	info, err := os.Stat(d.path)
	if err != nil {
		return false, fmt.Errorf("reading the authentication database: %w", err)
	}
	d.mu.RLock()
	same := d.users != nil && info.ModTime().Equal(d.read) && info.Size() == d.size
	d.mu.RUnlock()
	if same {
		return false, nil
	}
	data, err := os.ReadFile(d.path)
	if err != nil {
		return false, fmt.Errorf("reading the authentication database: %w", err)
	}
	users, err := parse(data)
	if err != nil {
		return false, fmt.Errorf("decoding the authentication database %s: %w", d.path, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users, d.read, d.size = users, info.ModTime(), info.Size()
	return true, nil
}

func parse(data []byte) (map[string]User, error) {
	var file struct {
		Users map[string]entry `yaml:"users"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, err
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the first document")
	}
	var problems []error
	if len(file.Users) == 0 {
		problems = append(problems, errors.New("no users could be found"))
	}
	out := map[string]User{}
	for _, name := range slices.Sorted(maps.Keys(file.Users)) {
		e := file.Users[name]
		if e.DisplayName == "" {
			problems = append(problems, fmt.Errorf("user %q: displayname is missing", name))
		}
		h, err := parseHash(e.Password)
		if err != nil {
			problems = append(problems, fmt.Errorf("user %q: %w", name, err))
		}
		if !e.Disabled {
			out[name] = User{Name: name, DisplayName: e.DisplayName, Email: e.Email, Groups: e.Groups, hash: h}
		}
	}
	return out, errors.Join(problems...)
}

// Get returns the user, or ErrNotFound.
func (d *Database) Get(name string) (User, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	user, ok := d.users[name]
	if !ok {
		return User{}, ErrNotFound
	}
	return user, nil
}

// Check reports whether the password is the user's. It works as long for a user who does not exist;
// then the error is ErrNotFound.
func (d *Database) Check(name, password string) (bool, error) {
	user, err := d.Get(name)
	if err != nil {
		unknown.matches(password)
		return false, err
	}
	return user.hash.matches(password), nil
}
