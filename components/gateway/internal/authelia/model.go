// Package authelia renders the configuration of the login portal: its settings, the access rules
// that follow from the sites, and the users' database. It is pure: models in, bytes out.
package authelia

import (
	"fmt"
	"net/mail"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"

	"homelab/components/gateway/internal/site"
	"homelab/components/internal/smtp"
	"homelab/components/internal/validate"
)

// SessionCookie is the name of the portal's session cookie.
const SessionCookie = "homelab_session"

// Model is everything the portal's configuration depends on.
type Model struct {
	// Domain is the zone's apex. Required.
	Domain string
	// SessionDomain is the domain below which sessions hold: every host there receives the
	// visitor's cookie. It is Domain or lies under it; empty means Domain.
	SessionDomain string
	// Hostname is the portal's own hostname, under SessionDomain; required.
	Hostname string
	// DefaultRedirectionURL is where a visitor goes who logs in without having asked for a service;
	// optional, an https URL under SessionDomain that is not the portal's.
	DefaultRedirectionURL string
	// Sites are the services; the rules follow from them.
	Sites []site.Site
	// TailnetRanges are the address ranges of the tailnet: the sites of the tailnet listener admit
	// nobody else. Required.
	TailnetRanges []string
	// Store is the host:port of the session store; required.
	Store string
	// Session are the lifetimes of a session.
	Session Session
	// Mail is the server that sends the codes confirming a new second factor; nil writes them to
	// Paths.Notifications.
	Mail *smtp.Server
	// Regulation stops guessing of passwords; the zero value means DefaultRegulation.
	Regulation Regulation
	// Listen are the portal's listeners; see DefaultListen.
	Listen Listen
	// Paths are the portal's files; see DefaultPaths.
	Paths Paths
}

// Session are the lifetimes of a session, in whole seconds.
type Session struct {
	// Inactivity ends a session that was not used for so long; required.
	Inactivity time.Duration
	// Expiration ends a session in any case; required, not shorter than Inactivity.
	Expiration time.Duration
	// RememberMe replaces Expiration and Inactivity for who asks to be remembered; 0 offers it to
	// nobody.
	RememberMe time.Duration
}

// Regulation is when an address is refused after failed logins.
type Regulation struct {
	// MaxRetries is how many attempts may fail within FindTime.
	MaxRetries int
	// FindTime is the window of time in which failures count together.
	FindTime time.Duration
	// BanTime is for how long the address is refused; not shorter than FindTime.
	BanTime time.Duration
}

// DefaultRegulation refuses an address for 10 minutes after 5 failures within 2 minutes.
func DefaultRegulation() Regulation {
	return Regulation{MaxRetries: 5, FindTime: 2 * time.Minute, BanTime: 10 * time.Minute}
}

// Listen are the addresses the portal binds, as host:port.
type Listen struct {
	// Portal serves visitors and the proxy's questions.
	Portal string
	// Metrics serves Prometheus.
	Metrics string
}

// DefaultListen are the addresses in production.
func DefaultListen() Listen {
	return Listen{Portal: fmt.Sprintf("0.0.0.0:%d", PortalPort), Metrics: fmt.Sprintf("0.0.0.0:%d", MetricsPort)}
}

// The portal's TCP ports in its container.
const (
	// PortalPort answers visitors and the proxy.
	PortalPort = 9091
	// MetricsPort answers Prometheus.
	MetricsPort = 9959
)

// Paths are the portal's files, as the portal sees them.
type Paths struct {
	// Users is the users' database.
	Users string
	// Secrets is the directory of the secret files.
	Secrets string
	// Database keeps second factors and failed logins.
	Database string
	// Notifications receives the one-time codes that confirm a new second factor, unless they are
	// mailed.
	Notifications string
	// Log is the log file.
	Log string
}

// DefaultPaths are the paths in production.
func DefaultPaths() Paths {
	return Paths{
		Users:         "/config/users_database.yml",
		Secrets:       "/run/secrets",
		Database:      "/data/db.sqlite3",
		Notifications: "/data/notifications.txt",
		Log:           "/var/log/authelia/authelia.log",
	}
}

// Validate returns everything wrong with the model, or nil.
func (m Model) Validate() error {
	p := validate.Of("authelia")
	p.Merge(site.Hostname(m.Domain))
	p.Merge(site.Hostname(m.Hostname))
	p.Merge(site.Hostname(m.sessionDomain()))
	p.Require(m.sessionDomain() == m.Domain || under(m.sessionDomain(), m.Domain), "session domain %q is neither the domain %q nor under it", m.SessionDomain, m.Domain)
	p.Require(under(m.Hostname, m.sessionDomain()), "hostname %q is not under the session domain %q", m.Hostname, m.sessionDomain())
	if m.DefaultRedirectionURL != "" {
		host, ok := strings.CutPrefix(m.DefaultRedirectionURL, "https://")
		host = strings.TrimSuffix(host, "/")
		p.Require(ok && site.Hostname(host) == nil && under(host, m.sessionDomain()) && host != m.Hostname,
			"default redirection URL %q is not https://HOST for a host under %s other than the portal", m.DefaultRedirectionURL, m.sessionDomain())
	}
	p.Merge(site.ValidateAll(m.Sites))
	for _, s := range m.Sites {
		p.Require(under(s.Hostname, m.Domain), "site %q: hostname %q is not under the domain %q", s.Name, s.Hostname, m.Domain)
		p.Require(!s.Guarded() || under(s.Hostname, m.sessionDomain()),
			"site %q: hostname %q is not under the session domain %q: no session holds there", s.Name, s.Hostname, m.sessionDomain())
		p.Require(s.Hostname != m.Hostname, "site %q has the portal's hostname", s.Name)
		for i, b := range s.Bypass {
			if _, err := resource(b.Path); err != nil {
				p.Add("site %q: bypass[%d]: %w", s.Name, i, err)
			}
		}
	}
	p.Merge(site.Ranges("tailnet ranges", m.TailnetRanges))
	p.Merge(site.HostPort(m.Store))
	p.Merge(m.Session.validate())
	if m.Mail != nil {
		for _, problem := range m.Mail.Problems() {
			p.Add("mail: %s", problem)
		}
	}
	p.Merge(m.regulation().validate())
	for _, l := range []string{m.Listen.Portal, m.Listen.Metrics} {
		_, err := netip.ParseAddrPort(l)
		p.Require(err == nil, "listen: %q is not address:port", l)
	}
	p.Merge(m.Paths.validate())
	return p.Err()
}

// under reports whether the host lies under the domain.
func under(host, domain string) bool { return strings.HasSuffix(host, "."+domain) }

func (m Model) sessionDomain() string {
	if m.SessionDomain == "" {
		return m.Domain
	}
	return m.SessionDomain
}

func (m Model) regulation() Regulation {
	if m.Regulation == (Regulation{}) {
		return DefaultRegulation()
	}
	return m.Regulation
}

func (s Session) validate() error {
	p := validate.Of("session")
	for _, d := range []struct {
		name  string
		value time.Duration
		min   time.Duration
	}{{"inactivity", s.Inactivity, time.Second}, {"expiration", s.Expiration, time.Second}, {"rememberMe", s.RememberMe, 0}} {
		p.Require(d.value >= d.min && d.value%time.Second == 0, "%s: %s is not a positive number of seconds", d.name, d.value)
	}
	p.Require(s.Inactivity <= s.Expiration, "inactivity %s is longer than expiration %s", s.Inactivity, s.Expiration)
	return p.Err()
}

func (r Regulation) validate() error {
	p := validate.Of("regulation")
	p.Require(r.MaxRetries >= 1, "maxRetries: %d is not positive", r.MaxRetries)
	p.Require(r.FindTime >= time.Second && r.FindTime%time.Second == 0, "findTime: %s is not a positive number of seconds", r.FindTime)
	p.Require(r.BanTime >= r.FindTime && r.BanTime%time.Second == 0, "banTime: %s is shorter than findTime %s, or not in seconds", r.BanTime, r.FindTime)
	return p.Err()
}

func (f Paths) validate() error {
	p := validate.Of("paths")
	for _, f := range []struct{ name, value string }{
		{"users", f.Users}, {"secrets", f.Secrets}, {"database", f.Database}, {"notifications", f.Notifications}, {"log", f.Log},
	} {
		p.Require(path.IsAbs(f.value) && path.Clean(f.value) == f.value, "%s: %q is not a clean absolute path", f.name, f.value)
	}
	return p.Err()
}

// User is one entry of the users' database.
type User struct {
	// Name is the login name: lowercase letters, digits, dots, hyphens and underscores; required,
	// unique.
	Name string
	// DisplayName is how the portal and the services address the user; required.
	DisplayName string
	// Email is the user's address; required.
	Email string
	// Groups are the groups the user is in.
	Groups []string
	// PasswordHash is made by HashPassword; required. Treat it as a secret.
	PasswordHash string
}

var (
	userPattern  = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$`)
	groupPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$`)
	hashPattern  = regexp.MustCompile(`^\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22,}\$[A-Za-z0-9+/]{43}$`)
)

// Validate returns everything wrong with the user, or nil. It never shows the hash.
func (u User) Validate() error {
	p := validate.Of(fmt.Sprintf("user %q", u.Name))
	p.Require(userPattern.MatchString(u.Name), "name must be lowercase letters, digits, dots, hyphens and underscores")
	p.Require(strings.TrimSpace(u.DisplayName) != "", "displayName is missing")
	addr, err := mail.ParseAddress(u.Email)
	p.Require(err == nil && addr.Address == u.Email, "email %q is not an address", u.Email)
	for _, g := range u.Groups {
		p.Require(groupPattern.MatchString(g), "group %q must be lowercase letters, digits, hyphens and underscores", g)
	}
	p.Require(hashPattern.MatchString(u.PasswordHash), "the password hash is not an argon2id digest with a salt of 16 bytes or more")
	return p.Err()
}
