package authelia

import "time"

// The types of this file are the parts of Authelia 4.39's configuration that are used here, named
// as there.

type configuration struct {
	Theme         string        `yaml:"theme"`
	Server        server        `yaml:"server"`
	Log           logging       `yaml:"log"`
	Telemetry     telemetry     `yaml:"telemetry"`
	TOTP          totp          `yaml:"totp"`
	WebAuthn      webauthn      `yaml:"webauthn"`
	NTP           ntp           `yaml:"ntp"`
	Identity      identity      `yaml:"identity_validation"`
	Backend       backend       `yaml:"authentication_backend"`
	Definitions   definitions   `yaml:"definitions"`
	AccessControl accessControl `yaml:"access_control"`
	Session       session       `yaml:"session"`
	Regulation    regulation    `yaml:"regulation"`
	Storage       storage       `yaml:"storage"`
	Notifier      notifier      `yaml:"notifier"`
}

type server struct {
	Address            string    `yaml:"address"`
	DisableHealthcheck bool      `yaml:"disable_healthcheck"`
	Buffers            buffers   `yaml:"buffers"`
	Endpoints          endpoints `yaml:"endpoints"`
}

type buffers struct {
	Read  int `yaml:"read"`
	Write int `yaml:"write"`
}

type endpoints struct {
	Authz      map[string]authz `yaml:"authz"`
	RateLimits rateLimits       `yaml:"rate_limits"`
}

type rateLimits struct {
	SecondFactorTOTP rateLimit `yaml:"second_factor_totp"`
}

type rateLimit struct {
	Enable  bool     `yaml:"enable"`
	Buckets []bucket `yaml:"buckets"`
}

type bucket struct {
	Period   string `yaml:"period"`
	Requests int    `yaml:"requests"`
}

type authz struct {
	Implementation  string     `yaml:"implementation"`
	AuthnStrategies []strategy `yaml:"authn_strategies"`
}

type strategy struct {
	Name string `yaml:"name"`
}

type logging struct {
	Level      string `yaml:"level"`
	Format     string `yaml:"format"`
	FilePath   string `yaml:"file_path"`
	KeepStdout bool   `yaml:"keep_stdout"`
}

type telemetry struct {
	Metrics metrics `yaml:"metrics"`
}

type metrics struct {
	Enabled bool   `yaml:"enabled"`
	Address string `yaml:"address"`
}

type totp struct {
	Disable    bool   `yaml:"disable"`
	Issuer     string `yaml:"issuer"`
	Algorithm  string `yaml:"algorithm"`
	Digits     int    `yaml:"digits"`
	Period     int    `yaml:"period"`
	Skew       int    `yaml:"skew"`
	SecretSize int    `yaml:"secret_size"`
}

type webauthn struct {
	Disable            bool      `yaml:"disable"`
	EnablePasskeyLogin bool      `yaml:"enable_passkey_login"`
	DisplayName        string    `yaml:"display_name"`
	Timeout            string    `yaml:"timeout"`
	Selection          selection `yaml:"selection_criteria"`
}

type selection struct {
	UserVerification string `yaml:"user_verification"`
}

type ntp struct {
	DisableStartupCheck bool `yaml:"disable_startup_check"`
}

type identity struct {
	ElevatedSession elevated `yaml:"elevated_session"`
}

type elevated struct {
	CodeLifespan        string `yaml:"code_lifespan"`
	ElevationLifespan   string `yaml:"elevation_lifespan"`
	Characters          int    `yaml:"characters"`
	RequireSecondFactor bool   `yaml:"require_second_factor"`
}

type backend struct {
	PasswordReset   disabled    `yaml:"password_reset"`
	PasswordChange  disabled    `yaml:"password_change"`
	RefreshInterval string      `yaml:"refresh_interval"`
	File            fileBackend `yaml:"file"`
}

type disabled struct {
	Disable bool `yaml:"disable"`
}

type fileBackend struct {
	Path     string          `yaml:"path"`
	Watch    bool            `yaml:"watch"`
	Password passwordOptions `yaml:"password"`
}

type passwordOptions struct {
	Algorithm string `yaml:"algorithm"`
	Argon2    argon  `yaml:"argon2"`
}

type argon struct {
	Variant     string `yaml:"variant"`
	Iterations  int    `yaml:"iterations"`
	Memory      int    `yaml:"memory"`
	Parallelism int    `yaml:"parallelism"`
	KeyLength   int    `yaml:"key_length"`
	SaltLength  int    `yaml:"salt_length"`
}

type definitions struct {
	Network map[string][]string `yaml:"network"`
}

type accessControl struct {
	DefaultPolicy string `yaml:"default_policy"`
	Rules         []rule `yaml:"rules"`
}

type rule struct {
	Domain    []string   `yaml:"domain"`
	Policy    string     `yaml:"policy"`
	Subject   [][]string `yaml:"subject,omitempty"`
	Networks  []string   `yaml:"networks,omitempty"`
	Methods   []string   `yaml:"methods,omitempty"`
	Resources []string   `yaml:"resources,omitempty"`
}

type session struct {
	Name       string   `yaml:"name"`
	SameSite   string   `yaml:"same_site"`
	Inactivity string   `yaml:"inactivity"`
	Expiration string   `yaml:"expiration"`
	RememberMe lifetime `yaml:"remember_me"`
	Cookies    []cookie `yaml:"cookies"`
	Redis      redis    `yaml:"redis"`
}

// lifetime is a duration of which zero means never, which Authelia writes as the number -1.
type lifetime time.Duration

// MarshalYAML writes the duration as Authelia reads it.
func (l lifetime) MarshalYAML() (any, error) {
	if l == 0 {
		return -1, nil
	}
	return duration(time.Duration(l)), nil
}

type cookie struct {
	Domain                string `yaml:"domain"`
	AutheliaURL           string `yaml:"authelia_url"`
	DefaultRedirectionURL string `yaml:"default_redirection_url,omitempty"`
}

type redis struct {
	Host                     string `yaml:"host"`
	Port                     int    `yaml:"port"`
	Timeout                  string `yaml:"timeout"`
	MaxRetries               int    `yaml:"max_retries"`
	MaximumActiveConnections int    `yaml:"maximum_active_connections"`
	MinimumIdleConnections   int    `yaml:"minimum_idle_connections"`
}

type regulation struct {
	Modes      []string `yaml:"modes"`
	MaxRetries int      `yaml:"max_retries"`
	FindTime   string   `yaml:"find_time"`
	BanTime    string   `yaml:"ban_time"`
}

type storage struct {
	Local localPath `yaml:"local"`
}

type localPath struct {
	Path string `yaml:"path"`
}

type notifier struct {
	DisableStartupCheck bool        `yaml:"disable_startup_check,omitempty"`
	Filesystem          *filename   `yaml:"filesystem,omitempty"`
	SMTP                *smtpServer `yaml:"smtp,omitempty"`
}

type smtpServer struct {
	Address    string  `yaml:"address"`
	Timeout    string  `yaml:"timeout"`
	Username   string  `yaml:"username"`
	Sender     string  `yaml:"sender"`
	Identifier string  `yaml:"identifier"`
	Subject    string  `yaml:"subject"`
	TLS        smtpTLS `yaml:"tls"`
}

type smtpTLS struct {
	ServerName     string `yaml:"server_name"`
	MinimumVersion string `yaml:"minimum_version"`
}

type filename struct {
	Filename string `yaml:"filename"`
}

type usersDatabase struct {
	Users map[string]user `yaml:"users"`
}

type user struct {
	DisplayName string   `yaml:"displayname"`
	Password    string   `yaml:"password"`
	Email       string   `yaml:"email"`
	Groups      []string `yaml:"groups"`
}

// The types of the second configuration.

type openIDFile struct {
	IdentityProviders identityProviders `yaml:"identity_providers"`
}

type identityProviders struct {
	OIDC openIDConnect `yaml:"oidc"`
}

type openIDConnect struct {
	EnforcePKCE string                  `yaml:"enforce_pkce"`
	JWKS        []jwk                   `yaml:"jwks"`
	Policies    map[string]openIDPolicy `yaml:"authorization_policies"`
	Clients     []openIDClient          `yaml:"clients"`
}

type jwk struct {
	Algorithm string `yaml:"algorithm"`
	Use       string `yaml:"use"`
	Key       string `yaml:"key"`
}

type openIDPolicy struct {
	DefaultPolicy string       `yaml:"default_policy"`
	Rules         []openIDRule `yaml:"rules"`
}

type openIDRule struct {
	Policy  string     `yaml:"policy"`
	Subject [][]string `yaml:"subject"`
}

type openIDClient struct {
	ID              string   `yaml:"client_id"`
	Name            string   `yaml:"client_name"`
	Secret          string   `yaml:"client_secret"`
	Public          bool     `yaml:"public"`
	Policy          string   `yaml:"authorization_policy"`
	RequirePKCE     bool     `yaml:"require_pkce"`
	ChallengeMethod string   `yaml:"pkce_challenge_method"`
	RedirectURIs    []string `yaml:"redirect_uris"`
	Scopes          []string `yaml:"scopes"`
	ResponseTypes   []string `yaml:"response_types"`
	ResponseModes   []string `yaml:"response_modes"`
	GrantTypes      []string `yaml:"grant_types"`
	TokenAuth       string   `yaml:"token_endpoint_auth_method"`
	Consent         string   `yaml:"consent_mode"`
}
