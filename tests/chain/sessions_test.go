//go:build chain

package chain

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// refreshed is how long the portal may take to see what changed about a person who is logged in: it
// looks once a minute.
const refreshed = 65 * time.Second

// testNewPassword gives a person a new password, as an administrator does who heard of a stolen
// one, and later takes rights away.
func testNewPassword(t *testing.T, s *stage, family *person) {
	admin, guest := s.person(t, "admin"), s.person(t, "guest")
	both, half, remembered := s.cloudflare.From("203.0.113.150").Browser("h2"), s.cloudflare.From("203.0.113.151").Browser("h2"), s.cloudflare.From("203.0.113.152").Browser("h2")
	family.login(t, both)
	family.firstFactor(t, half)
	family.remembered(t, remembered)
	bystander, other := s.cloudflare.From("203.0.113.153").Browser("h2"), s.cloudflare.From("203.0.113.154").Browser("h2")
	admin.login(t, bystander)
	guest.firstFactor(t, other)
	for _, b := range []*visitor.Browser{both, bystander} {
		a, err := b.Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
	}
	require.Equal(t, "family", s.known(t, half))
	require.Equal(t, "family", s.known(t, remembered))

	const chosen = "a new password, said to nobody"
	require.NoError(t, s.Deployment.SetPassword(t.Context(), family.name, chosen))
	require.NoError(t, s.Deployment.Change(t.Context(), nil))
	s.StopContainer("authelia") // the users' file changed, so the deployment replaces its container
	require.NoError(t, s.StartContainer(t.Context(), "authelia"))
	var ended []string
	for _, e := range s.Deployment.Execs() {
		if strings.HasPrefix(e.Resource, "sessions-of-") {
			ended = append(ended, e.Resource)
		}
		_, err := s.Box(e.Container).Exec(strings.NewReader(e.Stdin), e.Command...)
		require.NoError(t, err, e.Resource)
	}
	require.Equal(t, []string{"sessions-of-family-ended"}, ended)

	t.Run("ends that person's sessions", func(t *testing.T) {
		a, err := both.Get(t.Context(), requests+"/")
		s.toPortal(t, a, err)
		for name, b := range map[string]*visitor.Browser{"both factors": both, "a password": half, "remembered": remembered} {
			assert.Empty(t, s.known(t, b), "a session with %s goes on", name)
		}
	})
	t.Run("and nobody else's", func(t *testing.T) {
		a, err := bystander.Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
		assert.Equal(t, "guest", s.known(t, other))
	})
	t.Run("the old password is worth nothing", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.155").Browser("h2")
		status, _, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{"username": family.name, "password": family.password}, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, status)
	})
	family.password = chosen
	t.Run("the new one opens the service, with the same app", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.156").Browser("h2")
		family.login(t, b)
		a, err := b.Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
	})
	t.Run("rights taken away are gone within a minute", func(t *testing.T) { testRightsTakenAway(t, s, bystander, other) })
}

// testRightsTakenAway removes the guest and takes the administrator out of the group of users,
// while both are logged in.
func testRightsTakenAway(t *testing.T, s *stage, admin, guest *visitor.Browser) {
	require.NoError(t, s.Deployment.Change(t.Context(), map[string]any{"homelab:users": []any{
		map[string]any{"name": "admin", "displayName": "Admin", "email": "admin@example.com", "groups": []any{"admins"}},
		map[string]any{"name": "family", "displayName": "Family", "email": "family@example.com", "groups": []any{"users"}},
	}}))
	began := time.Now()
	require.Eventually(t, func() bool {
		a, err := admin.Get(t.Context(), requests+"/")
		require.NoError(t, err)
		s.Service("jellyseerr").Take()
		return a.Status == http.StatusForbidden
	}, refreshed, time.Second, "a person who may no longer use the service still can")
	require.Eventually(t, func() bool {
		a, err := guest.Get(t.Context(), requests+"/")
		require.NoError(t, err)
		return a.Status == http.StatusFound && s.known(t, guest) == ""
	}, refreshed, time.Second, "a person who is no longer there is still logged in")
	t.Logf("it took %s", time.Since(began).Round(time.Second))
	s.unreached(t, "without rights")
}

// known is whom the portal takes the browser for; empty for nobody.
func (s *stage) known(t testing.TB, b *visitor.Browser) string {
	t.Helper()
	var state struct {
		Username string `json:"username"`
	}
	_, ok, err := post(t.Context(), b, http.MethodGet, "/api/state", nil, &state)
	require.NoError(t, err)
	require.True(t, ok, "the portal does not say who is logged in")
	return state.Username
}

// remembered makes the first step of a login, on a computer that asks to be remembered.
func (p *person) remembered(t testing.TB, b *visitor.Browser) {
	t.Helper()
	_, ok, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{
		"username": p.name, "password": p.password, "keepMeLoggedIn": true,
	}, nil)
	require.NoError(t, err)
	require.True(t, ok)
}
