package smtp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheck(t *testing.T) {
	good := Server{Host: "smtp.example.com", Port: 587, TLS: StartTLS, Username: "homelab@example.com", Sender: "homelab@example.com"}
	assert.Empty(t, good.Check())
	assert.Equal(t, "smtp.example.com:587", good.Address())
	for name, c := range map[string]struct {
		change func(*Server)
		want   string
	}{
		"no host":            {func(s *Server) { s.Host = "" }, "host is missing: name the mail server, such as smtp.example.com"},
		"an address":         {func(s *Server) { s.Host = "203.0.113.7" }, "host \"203.0.113.7\" is not the name of a mail server"},
		"a URL":              {func(s *Server) { s.Host = "smtp://smtp.example.com" }, "is not the name of a mail server"},
		"one label":          {func(s *Server) { s.Host = "localhost" }, "is not the name of a mail server"},
		"a long host":        {func(s *Server) { s.Host = strings.Repeat("a.", 130) + "com" }, "is not the name of a mail server"},
		"no port":            {func(s *Server) { s.Port = 0 }, "port 0 is not a port"},
		"a port too high":    {func(s *Server) { s.Port = 65536 }, "port 65536 is not a port"},
		"no encryption":      {func(s *Server) { s.TLS = "none" }, `tls "none" is not a way to encrypt the connection: use one of starttls, implicit`},
		"no login":           {func(s *Server) { s.Username = " " }, "username is missing"},
		"a login of lines":   {func(s *Server) { s.Username = "a\nb" }, "control character"},
		"no sender":          {func(s *Server) { s.Sender = "" }, "sender is missing"},
		"a sender by name":   {func(s *Server) { s.Sender = "Homelab <homelab@example.com>" }, "without a display name"},
		"no sender's domain": {func(s *Server) { s.Sender = "homelab" }, `sender "homelab" is not a mail address`},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			c.change(&s)
			problems := s.Problems()
			assert.Len(t, problems, 1)
			assert.Contains(t, strings.Join(problems, "\n"), c.want)
		})
	}
	assert.Len(t, Server{}.Check(), 5)
}

func TestDefaultPorts(t *testing.T) {
	assert.Equal(t, 587, StartTLS.DefaultPort())
	assert.Equal(t, 465, Implicit.DefaultPort())
	assert.Zero(t, TLS("none").DefaultPort())
}
