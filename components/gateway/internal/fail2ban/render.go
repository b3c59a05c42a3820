package fail2ban

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"
)

//go:embed templates
var templates embed.FS

var parsed = template.Must(template.ParseFS(templates, "templates/*.tmpl"))

// view is what the templates see.
type view struct {
	Model
	Ignored string
	API     string
}

// JailLocal renders jail.local: the jails. It holds no secret.
func JailLocal(m Model) ([]byte, error) { return render(m, "jail.local") }

// SettingsLocal renders fail2ban.local: the settings of the server itself.
func SettingsLocal(m Model) ([]byte, error) { return render(m, "fail2ban.local") }

func render(m Model, name string) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := parsed.ExecuteTemplate(&out, name+".tmpl", view{Model: m, Ignored: m.ignored(), API: m.api()}); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// AutheliaFilter returns the filter that finds failed logins in the portal's log.
func AutheliaFilter() ([]byte, error) { return file("homelab-authelia.conf") }

// CaddyFilter returns the filter that finds refused requests in the proxy's access log.
func CaddyFilter() ([]byte, error) { return file("homelab-caddy.conf") }

// CloudflareAction returns the action, a Python module that Fail2ban loads, that bans an address at
// Cloudflare.
func CloudflareAction() ([]byte, error) { return file("homelab_cloudflare.py") }

func file(name string) ([]byte, error) {
	out, err := templates.ReadFile("templates/" + name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return out, nil
}
