// Package smtp describes the mail server that the deployment sends its messages through.
package smtp

import (
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// TLS is how a connection to the mail server is encrypted. There is no mode without encryption.
type TLS string

// The modes there are, named as in mail programs.
const (
	// StartTLS begins in plain text and must switch to TLS before anything else is sent (RFC 6409).
	StartTLS TLS = "starttls"
	// Implicit uses TLS from the first byte (RFC 8314).
	Implicit TLS = "implicit"
)

// Modes returns every mode there is.
func Modes() []TLS { return []TLS{StartTLS, Implicit} }

// Valid reports whether t is one of Modes.
func (t TLS) Valid() bool { return slices.Contains(Modes(), t) }

// DefaultPort returns the TCP port that the mode's RFC assigns, or 0 for an unknown mode.
func (t TLS) DefaultPort() int {
	switch t {
	case StartTLS:
		return 587
	case Implicit:
		return 465
	default:
		return 0
	}
}

// Server is a mail server that takes messages from a user with a password. The password is not part
// of it.
type Server struct {
	// Host is the server's DNS name, which its certificate must hold; required.
	Host string
	// Port is the TCP port; required.
	Port int
	// TLS is how the connection is encrypted; required.
	TLS TLS
	// Username is the login; required.
	Username string
	// Sender is the address messages come from, such as homelab@example.com; required.
	Sender string
}

// Address returns host:port.
func (s Server) Address() string { return s.Host + ":" + strconv.Itoa(s.Port) }

// Problem is one thing wrong with a Server.
type Problem struct {
	// Field is the field at fault, spelled as in the stack's configuration: host, port, tls,
	// username, sender.
	Field string
	// What is wrong with the value seen.
	What string
	// Remedy is what to do about it.
	Remedy string
}

// String returns the problem on one line.
func (p Problem) String() string { return fmt.Sprintf("%s %s: %s", p.Field, p.What, p.Remedy) }

// hostName is a DNS name of at least two labels in lower case.
var hostName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Check returns everything wrong with s, in the order of its fields.
func (s Server) Check() []Problem {
	var out []Problem
	add := func(field, what, remedy string) { out = append(out, Problem{field, what, remedy}) }
	switch {
	case s.Host == "":
		add("host", "is missing", "name the mail server, such as smtp.example.com")
	case len(s.Host) > 253 || !hostName.MatchString(s.Host):
		add("host", fmt.Sprintf("%.80q is not the name of a mail server", s.Host),
			"write its DNS name in lower case, such as smtp.example.com")
	}
	if s.Port < 1 || s.Port > 65535 {
		add("port", fmt.Sprintf("%d is not a port", s.Port),
			"use the mail server's port, usually 587 for starttls and 465 for implicit")
	}
	if !s.TLS.Valid() {
		add("tls", fmt.Sprintf("%.80q is not a way to encrypt the connection", string(s.TLS)),
			fmt.Sprintf("use one of %s, %s", StartTLS, Implicit))
	}
	switch {
	case strings.TrimSpace(s.Username) == "":
		add("username", "is missing", "give the login at the mail server")
	case strings.TrimSpace(s.Username) != s.Username || strings.ContainsFunc(s.Username, unicode.IsControl):
		add("username", "begins or ends with white space, or holds a control character",
			"write the login as the mail provider shows it")
	}
	if s.Sender == "" {
		add("sender", "is missing", "give the address messages come from, such as homelab@example.com")
	} else if a, err := mail.ParseAddress(s.Sender); err != nil || a.Address != s.Sender || len(s.Sender) > 254 {
		add("sender", fmt.Sprintf("%.80q is not a mail address", s.Sender),
			"write it as name@example.com, without a display name")
	}
	return out
}

// Problems returns everything wrong with s, one line each; none means valid.
func (s Server) Problems() []string {
	var out []string
	for _, p := range s.Check() {
		out = append(out, p.String())
	}
	return out
}
