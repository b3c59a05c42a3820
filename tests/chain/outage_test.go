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

// closed requires that nobody gets in, with or without a session.
func (s *stage) closed(t *testing.T, session ticket) {
	t.Helper()
	for who, b := range map[string]*visitor.Browser{"with a session": session.give(t, s.cloudflare.Browser("h2")), "anonymous": s.cloudflare.Browser("h2")} {
		a, err := b.Get(t.Context(), requests+"/outage")
		s.refused(t, a, err)
		if err != nil {
			t.Logf("%s: %v", who, err)
		} else {
			t.Logf("%s: %d", who, a.Status)
		}
	}
}

// open requires that the session opens the service again, and waits for it.
func (s *stage) open(t *testing.T, session ticket) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		a, err := session.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/recovered")
		if assert.NoError(c, err) {
			assert.Equal(c, http.StatusOK, a.Status, "%s", a.Body)
		}
	}, 30*time.Second, 250*time.Millisecond)
	s.Service("jellyseerr").Take()
}

// frozen runs f while a container answers nothing and hangs up on nobody.
func (s *stage) frozen(t *testing.T, name string, f func()) {
	t.Helper()
	require.NoError(t, s.Box(name).Freeze())
	defer func() { require.NoError(t, s.Box(name).Thaw()) }()
	f()
}

// testOutages takes one part after the other away.
func testOutages(t *testing.T, s *stage, family *person, session ticket) {
	t.Run("the service", func(t *testing.T) {
		s.StopService("jellyseerr")
		s.closed(t, session)
		a, err := s.cloudflare.Browser("h2").Get(t.Context(), requests+"/")
		s.toPortal(t, a, err)
		require.NoError(t, s.StartService("jellyseerr"))
		s.open(t, session)
	})
	t.Run("the portal hangs", func(t *testing.T) {
		s.frozen(t, "authelia", func() { s.closed(t, session) })
		s.open(t, session)
	})
	t.Run("the portal is down", func(t *testing.T) {
		s.StopContainer("authelia")
		s.closed(t, session)
		a, err := s.tailnet.Browser("h2").Get(t.Context(), films+"/")
		s.served(t, "jellyfin", a, err)
		require.NoError(t, s.StartContainer(t.Context(), "authelia"))
		s.open(t, session)
	})
	t.Run("the session store hangs", func(t *testing.T) {
		s.frozen(t, "authelia-store", func() { s.closed(t, session) })
		s.open(t, session)
	})
	t.Run("detection hangs", func(t *testing.T) {
		s.frozen(t, "crowdsec", func() {
			s.closed(t, session)
			a, err := s.tailnet.Browser("h2").Get(t.Context(), films+"/")
			s.refused(t, a, err)
		})
		s.open(t, session)
	})
	t.Run("detection is down", func(t *testing.T) {
		s.StopContainer("crowdsec")
		s.closed(t, session)
		a, err := s.tailnet.Browser("h2").Get(t.Context(), films+"/")
		s.refused(t, a, err)
		require.NoError(t, s.StartContainer(t.Context(), "crowdsec"))
		require.NoError(t, s.Inspecting(t.Context()))
		s.open(t, session)
	})
	t.Run("decisions cannot be fetched", func(t *testing.T) { testDecisionsOutage(t, s, session) })
	t.Run("requests cannot be inspected", func(t *testing.T) {
		require.NoError(t, s.refusePort("crowdsec", "7422"))
		s.closed(t, session)
		require.NoError(t, s.refusePort("crowdsec", ""))
		s.open(t, session)
	})
	t.Run("the session store is down", func(t *testing.T) {
		s.StopContainer("authelia-store")
		s.closed(t, session)
		b := s.cloudflare.From("203.0.113.40").Browser("h2")
		status, _, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{"username": family.name, "password": family.password}, nil)
		require.NoError(t, err)
		assert.NotEqual(t, http.StatusOK, status, "a login without a place for sessions succeeds")
		require.NoError(t, s.StartContainer(t.Context(), "authelia-store"))
		t.Run("and forgot everybody", func(t *testing.T) {
			a, err := session.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/")
			s.refused(t, a, err)
			again := s.cloudflare.From("203.0.113.41").Browser("h2")
			// The portal finds out one by one that its connections to the store are dead.
			require.Eventually(t, func() bool {
				_, ok, err := post(t.Context(), again, http.MethodPost, "/api/firstfactor", map[string]any{"username": family.name, "password": family.password}, nil)
				return ok && err == nil
			}, 20*time.Second, 100*time.Millisecond)
			family.secondFactor(t, again)
			s.open(t, ticketOf(t, again))
		})
	})
}

// testDecisionsOutage closes the local API alone: the proxy goes on with the decisions it has,
// which is documented, and a restart of the proxy meanwhile leaves it without any. AppSec and the
// portal still stand in front of every service then.
func testDecisionsOutage(t *testing.T, s *stage, session ticket) {
	s.condemn(t)
	s.banned(t, s.cloudflare.From(condemned), session)
	require.NoError(t, s.refusePort("crowdsec", "8080"))
	time.Sleep(12 * time.Second) // more than one round of asking for news
	a, err := session.give(t, s.cloudflare.From(condemned).Browser("h2")).Get(t.Context(), requests+"/")
	s.refused(t, a, err)
	assert.Equal(t, http.StatusForbidden, a.Status, "bans end with the local API")
	a, err = s.cloudflare.Browser("h2").Get(t.Context(), requests+"/")
	s.toPortal(t, a, err)
	a, err = s.cloudflare.From("203.0.113.33").Browser("h2").Get(t.Context(), requests+"/.env")
	s.refused(t, a, err)
	require.NoError(t, s.refusePort("crowdsec", ""))
	s.open(t, session)
}

// refusePort makes a container's port refuse connections, also those that are open; an empty port
// ends that.
func (s *stage) refusePort(container, port string) error {
	rules := "flush ruleset\n"
	if port != "" {
		rules += "table inet outage { chain input { type filter hook input priority 0; tcp dport " + port + " reject with tcp reset; }; }\n"
	}
	return s.Inside(container).Run(strings.NewReader(rules), "nft", "-f", "-")
}
