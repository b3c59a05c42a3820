//go:build chain

package chain

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/echo"
	"homelab/tests/chain/internal/visitor"
)

// TestChain attacks one machine in one order: logins first, because later parts use their sessions;
// then what changes the machine.
func TestChain(t *testing.T) {
	s := set(t)
	family := s.person(t, "family")
	t.Run("deployment", func(t *testing.T) { testDeployment(t, s) })
	session := testLogin(t, s, family)
	if t.Failed() {
		t.Fatal("without logins nothing else says anything")
	}
	t.Run("handshake", func(t *testing.T) { testHandshake(t, s, session) })
	t.Run("headers", func(t *testing.T) { testHeaders(t, s, family, session) })
	t.Run("paths", func(t *testing.T) { testPaths(t, s, session) })
	t.Run("requests", func(t *testing.T) { testRequests(t, s, session) })
	t.Run("inspection", func(t *testing.T) { testUninspected(t, s, session) })
	t.Run("uploads", func(t *testing.T) { testUploads(t, s, session) })
	t.Run("hop by hop", func(t *testing.T) { testHopByHop(t, s, session) })
	t.Run("cookies", func(t *testing.T) { testCookies(t, s, session) })
	t.Run("caches", func(t *testing.T) { testCaches(t, s, session) })
	t.Run("logs", func(t *testing.T) { testLogs(t, s, session) })
	t.Run("addresses", func(t *testing.T) { testAddresses(t, s, session) })
	t.Run("memory", func(t *testing.T) { testMemory(t, s, family, session) })
	t.Run("a WebSocket ends with its session", func(t *testing.T) { testWebSocketEnds(t, s, family) })
	t.Run("portal", func(t *testing.T) { testPortal(t, s, family) })
	t.Run("enforcement", func(t *testing.T) { testEnforcement(t, s, family, session) })
	t.Run("second factors", func(t *testing.T) { testSecondFactors(t, s, session) })
	t.Run("reload", func(t *testing.T) { testReload(t, s, session) })
	t.Run("monitoring", func(t *testing.T) { testMonitoring(t, s) })
	t.Run("outage", func(t *testing.T) { testOutages(t, s, family, session) })
	// From here on the session of the beginning is over.
	t.Run("new password", func(t *testing.T) { testNewPassword(t, s, family) })
	t.Run("another configuration", func(t *testing.T) { testVariant(t, s, family) })
	t.Run("openid", func(t *testing.T) { testOpenID(t, s, family) })
}

// testDeployment runs what the deployment ran in the containers. On simulated clouds these commands
// did nothing.
func testDeployment(t *testing.T, s *stage) {
	execs := s.Deployment.Execs()
	require.NotEmpty(t, execs)
	for _, e := range execs {
		t.Run(e.Resource, func(t *testing.T) {
			_, err := s.Box(e.Container).Exec(strings.NewReader(e.Stdin), e.Command...)
			require.NoError(t, err, "up would have failed here")
		})
	}
	_, err := s.Box("caddy").Exec(nil, "caddy", "loaded-hosts", "--socket", "/run/caddy/admin.sock", "absent.example.com")
	require.Error(t, err, "the check of loaded hostnames passes for a hostname that has no route")
}

// unreached requires that no request came through to any service.
func (s *stage) unreached(t testing.TB, got string) {
	t.Helper()
	for _, name := range []string{"jellyseerr", "jellyfin", "radarr"} {
		for _, seen := range s.Service(name).Take() {
			assert.Fail(t, "an attacker got through", "%s: the service %s answered %s %s, as user %q", got, name, seen.Method, seen.URI, seen.Header.Get("Remote-User"))
		}
	}
}

// reached returns the one request that came through to the service.
func (s *stage) reached(t testing.TB, name string) echo.Seen {
	t.Helper()
	seen := s.Service(name).Take()
	require.Len(t, seen, 1, "how often the service was asked")
	return seen[0]
}

// refused requires that the answer, if one came, is not the service's, and that the service saw
// nothing.
func (s *stage) refused(t testing.TB, a *visitor.Answer, err error) {
	t.Helper()
	s.unreached(t, "refused")
	if err != nil {
		return
	}
	assert.NotContains(t, a.Body, `"Service"`, "an attacker got the service's page")
	assert.False(t, a.Status >= 200 && a.Status < 300, "an attacker got %d: %s", a.Status, a.Body)
}

// served requires the service's page.
func (s *stage) served(t testing.TB, service string, a *visitor.Answer, err error) echo.Seen {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Contains(t, a.Body, `"Service":"`+service+`"`)
	return s.reached(t, service)
}
