package crowdsec

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"
)

// header stands at the top of every file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

type acquisition struct {
	Source          string            `yaml:"source"`
	Name            string            `yaml:"name"`
	Filenames       []string          `yaml:"filenames,omitempty"`
	ForceInotify    bool              `yaml:"force_inotify,omitempty"`
	ListenAddr      string            `yaml:"listen_addr,omitempty"`
	AppSecConfig    string            `yaml:"appsec_config,omitempty"`
	BodyReadTimeout string            `yaml:"body_read_timeout,omitempty"`
	Routines        int               `yaml:"routines,omitempty"`
	Labels          map[string]string `yaml:"labels"`
}

// CaddyAcquisition renders the source that reads the proxy's access log.
func CaddyAcquisition(m Model) ([]byte, error) {
	return render(m, "the acquisition of caddy", fileSource("caddy", m.Logs.Caddy))
}

// AutheliaAcquisition renders the source that reads the portal's log.
func AutheliaAcquisition(m Model) ([]byte, error) {
	return render(m, "the acquisition of authelia", fileSource("authelia", m.Logs.Authelia))
}

// fileSource reads a log. Its type is what sends the lines to the right parser. The log may not
// exist yet when the engine starts, so the directory is watched.
func fileSource(kind, filename string) acquisition {
	return acquisition{Source: "file", Name: kind, Filenames: []string{filename}, ForceInotify: true, Labels: map[string]string{"type": kind}}
}

const (
	// appSecReadTimeout is how long the proxy may take to send a body. AppSec inspects what has
	// come by then, and lets the rest pass uninspected; so it is much longer than the proxy waits
	// for a verdict.
	appSecReadTimeout = "1m"
	// appSecRoutines is how many requests AppSec inspects at the same time.
	appSecRoutines = 4
)

// AppSecAcquisition renders the source that inspects requests for the proxy.
func AppSecAcquisition(m Model) ([]byte, error) {
	return render(m, "the acquisition of appsec", acquisition{
		Source: "appsec", Name: "appsec", ListenAddr: m.Listen.AppSec, AppSecConfig: "crowdsecurity/appsec-default",
		BodyReadTimeout: appSecReadTimeout, Routines: appSecRoutines, Labels: map[string]string{"type": "appsec"},
	})
}

type profile struct {
	Name         string     `yaml:"name"`
	Filters      []string   `yaml:"filters"`
	Decisions    []decision `yaml:"decisions"`
	DurationExpr string     `yaml:"duration_expr"`
	OnSuccess    string     `yaml:"on_success"`
}

type decision struct {
	Type     string `yaml:"type"`
	Duration string `yaml:"duration"`
}

// Profiles renders what follows an alert: a ban that grows with each repetition. The filters
// exclude each other, so that no profile stands dead behind another's break.
func Profiles(m Model) ([]byte, error) {
	var profiles []any
	for _, scope := range []string{"Ip", "Range"} {
		profiles = append(profiles, profile{
			Name:         "homelab_" + strings.ToLower(scope),
			Filters:      []string{fmt.Sprintf("Alert.Remediation == true && Alert.GetScope() == %q", scope)},
			Decisions:    []decision{{Type: "ban", Duration: fmt.Sprintf("%dh", m.banHours())}},
			DurationExpr: fmt.Sprintf("Sprintf('%%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * %d)", m.banHours()),
			OnSuccess:    "break",
		})
	}
	return render(m, "the profiles", profiles...)
}

type configLocal struct {
	Common     common     `yaml:"common"`
	DBConfig   dbConfig   `yaml:"db_config"`
	API        api        `yaml:"api"`
	Prometheus prometheus `yaml:"prometheus"`
}

type common struct {
	LogMedia  string `yaml:"log_media"`
	LogLevel  string `yaml:"log_level"`
	LogFormat string `yaml:"log_format"`
}

type dbConfig struct {
	UseWAL bool  `yaml:"use_wal"`
	Flush  flush `yaml:"flush"`
}

type flush struct {
	MaxItems           int        `yaml:"max_items"`
	MaxAge             string     `yaml:"max_age"`
	BouncersAutodelete autodelete `yaml:"bouncers_autodelete"`
}

type autodelete struct {
	APIKey string `yaml:"api_key"`
}

type api struct {
	Server apiServer `yaml:"server"`
}

type apiServer struct {
	ListenURI  string   `yaml:"listen_uri"`
	TrustedIPs []string `yaml:"trusted_ips"`
}

type prometheus struct {
	Enabled    bool   `yaml:"enabled"`
	Level      string `yaml:"level"`
	ListenAddr string `yaml:"listen_addr"`
	ListenPort int    `yaml:"listen_port"`
}

// ConfigLocal renders config.yaml.local, which the engine lays over the image's config.yaml.
func ConfigLocal(m Model) ([]byte, error) {
	metrics, err := netip.ParseAddrPort(m.Listen.Metrics)
	if err != nil {
		return nil, fmt.Errorf("rendering config.yaml.local of crowdsec: listen: metrics: %w", err)
	}
	return render(m, "config.yaml.local", configLocal{
		Common: common{LogMedia: "stdout", LogLevel: "info", LogFormat: "json"},
		DBConfig: dbConfig{
			UseWAL: true,
			// Registrations left behind by a change of the proxy's key do not stay valid for ever.
			Flush: flush{MaxItems: 5000, MaxAge: "30d", BouncersAutodelete: autodelete{APIKey: "7d"}},
		},
		API:        api{Server: apiServer{ListenURI: m.Listen.LAPI, TrustedIPs: []string{"127.0.0.1", "::1"}}},
		Prometheus: prometheus{Enabled: true, Level: "full", ListenAddr: metrics.Addr().String(), ListenPort: int(metrics.Port())},
	})
}

type whitelistParser struct {
	Name        string    `yaml:"name"`
	Description string    `yaml:"description"`
	Filter      string    `yaml:"filter,omitempty"`
	Whitelist   whitelist `yaml:"whitelist"`
}

type whitelist struct {
	Reason     string   `yaml:"reason"`
	CIDR       []string `yaml:"cidr,omitempty"`
	Expression []string `yaml:"expression,omitempty"`
}

// RangesWhitelist renders the ranges that are never banned.
func RangesWhitelist(m Model) ([]byte, error) {
	return render(m, "the whitelist of ranges", whitelistParser{
		Name:        "homelab/ranges",
		Description: "Cloudflare, the tailnet, the containers and the machine itself",
		Whitelist:   whitelist{Reason: "an address of our own infrastructure", CIDR: m.ownRanges()},
	})
}

// SessionsWhitelist renders what keeps a page whose session has ended, and which goes on asking,
// from banning its own user: a 401 on a guarded hostname is the portal's answer to that, and no
// failed login. Failed logins are on the portal's own hostname, and in its log.
func SessionsWhitelist(m Model) ([]byte, error) {
	quoted := make([]string, 0, len(m.Sites))
	for _, h := range m.guardedHosts() {
		quoted = append(quoted, "'"+h+"'")
	}
	return render(m, "the whitelist of sessions", whitelistParser{
		Name:        "homelab/sessions",
		Description: "requests of pages whose session has ended",
		Filter:      "evt.Meta.log_type == 'http_access-log'",
		Whitelist: whitelist{Reason: "the session has ended", Expression: []string{
			fmt.Sprintf("evt.Meta.http_status == '401' && Split(evt.Meta.target_fqdn, ':')[0] in [%s]", strings.Join(quoted, ", ")),
		}},
	})
}

func render(m Model, what string, documents ...any) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering %s of crowdsec: %w", what, err)
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, d := range documents {
		if err := enc.Encode(d); err != nil {
			return nil, fmt.Errorf("rendering %s of crowdsec: %w", what, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("rendering %s of crowdsec: %w", what, err)
	}
	return out.Bytes(), nil
}
