package authelia

import (
	"fmt"

	"homelab/components/internal/smtp"
)

// mailTimeout is for how long the portal waits for the mail server. A visitor waits with it.
const mailTimeout = "5s"

// notifier returns how the portal's messages reach people.
func (m Model) notifier() (notifier, error) {
	if m.Mail == nil {
		return notifier{Filesystem: &filename{m.Paths.Notifications}}, nil
	}
	scheme, err := mailScheme(m.Mail.TLS)
	if err != nil {
		return notifier{}, err
	}
	return notifier{
		// The check would keep the portal from starting while the mail server is away, and lock
		// everybody out.
		DisableStartupCheck: true,
		SMTP: &smtpServer{
			Address: scheme + "://" + m.Mail.Address(), Timeout: mailTimeout, Username: m.Mail.Username, Sender: m.Mail.Sender,
			// The default, localhost, is refused by mail servers that look at the greeting.
			Identifier: m.Hostname,
			Subject:    "[" + m.Domain + "] {title}",
			TLS:        smtpTLS{ServerName: m.Mail.Host, MinimumVersion: "TLS1.2"},
		},
	}, nil
}

// mailScheme returns Authelia's name for how the connection is encrypted: both of them require it.
func mailScheme(mode smtp.TLS) (string, error) {
	switch mode {
	case smtp.StartTLS:
		return "submission", nil
	case smtp.Implicit:
		return "submissions", nil
	default:
		return "", fmt.Errorf("mail: %q is no way to encrypt the connection", mode)
	}
}
