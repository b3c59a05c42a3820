package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

const (
	// DefaultEnforcement is the URL behind which there is nothing but the layers of every site.
	DefaultEnforcement = "http://127.0.0.1:8082"
	// DefaultPatience is how long a decision may take to have an effect.
	DefaultPatience = 45 * time.Second

	// clientHeader says, to this one listener, who is asking.
	clientHeader = "Probe-Client"
	// attack is a path that CrowdSec's collection appsec-virtual-patching blocks
	// (vpatch-env-access).
	attack = "/.env"

	probePause = 500 * time.Millisecond
)

// Enforces returns nil once the running proxy refuses banned, an address that CrowdSec has decided
// against, blocks an attack, and serves a harmless request; or an error that says what it did
// instead, after a while.
func Enforces(ctx context.Context, url, banned string, patience time.Duration) error {
	if _, err := netip.ParseAddr(banned); err != nil {
		return fmt.Errorf("the banned address: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := enforces(ctx, url, banned)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("for %s the proxy has not enforced what CrowdSec decides: %w", patience, err)
		case <-time.After(probePause):
		}
	}
}

func enforces(ctx context.Context, url, banned string) error {
	// An attacker of earlier checks may be banned by now, so each has an address that nobody had.
	stranger := documentation()
	var problems []error
	for _, c := range []struct {
		what, path, client string
		want               int
	}{
		{"a harmless request", "/", stranger, http.StatusNoContent},
		{"a banned address", "/", banned, http.StatusForbidden},
		{"an attack", attack, stranger, http.StatusForbidden},
	} {
		status, err := as(ctx, url+c.path, c.client)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", c.what, err))
		case status != c.want:
			problems = append(problems, fmt.Errorf("%s got %d, not %d", c.what, status, c.want))
		}
	}
	return errors.Join(problems...)
}

// documentation returns a random address of the range for documentation (RFC 3849): no visitor has
// it.
func documentation() string {
	address := netip.MustParseAddr("2001:db8::1").As16()
	_, _ = rand.Read(address[4:8]) // it never fails
	return netip.AddrFrom16(address).String()
}

func as(ctx context.Context, url, client string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set(clientHeader, client)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
