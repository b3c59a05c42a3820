//go:build chain

package chain

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testSecondFactors guesses codes with a password that was stolen, from so many addresses that no
// limit for one of them is ever reached.
func testSecondFactors(t *testing.T, s *stage, session ticket) {
	admin := s.person(t, "admin")
	require.NotEmpty(t, admin.secret, "the administrator has no second factor that somebody could guess")
	// The last ones are an IPv6 visitor, who is his network, and a Worker of somebody else's zone,
	// whose address lies among Cloudflare's.
	visitors := map[string]string{
		"203.0.113.140": "203.0.113.140", "203.0.113.141": "203.0.113.141", "203.0.113.142": "203.0.113.142",
		"2001:db8:7:1:a:b:c:d": "2001:db8:7:1::", "2a06:98c0:3600::103": "2a06:98c0:3600::",
	}
	for address := range visitors {
		b := s.cloudflare.From(address).Browser("h2")
		admin.firstFactor(t, b)
		status, ok, err := post(t.Context(), b, http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": "000000"}, nil)
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, http.StatusForbidden, status)
	}
	for address, banned := range visitors {
		t.Run(address+" is banned", func(t *testing.T) {
			s.decided(t, banned, "homelab/second-factor")
		})
	}
	t.Run("the bans hold", func(t *testing.T) {
		s.banned(t, s.cloudflare.From("203.0.113.141"), session)
		s.banned(t, s.cloudflare.From("203.0.113.142"), session)
		s.banned(t, s.cloudflare.From("2a06:98c0:3600::103"), session)
	})
	t.Run("an IPv6 visitor is banned with all his addresses, and his neighbour is not", func(t *testing.T) {
		s.banned(t, s.cloudflare.From("2001:db8:7:1:a:b:c:d"), session)
		s.banned(t, s.cloudflare.From("2001:db8:7:1::99"), session)
		a, err := session.give(t, s.cloudflare.From("2001:db8:7:2::1").Browser("h2")).Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
	})
	t.Run("an IPv6 visitor cannot guess passwords from address to address", func(t *testing.T) {
		family := s.person(t, "family")
		login := func(address, password string) (status int, ok bool) {
			status, ok, err := post(t.Context(), s.cloudflare.From(address).Browser("h2"), http.MethodPost, "/api/firstfactor", map[string]any{
				"username": family.name, "password": password,
			}, nil)
			require.NoError(t, err)
			return status, ok
		}
		for n := range 5 {
			status, ok := login(fmt.Sprintf("2001:db8:8:1::%x", n+1), "a guess")
			require.False(t, ok)
			require.Equal(t, http.StatusUnauthorized, status)
		}
		_, ok := login("2001:db8:8:1:ffff::1", family.password)
		assert.False(t, ok, "five guesses from five addresses of one visitor, and the portal goes on")
		status, ok := login("2001:db8:8:2::1", family.password)
		assert.True(t, ok, "the neighbour pays for it: %d", status)
	})
	t.Run("the owner is not locked out", func(t *testing.T) {
		b := s.cloudflare.From("203.0.113.143").Browser("h2")
		admin.login(t, b)
		a, err := b.Get(t.Context(), portal+"/api/state")
		require.NoError(t, err)
		assert.Contains(t, a.Body, `"username":"admin"`)
		assert.Contains(t, a.Body, `"authentication_level":2`)
	})
}
