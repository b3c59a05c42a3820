// Package session keeps the visitors' sessions in the session store, encrypted, under a random
// number that the visitor's cookie holds.
package session

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
)

// User is what a session knows of its visitor. The zero value is an anonymous visitor, but for
// CookieDomain.
type User struct {
	CookieDomain string

	Username    string
	DisplayName string
	Groups      []string
	Email       string

	KeepMeLoggedIn bool
	// LastActivity is in Unix seconds.
	LastActivity int64
	// RefreshAt is when the user is looked up in the users' database again.
	RefreshAt time.Time

	// Password and TOTP are the factors shown.
	Password bool
	TOTP     bool

	// Enrolment is a device being enrolled.
	Enrolment *Enrolment
	// Elevation lets the visitor change factors.
	Elevation *Elevation
}

// Enrolment is a TOTP device whose first code is awaited.
type Enrolment struct {
	Algorithm string
	Digits    int
	Period    int
	Secret    string
	Expires   time.Time
}

// Elevation holds for one address and for a while.
type Elevation struct {
	Addr    netip.Addr
	Expires time.Time
}

// Level returns how much the visitor has shown.
func (u User) Level() access.Level {
	switch {
	case u.Username == "" || !u.Password:
		return access.NotAuthenticated
	case u.TOTP:
		return access.TwoFactor
	default:
		return access.OneFactor
	}
}

// Anonymous reports whether the visitor has shown nothing.
func (u User) Anonymous() bool { return u.Level() == access.NotAuthenticated }

// keyPrefix stands before the session's number in the store.
const keyPrefix = "authelia-session:"

// Store is the session store.
type Store struct {
	client *redis.Client
	aead   cipher.AEAD
	config config.Session
}

// Open connects to the store, and fails if it does not answer.
func Open(ctx context.Context, c config.Session) (*Store, error) {
	key := sha256.Sum256([]byte(c.Secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("preparing the sessions' encryption: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("preparing the sessions' encryption: %w", err)
	}
	redis.SetLogger(silence{})
	client := redis.NewClient(&redis.Options{
		Addr:         net.JoinHostPort(c.Redis.Host, strconv.Itoa(c.Redis.Port)),
		Username:     c.Redis.Username,
		Password:     c.Redis.Password,
		DialTimeout:  c.Redis.Timeout.Std(),
		MaxRetries:   c.Redis.MaxRetries,
		PoolSize:     c.Redis.MaximumActiveConnections,
		MinIdleConns: c.Redis.MinimumIdleConnections,
	})
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("error initializing session backend: %w", err), client.Close())
	}
	return &Store{client: client, aead: aead, config: c}, nil
}

// silence keeps the client's own messages off the console; each failure is in the portal's log.
type silence struct{}

// Printf does nothing.
func (silence) Printf(context.Context, string, ...any) {}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

// Session is the session of one request for one cookie domain.
type Session struct {
	store  *Store
	ctx    *fasthttp.RequestCtx
	domain string
}

// Of returns the request's session for a cookie domain.
func (s *Store) Of(ctx *fasthttp.RequestCtx, domain string) *Session {
	return &Session{store: s, ctx: ctx, domain: domain}
}

// Default returns an anonymous visitor.
func (s *Session) Default() User { return User{CookieDomain: s.domain} }

// record is what the store holds, encrypted.
type record struct {
	// Expiration is the session's own lifetime, of who asked to be remembered; 0 means the
	// configured one.
	Expiration time.Duration
	User       *User
}

func (s *Session) id() string { return string(s.ctx.Request.Header.Cookie(s.store.config.Name)) }

// newID returns 32 random characters, of those that the real program uses.
func newID() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_!#$%^*"
	id := make([]byte, 32)
	// The standard library's reader never fails.
	_, _ = rand.Read(id)
	for i, b := range id {
		id[i] = letters[int(b)%len(letters)]
	}
	return string(id)
}

// load returns the number and what the store holds under it. Who has no cookie gets a fresh number
// and asks the store nothing; what cannot be decrypted counts as nothing.
func (s *Session) load() (string, record, error) {
	id := s.id()
	if id == "" {
		return newID(), record{}, nil
	}
	sealed, err := s.store.client.Get(s.ctx, keyPrefix+id).Bytes()
	if errors.Is(err, redis.Nil) {
		return id, record{}, nil
	}
	if err != nil {
		return "", record{}, fmt.Errorf("reading the session: %w", err)
	}
	size := s.store.aead.NonceSize()
	if len(sealed) < size {
		return id, record{}, nil
	}
	plain, err := s.store.aead.Open(nil, sealed[:size], sealed[size:], nil)
	if err != nil {
		return id, record{}, nil
	}
	var out record
	if err := json.Unmarshal(plain, &out); err != nil {
		return id, record{}, fmt.Errorf("reading the session: %w", err)
	}
	return id, out, nil
}

// Get returns the visitor; on an error it is anonymous.
func (s *Session) Get() (User, error) {
	_, r, err := s.load()
	if err != nil || r.User == nil {
		return s.Default(), err
	}
	return *r.User, nil
}

// Save keeps the visitor, for the session's whole lifetime from now, and sets the cookie.
func (s *Session) Save(u User) error {
	id, r, err := s.load()
	if err != nil {
		return err
	}
	r.User = &u
	return s.write(id, r)
}

// SetExpiration gives the session a lifetime of its own.
func (s *Session) SetExpiration(d time.Duration) error {
	id, r, err := s.load()
	if err != nil {
		return err
	}
	r.Expiration = d
	return s.write(id, r)
}

func (s *Session) write(id string, r record) error {
	lifetime := s.store.config.Expiration.Std()
	if r.Expiration > 0 {
		lifetime = r.Expiration
	}
	plain, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the session: %w", err)
	}
	nonce := make([]byte, s.store.aead.NonceSize())
	_, _ = rand.Read(nonce)
	sealed := s.store.aead.Seal(nonce, nonce, plain, nil)
	if err := s.store.client.Set(s.ctx, keyPrefix+id, sealed, lifetime).Err(); err != nil {
		return fmt.Errorf("writing the session: %w", err)
	}
	s.setCookie(id, lifetime)
	return nil
}

// Regenerate moves the session to a fresh number.
func (s *Session) Regenerate() error {
	old, fresh := s.id(), newID()
	lifetime := s.store.config.Expiration.Std()
	n, err := s.store.client.Exists(s.ctx, keyPrefix+old).Result()
	if err == nil && n > 0 {
		if err = s.store.client.Rename(s.ctx, keyPrefix+old, keyPrefix+fresh).Err(); err == nil {
			err = s.store.client.Expire(s.ctx, keyPrefix+fresh, lifetime).Err()
		}
	}
	if err != nil {
		return fmt.Errorf("regenerating the session: %w", err)
	}
	s.setCookie(fresh, lifetime)
	return nil
}

// Destroy removes the session and its cookie.
func (s *Session) Destroy() error {
	id := s.id()
	if id == "" {
		return nil
	}
	if err := s.store.client.Del(s.ctx, keyPrefix+id).Err(); err != nil {
		return fmt.Errorf("destroying the session: %w", err)
	}
	name := s.store.config.Name
	s.ctx.Request.Header.DelCookie(name)
	// As with the real program the cookie that is taken back has no domain: a browser keeps the old
	// one, which the store no longer knows.
	var c fasthttp.Cookie
	c.SetKey(name)
	c.SetPath("/")
	c.SetHTTPOnly(true)
	c.SetExpire(time.Now().Add(-time.Minute))
	s.ctx.Response.Header.SetCookie(&c)
	return nil
}

// setCookie sets the cookie in the answer, and in the request for what follows in it.
func (s *Session) setCookie(id string, lifetime time.Duration) {
	var c fasthttp.Cookie
	c.SetKey(s.store.config.Name)
	c.SetValue(id)
	c.SetPath("/")
	c.SetDomain(s.domain)
	c.SetHTTPOnly(true)
	c.SetSecure(true)
	switch s.store.config.SameSite {
	case "strict":
		c.SetSameSite(fasthttp.CookieSameSiteStrictMode)
	case "none":
		c.SetSameSite(fasthttp.CookieSameSiteNoneMode)
	default:
		c.SetSameSite(fasthttp.CookieSameSiteLaxMode)
	}
	c.SetExpire(time.Now().Add(lifetime))
	s.ctx.Request.Header.SetCookie(s.store.config.Name, id)
	s.ctx.Response.Header.SetCookie(&c)
}
