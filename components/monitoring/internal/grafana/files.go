// Package grafana renders what Grafana reads: its configuration, its data sources and its
// dashboards. Everything in it comes from files, so nothing that somebody clicks together is lost
// or in the way.
package grafana

import (
	"fmt"
	"path"
	"regexp"

	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
)

// Where Grafana finds things, in its container.
const (
	// Folder holds everything that Files renders. The image starts Grafana with grafana.ini in it.
	Folder = "/etc/grafana"
	// DataFolder holds the database (SQLite): preferences, sessions, who has logged in. It is all
	// that Grafana writes, beside /tmp, where the data sources' programs listen on sockets.
	DataFolder = "/var/lib/grafana"
	// SecretKeyFile holds the key that encrypts what the database keeps. It is generated, at least
	// 32 characters long.
	SecretKeyFile = "/run/secrets/grafana-secret-key"
	// Port is where it listens, for people and for Prometheus.
	Port = 3000
	// RedirectPath is where the portal sends a browser back to.
	RedirectPath = "/login/generic_oauth"
)

// Subject is the name of Grafana's own subject in the model, whose hostname it has.
const Subject = "grafana"

// Login is how people log in: at the portal, by OpenID Connect, and nowhere else.
type Login struct {
	// ClientID is Grafana's name at the portal.
	ClientID string
	// AuthorizationURL is where the browser is sent to log in.
	AuthorizationURL string
	// TokenURL is where Grafana itself changes the code into a token.
	TokenURL string
	// UserInfoURL is where Grafana itself asks who the user is. The groups are only there: the
	// portal puts none into an ID token.
	UserInfoURL string
	// SecretFile is the path, in the container, of the file with the secret that Grafana shares
	// with the portal.
	SecretFile string
	// AdminGroup is the portal's group whose members administrate Grafana.
	AdminGroup string
	// ViewerGroups are the portal's groups whose members may look; may be empty. Who is in none of
	// these groups and not in AdminGroup is refused.
	ViewerGroups []string
}

// File is one rendered file. None of them holds a secret.
type File struct {
	// Path is where Grafana reads it, below Folder.
	Path string
	// Content is all of it.
	Content []byte
}

var (
	// groupName is what the settings allow as a group of the portal. It leaves nothing that would
	// mean something in the configuration or in an expression.
	groupName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	// endpoint has no character that the configuration's format gives a meaning to.
	endpoint = regexp.MustCompile(`^https?://[A-Za-z0-9.:-]+/[A-Za-z0-9/._-]*$`)
	filePath = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	clientID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	// hostname is a full name of lower-case labels.
	hostname = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	timezone = regexp.MustCompile(`^[A-Za-z0-9/_+-]+$`)
)

func (l Login) validate() error {
	p := validate.Of("login")
	p.Require(clientID.MatchString(l.ClientID), "%q is not a client's name", l.ClientID)
	for _, u := range []struct{ name, url string }{
		{"authorization", l.AuthorizationURL}, {"token", l.TokenURL}, {"user info", l.UserInfoURL},
	} {
		p.Require(endpoint.MatchString(u.url), "%s: %q is not the address of an endpoint", u.name, u.url)
	}
	p.Require(filePath.MatchString(l.SecretFile), "%q is not the path of the secret's file", l.SecretFile)
	p.Require(groupName.MatchString(l.AdminGroup), "administrators: %q is not a group", l.AdminGroup)
	for _, g := range l.ViewerGroups {
		p.Require(groupName.MatchString(g), "viewers: %q is not a group", g)
		p.Require(g != l.AdminGroup, "viewers: %q are the administrators", g)
	}
	return p.Err()
}

// Files renders every file that Grafana reads, sorted by path.
func Files(m watch.Model, login Login) ([]File, error) {
	p := validate.Of("rendering Grafana")
	p.Merge(m.Validate())
	p.Merge(login.validate())
	own, _ := m.Subject(Subject)
	p.Require(hostname.MatchString(own.Hostname), "the model has no %s with a hostname", Subject)
	p.Require(timezone.MatchString(m.Timezone), "%q is not a timezone", m.Timezone)
	if err := p.Err(); err != nil {
		return nil, err
	}
	var out []File
	for _, d := range dashboards(m) {
		content, err := encode(d)
		if err != nil {
			return nil, fmt.Errorf("rendering dashboard %s: %w", d.UID, err)
		}
		out = append(out, File{Path: dashboardPath(d.UID), Content: content})
	}
	ini, err := configuration(m, own.Hostname, login).render()
	if err != nil {
		return nil, fmt.Errorf("rendering grafana.ini: %w", err)
	}
	provider, err := dashboardProvider()
	if err != nil {
		return nil, fmt.Errorf("rendering the dashboards' provider: %w", err)
	}
	sources, err := dataSources(m)
	if err != nil {
		return nil, fmt.Errorf("rendering the data sources: %w", err)
	}
	return append(out,
		File{Path: path.Join(Folder, "grafana.ini"), Content: ini},
		File{Path: path.Join(provisioningFolder, "dashboards", "homelab.yaml"), Content: provider},
		File{Path: path.Join(provisioningFolder, "datasources", "homelab.yaml"), Content: sources},
	), nil
}
