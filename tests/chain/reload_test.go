//go:build chain

package chain

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reloads is how often the proxy gets its configuration while it works.
const reloads = 10

// reload is what the deployment does after a change of the Caddyfile, and also without one.
func (s *stage) reload() error {
	_, err := s.Box("caddy").Exec(nil, "caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile", "--address", "unix//run/caddy/admin.sock", "--force")
	return err
}

// testReload reloads the proxy under load.
func testReload(t *testing.T, s *stage, session ticket) {
	var served, turned, leaked atomic.Int64
	wrong := make(chan string, 1) // the first thing that went wrong: what follows is the same
	report := func(format string, args ...any) {
		select {
		case wrong <- fmt.Sprintf(format, args...):
		default:
		}
	}
	var group sync.WaitGroup
	stop := make(chan struct{})
	for n := range 8 {
		protocol := []string{"h2", "http/1.1"}[n%2]
		known, anonymous := session.give(t, s.cloudflare.Browser(protocol)), s.cloudflare.Browser(protocol)
		condemnedOne := session.give(t, s.cloudflare.From(condemned).Browser(protocol))
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := known.Get(t.Context(), requests+"/quiet")
				switch {
				case err != nil:
					report("a visitor lost a request to a reload: %v", err)
				case a.Status != http.StatusOK:
					report("a visitor with a session got %d: %s", a.Status, a.Body)
				default:
					served.Add(1)
				}
				a, err = anonymous.Get(t.Context(), requests+"/quiet")
				switch {
				case err != nil:
					report("a visitor lost a request to a reload: %v", err)
				case a.Status != http.StatusFound:
					report("an anonymous visitor got %d: %s", a.Status, a.Body)
				default:
					turned.Add(1)
				}
				// A ban counts before and after, and in between.
				if a, err = condemnedOne.Get(t.Context(), requests+"/quiet"); err == nil && a.Status == http.StatusOK {
					leaked.Add(1)
				}
			}
		})
	}
	for range reloads {
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, s.reload())
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	group.Wait()
	close(wrong)
	for what := range wrong {
		assert.Fail(t, "a request failed during reloads", what)
	}
	t.Logf("%d reloads, %d requests served, %d anonymous ones turned away", reloads, served.Load(), turned.Load())
	assert.Zero(t, leaked.Load(), "requests of a banned visitor with a session that a reload let through")
	assert.Greater(t, served.Load(), int64(10*reloads))
	s.unreached(t, "during reloads")

	t.Run("a broken configuration leaves the old one running", func(t *testing.T) {
		_, err := s.Box("caddy").Exec(strings.NewReader("https://requests.example.com:8443 {\n\trespond \"open\"\n\tnonsense\n}\n"),
			"caddy", "reload", "--config", "-", "--adapter", "caddyfile", "--address", "unix//run/caddy/admin.sock", "--force")
		require.Error(t, err)
		a, err := s.cloudflare.Browser("h2").Get(t.Context(), requests+"/")
		s.toPortal(t, a, err)
	})
}
