//go:build chain

package chain

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
)

// testMonitoring lets the monitoring of the same deployment watch the chain: it sees what happens,
// and tells the operator of a cause once.
func testMonitoring(t *testing.T, s *stage) {
	w := s.watch(t)
	t.Logf("the monitoring is up after %s", time.Since(w.began).Round(time.Second))
	t.Run("every target is up", w.testTargets)
	t.Run("certificates", w.testCertificates)
	t.Run("an attack", w.testAttack)
	t.Run("a login that fails", w.testFailedLogin)
	t.Run("an outage", w.testOutage)
}

func (w *watching) testTargets(t *testing.T) {
	var out struct {
		Data struct {
			Active []struct {
				Pool   string `json:"scrapePool"`
				Health string `json:"health"`
				Error  string `json:"lastError"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		w.api(c, "targets?state=active", &out)
		pools := map[string]bool{}
		for _, target := range out.Data.Active {
			assert.Equal(c, "up", target.Health, "%s: %s", target.Pool, target.Error)
			pools[target.Pool] = true
		}
		for _, name := range []string{"alertmanager", "authelia", "blackbox", "caddy", "certificates", "crowdsec", "home", "node-exporter", "prometheus"} {
			assert.True(c, pools[name], "%s is a target, and its program runs", name)
		}
		assert.Greater(c, len(pools), 12)
	}, 20*time.Second, 500*time.Millisecond)
}

// testCertificates looks at what is measured at the two listeners. The one for the internet asks for
// a client certificate, which the exporter has not.
func (w *watching) testCertificates(t *testing.T) {
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		measured := map[string]bool{}
		for _, s := range w.query(c, "probe_success") {
			assert.InDelta(c, 1, s.value, 0, "%v", s.labels)
			measured[s.labels["hostname"]] = true
		}
		for _, hostname := range []string{"auth.example.com", "grafana.example.com", "home.example.com", "jellyfin.example.com", "requests.example.com"} {
			assert.True(c, measured[hostname], "%s is not measured", hostname)
		}
		// Caddy's own authority signs for twelve hours.
		left := w.query(c, "probe_ssl_earliest_cert_expiry - time()")
		assert.Len(c, left, len(measured))
		for _, s := range left {
			assert.Greater(c, s.value, time.Hour.Seconds(), "%v", s.labels)
			assert.Less(c, s.value, (13 * time.Hour).Seconds(), "%v", s.labels)
		}
	}, 20*time.Second, 500*time.Millisecond)
	answer, err := w.cloudflare.Browser("h2").Get(t.Context(), requests+"/")
	require.NoError(t, err)
	assert.Less(t, answer.Status, 500, "the listener that was measured serves who has the certificate")
}

// testAttack attacks as a visitor, and finds it in the series of the proxy and of CrowdSec.
func (w *watching) testAttack(t *testing.T) {
	const (
		blocked = `homelab_guard_inspections_total{verdict="block"}`
		engine  = "cs_appsec_block_total"
		refused = `homelab_guard_response_duration_seconds_count{code="4xx",hostname=~"(auth|requests).example.com",server="public"}`
	)
	before := map[string]float64{}
	for _, expr := range []string{blocked, engine, refused} {
		before[expr] = w.total(t, expr)
	}
	attacks := []visitor.Request{
		{URL: requests + "/.env"}, {URL: requests + "/x?q=1+UNION%20SELECT+2"}, {URL: requests + "/.env"},
		{Method: http.MethodPost, URL: portal + "/api/firstfactor", Body: attack},
	}
	for _, r := range attacks {
		answer, err := w.cloudflare.From("203.0.113.90").Browser("h2").Do(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, answer.Status, "%s", r.URL)
	}
	w.unreached(t, "an attack")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for expr, was := range before {
			assert.GreaterOrEqual(c, w.total(c, expr), was+float64(len(attacks)), expr)
		}
	}, 10*time.Second, 500*time.Millisecond)
}

// testFailedLogin finds logins that fail where the alert looks for them. The first one makes the
// series, so it takes two.
func (w *watching) testFailedLogin(t *testing.T) {
	counted := w.expression(t, "LoginsFail")
	b := w.cloudflare.From("203.0.113.91").Browser("h2")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, ok, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{"username": "nobody", "password": "guessed"}, nil)
		require.NoError(c, err)
		require.False(c, ok)
		assert.Positive(c, w.total(c, counted), "the alert does not see them: %s", counted)
	}, 20*time.Second, 2*time.Second)
}

// testOutage takes CrowdSec away while visitors come, and gives it back.
func (w *watching) testOutage(t *testing.T) {
	require.Empty(t, w.operator.messages(), "nothing is wrong yet")
	leave := w.visit(t.Context())
	began := time.Now()
	w.StopContainer("crowdsec")
	w.down.Store("crowdsec", true)

	cause := []string{"firing ServiceDown of crowdsec"}
	require.Eventually(t, func() bool { return len(w.operator.messages()) > 0 }, 20*time.Second, 100*time.Millisecond, "nobody is told")
	t.Logf("the operator is told after %s", time.Since(began).Round(100*time.Millisecond))
	require.Equal(t, cause, w.operator.messages())
	consequences := []string{
		"AppSecNoVerdict of crowdsec", "BouncerNotPulling of crowdsec", "ProxyErrors of caddy", "ServiceErrors of jellyseerr", "TargetDown of crowdsec",
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		firing := w.firing(c)
		for _, consequence := range consequences {
			assert.Contains(c, firing, consequence)
		}
	}, 40*time.Second, 500*time.Millisecond, "what does not fire is not inhibited")
	t.Logf("everything that follows from it fires after %s", time.Since(began).Round(100*time.Millisecond))
	time.Sleep(3 * time.Second) // a warning's group_wait, and some evaluations
	require.Equal(t, cause, w.operator.messages(), "one cause is one message")

	leave() // their waits are not shorter here, so they would show the outage when it is long over
	began = time.Now()
	require.NoError(t, w.StartContainer(t.Context(), "crowdsec"))
	require.NoError(t, w.Inspecting(t.Context()))
	w.down.Delete("crowdsec")
	defer w.visit(t.Context())()
	ended := append(slices.Clone(cause), "resolved ServiceDown of crowdsec")
	require.Eventually(t, func() bool { return len(w.operator.messages()) > 1 }, 40*time.Second, 100*time.Millisecond, "its end is not told")
	t.Logf("its end is told after %s", time.Since(began).Round(100*time.Millisecond))
	require.Equal(t, ended, w.operator.messages())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		firing := w.firing(c)
		for _, consequence := range consequences {
			assert.NotContains(c, firing, consequence)
		}
	}, 40*time.Second, 500*time.Millisecond)
	time.Sleep(3 * time.Second)
	assert.Equal(t, ended, w.operator.messages(), "what followed from it is told when it is over")
	assert.Contains(t, w.operator.at[0], "template=yes", "ntfy is told how to read the message")
	w.Service("jellyseerr").Take()
}

// visit lets a visitor come twenty times a second, until leave is called: without CrowdSec each of
// them waits for some seconds.
func (w *watching) visit(ctx context.Context) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var visitors sync.WaitGroup
	visitors.Go(func() {
		for ctx.Err() == nil {
			visitors.Go(func() { _, _ = w.cloudflare.From("203.0.113.92").Browser("h2").Get(ctx, requests+"/quiet") })
			time.Sleep(50 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		visitors.Wait()
	}
}

// firing are the alerts that fire, as "alert of service", without the one that always does.
func (w *watching) firing(t require.TestingT) []string {
	var out []string
	for _, a := range w.query(t, `ALERTS{alertstate="firing",alertname!="Watchdog"}`) {
		out = append(out, a.labels["alertname"]+" of "+a.labels["service"])
	}
	return out
}

// limit is what an expression is compared with at its end.
var limit = regexp.MustCompile(` > [0-9.]+$`)

// expression is what a rule measures, without the limit that it compares it with.
func (w *watching) expression(t *testing.T, alert string) string {
	t.Helper()
	var out struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name  string `json:"name"`
					Query string `json:"query"`
				} `json:"rules"`
			} `json:"groups"`
		} `json:"data"`
	}
	w.api(t, "rules?type=alert", &out)
	for _, group := range out.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Name == alert {
				return limit.ReplaceAllString(rule.Query, "")
			}
		}
	}
	require.Fail(t, "there is no alert "+alert)
	return ""
}
