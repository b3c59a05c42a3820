package portal

import (
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"strings"

	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
)

// clearNotifications makes the file, empty.
func clearNotifications(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("preparing the notification file: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("preparing the notification file: %w", err)
	}
	return nil
}

// notify writes a message over the last one.
func (r *request) notify(user session.User, subject string, paragraphs ...string) error {
	to := mail.Address{Name: user.DisplayName, Address: user.Email}
	text := fmt.Sprintf("Date: %s\nRecipient: %s\nSubject: %s\n%s\n\n", r.now(), &to, subject, strings.Join(paragraphs, "\n\n"))
	if err := os.WriteFile(r.portal.config.Notifier.Filesystem.Filename, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the notification: %w", err)
	}
	return nil
}

// rule separates the code from the words around it, which is how a program finds it.
const rule = "----------------------------------------"

func (r *request) notifyCode(user session.User, code, revoke string) error {
	return r.notify(user, "Confirm your identity",
		fmt.Sprintf("Hi %s,", user.DisplayName),
		"Someone who is logged in as you, at "+r.addr.String()+", wants to change how you log in. To let it happen, enter this code:",
		rule, code, rule,
		"If it was not you, make the code useless here, and tell your administrator:", revoke)
}

// notifyEvent tells the user of a change. That it could not is no reason to fail.
func (r *request) notifyEvent(user session.User, event string) {
	err := r.notify(user, event, fmt.Sprintf("Hi %s,", user.DisplayName), event+" (One-Time Password), from "+r.addr.String()+".")
	if err != nil {
		r.log(logs.Error, err, "Error occurred sending notification to user '%s' while attempting to alert them of an important event", user.Username)
	}
}
