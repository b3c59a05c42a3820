//go:build chain

package chain

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/deployed"
	"homelab/tests/chain/internal/lab"
	"homelab/tests/chain/internal/visitor"
	"homelab/tests/internal/netns"
)

// Hostnames of the production example.
const (
	portal   = "https://auth.example.com"
	requests = "https://requests.example.com" // public, two factors, group users
	films    = "https://jellyfin.example.com" // tailnet, its own login
)

// Ports of the proxy's two listeners, in its container.
const (
	publicPort  = 8443
	tailnetPort = 9443
)

// Addresses of computers around the machine. Cloudflare's and the tailnet's lie in their ranges,
// the others in those for documentation.
const (
	cloudflareAddress = "173.245.48.10/24"
	tailnetAddress    = "100.64.7.7/24"
	strangerAddress   = "198.51.100.66/24"
)

// A visitor behind Cloudflare who never does anything wrong.
const goodVisitor = "203.0.113.10"

// stage is the machine, and the places around it.
type stage struct {
	*lab.Lab
	// cloudflare enters the public listener with the certificate of our zone.
	cloudflare visitor.Place
	// tailnet enters the tailnet's listener.
	tailnet visitor.Place
	// stranger is on the internet beside Cloudflare, with no certificate.
	stranger visitor.Place
	// authority is the proxy's own one.
	authority *x509.CertPool
	// passwords are the first ones, generated or chosen, by login.
	passwords map[string]string
	// people are those who were asked for.
	people map[string]*person
}

func TestMain(m *testing.M) {
	box.Enter()
	os.Exit(m.Run())
}

// everyone is the production example's users and one who is in no group that any service lets in.
var everyone = map[string]any{
	"homelab:users": []any{
		map[string]any{"name": "admin", "displayName": "Admin", "email": "admin@example.com", "groups": []any{"admins", "users"}},
		map[string]any{"name": "family", "displayName": "Family", "email": "family@example.com", "groups": []any{"users"}},
		map[string]any{"name": "guest", "displayName": "Guest", "email": "guest@example.com", "groups": []any{"guests"}},
	},
}

// filesPath is where both services take files.
const filesPath = "/files"

// uploads are what the tests add to the production example's services.
func uploads() map[string]any {
	of := func(megabytes int) map[string]any {
		return map[string]any{"uploads": []any{
			map[string]any{"path": filesPath, "methods": []any{"POST", "PUT"}, "maxMB": megabytes, "reason": "the chain test sends files"},
		}}
	}
	return map[string]any{"jellyseerr": of(100), "jellyfin": of(2000)}
}

// set starts the machine.
func set(t testing.TB) *stage {
	t.Helper()
	require.Zero(t, os.Getuid(), "the chain test needs root: it makes network namespaces")
	began := time.Now()
	changes := maps.Clone(everyone)
	changes["homelab:services"] = uploads()
	l, err := lab.Start(t.Context(), changes, withLocalAuthority, os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"caddy", "authelia", "crowdsec", "authelia-store"} {
				t.Logf("the end of the log of %s:\n%s", name, l.Log(name))
			}
		}
		require.NoError(t, l.Close())
	})
	t.Logf("the portal is %s", l.Programs.AutheliaIs)
	s := &stage{Lab: l, people: map[string]*person{}}
	s.passwords, err = l.Deployment.Passwords(t.Context())
	require.NoError(t, err)
	for name, password := range deployed.Chosen() {
		require.NotContains(t, s.passwords, name, "the stack's output shows a password that the operator chose")
		s.passwords[name] = password
	}
	require.NoError(t, s.surround(t.Context()))
	t.Logf("the machine is up after %s", time.Since(began).Round(time.Second))
	return s
}

// surround makes the places around the machine.
func (s *stage) surround(ctx context.Context) error {
	if err := s.trustAuthority(ctx); err != nil {
		return err
	}
	certificate, key, err := s.Deployment.ClientCertificate()
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		return fmt.Errorf("reading the client certificate: %w", err)
	}
	outside := map[string]*netns.Namespace{}
	for name, address := range map[string]string{"cloudflare": cloudflareAddress, "tailnet": tailnetAddress, "stranger": strangerAddress} {
		if outside[name], err = s.Outside(name, netip.MustParsePrefix(address)); err != nil {
			return err
		}
	}
	public := s.Address("caddy", publicPort)
	s.cloudflare = visitor.Place{
		Dial: outside["cloudflare"].DialContext, Listener: public, Roots: s.authority, Certificate: &pair, Cloudflare: true, Visitor: goodVisitor,
	}
	s.tailnet = visitor.Place{Dial: outside["tailnet"].DialContext, Listener: s.Address("caddy", tailnetPort), Roots: s.authority}
	s.stranger = visitor.Place{Dial: outside["stranger"].DialContext, Listener: public, Roots: s.authority}
	return nil
}

// trustAuthority reads the proxy's authority, which it makes at its first start.
func (s *stage) trustAuthority(ctx context.Context) error {
	for {
		text, err := os.ReadFile(s.authorityFile())
		if err == nil {
			s.authority = x509.NewCertPool()
			if !s.authority.AppendCertsFromPEM(text) {
				return fmt.Errorf("no certificate in %s", s.authorityFile())
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// authorityFile is where the proxy keeps the certificate of its authority.
func (s *stage) authorityFile() string {
	return s.Deployment.Path("/opt/homelab/caddy/data/caddy/pki/authorities/local/root.crt")
}

// withLocalAuthority is an edit of a rendered file: the proxy gets its certificates from an
// authority of its own, because the real one is on the internet. The deployed file's owner and mode
// stay.
func withLocalAuthority(d *deployed.Deployment) error {
	const rendered, local = "\tacme_dns cloudflare {file./run/secrets/cloudflare-acme-token}\n", "\tlocal_certs\n\tskip_install_trust\n"
	path := d.Path("/opt/homelab/caddy/config/Caddyfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Count(text, []byte(rendered)) != 1 {
		return fmt.Errorf("%s does not say %q once: the chain test would not know what it replaces", path, rendered)
	}
	return os.WriteFile(path, bytes.Replace(text, []byte(rendered), []byte(local), 1), 0)
}
