// Package alertmanager renders who hears of an alert, and which alert says it for the others.
package alertmanager

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/smtp"
	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/rules"
)

// header stands at the top of the file.
const header = "# Rendered by homelab: an edit here is lost at the next deployment.\n"

// ConfigFile is where the container finds the configuration.
const ConfigFile = "/etc/alertmanager/alertmanager.yml"

// The files with the secrets, in the container. No secret is in the configuration itself.
const (
	// WebhookFile holds the address of the operator's webhook.
	WebhookFile = "/etc/alertmanager/secrets/webhook"
	// PasswordFile holds the password for the mail server.
	PasswordFile = "/etc/alertmanager/secrets/smtp-password"
	// SwitchFile holds the address of the dead man's switch.
	SwitchFile = "/etc/alertmanager/secrets/dead-mans-switch"
)

// TestAlert is the name of the alert that a deployment sends to see whether it is delivered.
const TestAlert = "HomelabTestNotification"

// The receivers.
const (
	// Operator is who runs the system.
	Operator = "operator"
	// Switch is the dead man's switch.
	Switch = "dead-mans-switch"
	// Nobody takes what nobody is to hear of.
	Nobody = "nobody"
)

type config struct {
	Global    global     `yaml:"global"`
	Route     route      `yaml:"route"`
	Inhibit   []inhibit  `yaml:"inhibit_rules"`
	Receivers []receiver `yaml:"receivers"`
}

type global struct {
	From         string `yaml:"smtp_from,omitempty"`
	Smarthost    string `yaml:"smtp_smarthost,omitempty"`
	Username     string `yaml:"smtp_auth_username,omitempty"`
	PasswordFile string `yaml:"smtp_auth_password_file,omitempty"`
	RequireTLS   *bool  `yaml:"smtp_require_tls,omitempty"`
	ImplicitTLS  *bool  `yaml:"smtp_force_implicit_tls,omitempty"`
	Resolve      string `yaml:"resolve_timeout"`
}

type route struct {
	Receiver       string   `yaml:"receiver"`
	Matchers       []string `yaml:"matchers,omitempty"`
	GroupBy        []string `yaml:"group_by,omitempty,flow"`
	GroupWait      string   `yaml:"group_wait"`
	GroupInterval  string   `yaml:"group_interval"`
	RepeatInterval string   `yaml:"repeat_interval"`
	Routes         []route  `yaml:"routes,omitempty"`
}

type inhibit struct {
	Name   string   `yaml:"name"`
	Source []string `yaml:"source_matchers"`
	Target []string `yaml:"target_matchers"`
	Equal  []string `yaml:"equal,omitempty,flow"`
}

type receiver struct {
	Name     string    `yaml:"name"`
	Webhooks []webhook `yaml:"webhook_configs,omitempty"`
	Mails    []mail    `yaml:"email_configs,omitempty"`
}

type webhook struct {
	URLFile      string `yaml:"url_file"`
	SendResolved bool   `yaml:"send_resolved"`
	MaxAlerts    int    `yaml:"max_alerts,omitempty"`
	Timeout      string `yaml:"timeout"`
}

type mail struct {
	To           string            `yaml:"to"`
	SendResolved bool              `yaml:"send_resolved"`
	Headers      map[string]string `yaml:"headers"`
	HTML         string            `yaml:"html"`
	Text         string            `yaml:"text"`
}

// Config renders alertmanager.yml.
func Config(m watch.Model) ([]byte, error) {
	if err := check(m); err != nil {
		return nil, fmt.Errorf("rendering alertmanager.yml: %w", err)
	}
	c := config{Global: global{Resolve: "5m"}, Route: routes(m.Receivers), Inhibit: inhibitions(m), Receivers: receivers(m.Receivers)}
	if to := m.Receivers.Mail; to != nil {
		required, implicit := true, to.Server.TLS == smtp.Implicit
		c.Global.From, c.Global.Smarthost, c.Global.Username = to.Server.Sender, to.Server.Address(), to.Server.Username
		c.Global.PasswordFile, c.Global.RequireTLS, c.Global.ImplicitTLS = PasswordFile, &required, &implicit
	}
	var out bytes.Buffer
	out.WriteString(header)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("rendering alertmanager.yml: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// check returns everything that keeps messages from being sent.
func check(m watch.Model) error {
	p := validate.Of("alertmanager")
	p.Merge(m.Validate())
	switch m.Receivers.Webhook {
	case "", watch.Ntfy, watch.Alertmanager:
	default:
		p.Add("%q is no format of a webhook", string(m.Receivers.Webhook))
	}
	if to := m.Receivers.Mail; to != nil {
		p.Require(to.Recipient != "", "a mail has no recipient")
		for _, problem := range to.Server.Problems() {
			p.Add("mail server: %s", problem)
		}
	}
	return p.Err()
}

// routes decides who hears of an alert, and when. Alerts of one name and one service are one
// message. The first one waits for those that inhibit it: these fire earlier by at least a minute,
// so what remains is the time of an evaluation.
func routes(to watch.Receivers) route {
	operator, outside := Nobody, Nobody
	if to.Webhook != "" || to.Mail != nil {
		operator = Operator
	}
	if to.DeadMansSwitch {
		outside = Switch
	}
	return route{
		Receiver: operator, GroupBy: []string{"alertname", "service"},
		GroupWait: "1m", GroupInterval: "5m", RepeatInterval: "1d",
		Routes: []route{{
			// Outside, somebody waits for the next one: five minutes, and one more to be late.
			Receiver: outside, Matchers: []string{matcher("alertname", "=", rules.Watchdog)},
			GroupBy: []string{"alertname"}, GroupWait: "0s", GroupInterval: "1m", RepeatInterval: "5m",
		}, {
			// Each one by itself, and at once: a deployment waits for it.
			Receiver: operator, Matchers: []string{matcher("alertname", "=", TestAlert)},
			GroupBy: []string{"..."}, GroupWait: "0s", GroupInterval: "10s", RepeatInterval: "1d",
		}, {
			Receiver: operator, Matchers: []string{matcher("severity", "=", string(rules.Critical))},
			GroupWait: "30s", GroupInterval: "2m", RepeatInterval: "4h",
		}},
	}
}

// receivers are those that the routes name, and how each is reached.
func receivers(to watch.Receivers) []receiver {
	out := []receiver{{Name: Nobody}}
	operator := receiver{Name: Operator}
	if to.Webhook != "" {
		w := webhook{URLFile: WebhookFile, SendResolved: true, Timeout: "20s"}
		if to.Webhook == watch.Ntfy {
			w.MaxAlerts = maxAlerts
		}
		operator.Webhooks = []webhook{w}
	}
	if to.Mail != nil {
		operator.Mails = []mail{{
			To: to.Mail.Recipient, SendResolved: true, Text: mailText,
			Headers: map[string]string{"Subject": mailSubject},
		}}
	}
	if operator.Webhooks != nil || operator.Mails != nil {
		out = append(out, operator)
	}
	if to.DeadMansSwitch {
		out = append(out, receiver{Name: Switch, Webhooks: []webhook{{URLFile: SwitchFile, Timeout: "20s"}}})
	}
	return out
}

// What a mail says, in Alertmanager's templates.
const (
	mailSubject = `{{ if eq .Status "resolved" }}[ended]{{ else }}[{{ .CommonLabels.severity }}]{{ end }} {{ (index .Alerts 0).Annotations.summary }}` +
		`{{ if gt (len .Alerts) 1 }} (and {{ len (slice .Alerts 1) }} more){{ end }}`
	mailText = "{{ range .Alerts }}{{ if eq .Status \"resolved\" }}Ended: {{ end }}{{ .Annotations.summary }}\n\n{{ .Annotations.description }}\n\n" +
		"{{ .Labels.alertname }} of {{ .Labels.service }} since {{ .StartsAt }}\n\n{{ end }}"
)
