// Package config reads the three things Authelia 4.39 reads before it starts: its configuration
// file, its environment, and the secret files the environment names. It knows exactly the settings
// homelab renders, plus those without which they could not be checked; any other key is refused,
// also those only the real program knows.
package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"time"
)

// Configuration is the whole file, with secrets filled in and defaults applied.
type Configuration struct {
	Theme         string        `yaml:"theme"`
	Server        Server        `yaml:"server"`
	Log           Log           `yaml:"log"`
	Telemetry     Telemetry     `yaml:"telemetry"`
	TOTP          TOTP          `yaml:"totp"`
	WebAuthn      WebAuthn      `yaml:"webauthn"`
	NTP           NTP           `yaml:"ntp"`
	Identity      Identity      `yaml:"identity_validation"`
	Backend       Backend       `yaml:"authentication_backend"`
	Definitions   Definitions   `yaml:"definitions"`
	AccessControl AccessControl `yaml:"access_control"`
	Session       Session       `yaml:"session"`
	Regulation    Regulation    `yaml:"regulation"`
	Storage       Storage       `yaml:"storage"`
	Notifier      Notifier      `yaml:"notifier"`
	Providers     Providers     `yaml:"identity_providers"`
}

// Server is the portal's listener and its authorization endpoints.
type Server struct {
	Address            Address   `yaml:"address"`
	DisableHealthcheck bool      `yaml:"disable_healthcheck"`
	Buffers            Buffers   `yaml:"buffers"`
	Endpoints          Endpoints `yaml:"endpoints"`
}

// Buffers are the sizes of the largest request and response heads, in bytes; default 4096.
type Buffers struct {
	Read  int `yaml:"read"`
	Write int `yaml:"write"`
}

// Endpoints are the authorization endpoints by name, under /api/authz/.
type Endpoints struct {
	Authz      map[string]Authz `yaml:"authz"`
	RateLimits RateLimits       `yaml:"rate_limits"`
}

// Authz is one authorization endpoint.
type Authz struct {
	Implementation  string     `yaml:"implementation"`
	AuthnStrategies []Strategy `yaml:"authn_strategies"`
}

// Strategy names how an authorization endpoint recognises a visitor.
type Strategy struct {
	Name string `yaml:"name"`
}

// Log is where the log goes.
type Log struct {
	Level      string `yaml:"level"`
	Format     string `yaml:"format"`
	FilePath   string `yaml:"file_path"`
	KeepStdout bool   `yaml:"keep_stdout"`
}

// Telemetry holds the metrics' listener.
type Telemetry struct {
	Metrics Metrics `yaml:"metrics"`
}

// Metrics is the Prometheus listener; default tcp://:9959/metrics.
type Metrics struct {
	Enabled bool    `yaml:"enabled"`
	Address Address `yaml:"address"`
}

// TOTP are the parameters of one-time passwords.
type TOTP struct {
	Disable    bool   `yaml:"disable"`
	Issuer     string `yaml:"issuer"`
	Algorithm  string `yaml:"algorithm"`
	Digits     int    `yaml:"digits"`
	Period     int    `yaml:"period"`
	Skew       *int   `yaml:"skew"`
	SecretSize int    `yaml:"secret_size"`
}

// WebAuthn is checked, but no security key works with the stand-in.
type WebAuthn struct {
	Disable            bool      `yaml:"disable"`
	EnablePasskeyLogin bool      `yaml:"enable_passkey_login"`
	DisplayName        string    `yaml:"display_name"`
	Timeout            Duration  `yaml:"timeout"`
	Selection          Selection `yaml:"selection_criteria"`
}

// Selection is how a security key must recognise its user.
type Selection struct {
	UserVerification string `yaml:"user_verification"`
}

// NTP is accepted and has no effect: the stand-in asks no time server.
type NTP struct {
	DisableStartupCheck bool `yaml:"disable_startup_check"`
}

// Identity is how a user confirms an important change.
type Identity struct {
	ElevatedSession Elevated `yaml:"elevated_session"`
}

// Elevated are the parameters of one-time codes and of the elevation they buy.
type Elevated struct {
	CodeLifespan        Duration `yaml:"code_lifespan"`
	ElevationLifespan   Duration `yaml:"elevation_lifespan"`
	Characters          int      `yaml:"characters"`
	RequireSecondFactor bool     `yaml:"require_second_factor"`
	SkipSecondFactor    bool     `yaml:"skip_second_factor"`
}

// Backend is where users come from.
type Backend struct {
	PasswordReset   Toggle       `yaml:"password_reset"`
	PasswordChange  Toggle       `yaml:"password_change"`
	RefreshInterval Duration     `yaml:"refresh_interval"`
	File            *FileBackend `yaml:"file"`
}

// Toggle turns a feature off.
type Toggle struct {
	Disable bool `yaml:"disable"`
}

// FileBackend is the users' database.
type FileBackend struct {
	Path     string   `yaml:"path"`
	Watch    bool     `yaml:"watch"`
	Password Password `yaml:"password"`
}

// Password is how new passwords would be hashed; the stand-in changes none.
type Password struct {
	Algorithm string `yaml:"algorithm"`
	Argon2    Argon2 `yaml:"argon2"`
}

// Argon2 are the costs of a hash.
type Argon2 struct {
	Variant     string `yaml:"variant"`
	Iterations  int    `yaml:"iterations"`
	Memory      int    `yaml:"memory"`
	Parallelism int    `yaml:"parallelism"`
	KeyLength   int    `yaml:"key_length"`
	SaltLength  int    `yaml:"salt_length"`
}

// Definitions names networks for use in rules.
type Definitions struct {
	Network map[string]List `yaml:"network"`
}

// AccessControl are the rules; the first that matches decides.
type AccessControl struct {
	DefaultPolicy string `yaml:"default_policy"`
	Rules         []Rule `yaml:"rules"`
}

// Rule is one access rule. Every criterion given must hold.
type Rule struct {
	Domain      List     `yaml:"domain"`
	DomainRegex List     `yaml:"domain_regex"`
	Policy      string   `yaml:"policy"`
	Subject     Subjects `yaml:"subject"`
	Networks    List     `yaml:"networks"`
	Resources   List     `yaml:"resources"`
	Methods     List     `yaml:"methods"`

	// Compiled by Validate.
	DomainPatterns   []*regexp.Regexp `yaml:"-"`
	ResourcePatterns []*regexp.Regexp `yaml:"-"`
	Prefixes         []netip.Prefix   `yaml:"-"`
}

// Session are the lifetimes, the cookies and the store of sessions.
type Session struct {
	Name       string   `yaml:"name"`
	Secret     string   `yaml:"secret"`
	SameSite   string   `yaml:"same_site"`
	Inactivity Duration `yaml:"inactivity"`
	Expiration Duration `yaml:"expiration"`
	RememberMe Duration `yaml:"remember_me"`
	Cookies    []Cookie `yaml:"cookies"`
	Redis      *Redis   `yaml:"redis"`
}

// Cookie is one domain for which sessions hold.
type Cookie struct {
	Domain                string `yaml:"domain"`
	AutheliaURL           string `yaml:"authelia_url"`
	DefaultRedirectionURL string `yaml:"default_redirection_url"`

	// Parsed by Validate.
	Portal   *url.URL `yaml:"-"`
	Redirect *url.URL `yaml:"-"`
}

// Redis is the session store.
type Redis struct {
	Host                     string   `yaml:"host"`
	Port                     int      `yaml:"port"`
	Username                 string   `yaml:"username"`
	Password                 string   `yaml:"password"`
	Timeout                  Duration `yaml:"timeout"`
	MaxRetries               int      `yaml:"max_retries"`
	MaximumActiveConnections int      `yaml:"maximum_active_connections"`
	MinimumIdleConnections   int      `yaml:"minimum_idle_connections"`
}

// Regulation is when an address or a user is refused after failed logins.
type Regulation struct {
	Modes      []string `yaml:"modes"`
	MaxRetries *int     `yaml:"max_retries"`
	FindTime   Duration `yaml:"find_time"`
	BanTime    Duration `yaml:"ban_time"`
}

// Storage is where second factors and failed logins are kept.
type Storage struct {
	EncryptionKey string        `yaml:"encryption_key"`
	Local         *LocalStorage `yaml:"local"`
}

// LocalStorage is a file.
type LocalStorage struct {
	Path string `yaml:"path"`
}

// Notifier is where messages to users go.
type Notifier struct {
	Filesystem *FileNotifier `yaml:"filesystem"`
}

// FileNotifier writes each message over the last one.
type FileNotifier struct {
	Filename string `yaml:"filename"`
}

// RememberMeDisabled is the session's remember_me that offers it to nobody.
const RememberMeDisabled = Duration(-time.Second)
