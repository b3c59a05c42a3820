package edge

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// said is an answer of the API.
type said struct {
	Success bool
	Errors  []struct {
		Code    int
		Message string
	}
	Result json.RawMessage
}

// call asks the API, with a token.
func (s *stage) call(method, path, body string) (int, said) {
	s.Helper()
	r := httptest.NewRequest(method, "https://"+APIHost+"/client/v4"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer token")
	w := httptest.NewRecorder()
	s.edge.API().ServeHTTP(w, r)
	var out said
	require.NoError(s, json.Unmarshal(w.Body.Bytes(), &out), w.Body.String())
	assert.Equal(s, w.Code == http.StatusOK, out.Success)
	return w.Code, out
}

func result[T any](t *testing.T, answer said) (out T) {
	t.Helper()
	require.True(t, answer.Success, "%+v", answer.Errors)
	require.NoError(t, json.Unmarshal(answer.Result, &out))
	return out
}

const access = "/zones/0/firewall/access_rules/rules"

// As Fail2ban's action asks.
func TestAVisitorWhoIsBannedIsKeptOut(t *testing.T) {
	s := newStage(t, nil)
	var kept []Told
	s.edge.options.Keep = func(told Told) error { kept = append(kept, told); return nil }
	banned, neighbour := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	_, answer := s.call("POST", access, `{"mode": "block", "configuration": {"target": "ip", "value": "203.0.113.7"}, "notes": "homelab fail2ban sshd"}`)
	rule := result[AccessRule](t, answer)
	code, answer := s.call("POST", access, `{"mode": "block", "configuration": {"target": "ip", "value": "203.0.113.7"}}`)
	assert.Equal(t, http.StatusBadRequest, code)
	assert.Equal(t, 10009, answer.Errors[0].Code)
	_, answer = s.call("POST", access, `{"mode": "managed_challenge", "configuration": {"target": "ip_range", "value": "2001:db8:5::/64"}}`)
	_ = result[AccessRule](t, answer)

	got := s.ask(banned, http.MethodGet, "https://"+host+"/")
	assert.Equal(t, http.StatusForbidden, got.StatusCode)
	assert.Equal(t, "error code: 1006\n", body(t, got))
	got = s.ask(netip.MustParseAddr("2001:db8:5::99"), http.MethodGet, "https://"+host+"/")
	assert.Equal(t, http.StatusForbidden, got.StatusCode)
	assert.Equal(t, "challenge", got.Header.Get("Cf-Mitigated"))
	assert.Empty(t, s.seen)
	assert.Equal(t, http.StatusOK, s.ask(neighbour, http.MethodGet, "https://"+host+"/").StatusCode)
	assert.Equal(t, []string{"2001:db8:5::/64", "203.0.113.7"}, s.edge.Edge().Banned)

	query := "?" + url.Values{"configuration.target": {"ip"}, "configuration.value": {"203.0.113.7"}, "per_page": {"100"}}.Encode()
	_, answer = s.call("GET", access+query, "")
	assert.Equal(t, []AccessRule{rule}, result[[]AccessRule](t, answer))
	_, answer = s.call("PATCH", access+"/"+rule.ID, `{"mode": "block", "notes": "homelab fail2ban recidive"}`)
	assert.Equal(t, "homelab fail2ban recidive", result[AccessRule](t, answer).Notes)
	require.Len(t, kept, 3)
	_, answer = s.call("DELETE", access+"/"+rule.ID, "")
	assert.True(t, answer.Success)
	assert.Equal(t, http.StatusOK, s.ask(banned, http.MethodGet, "https://"+host+"/").StatusCode, "the ban is over")
	code, _ = s.call("DELETE", access+"/"+rule.ID, "")
	assert.Equal(t, http.StatusNotFound, code)

	s.edge.Recall(kept[0])
	assert.Equal(t, http.StatusForbidden, s.ask(banned, http.MethodGet, "https://"+host+"/").StatusCode, "as it was kept")
	s.edge.options.Keep = func(Told) error { return errors.New("the disk is full") }
	code, answer = s.call("DELETE", access+"/"+rule.ID, "")
	assert.Equal(t, http.StatusInternalServerError, code)
	assert.Equal(t, "the disk is full", answer.Errors[0].Message)
	assert.Equal(t, http.StatusForbidden, s.ask(banned, http.MethodGet, "https://"+host+"/").StatusCode)
}

// As Caddy's DNS provider asks.
func TestRecordsOfTheAPI(t *testing.T) {
	s := newStage(t, nil)
	_, answer := s.call("GET", "/zones?name=example.com", "")
	assert.Equal(t, []apiZone{{"0", "example.com", "active"}}, result[[]apiZone](t, answer))
	_, answer = s.call("GET", "/zones?name=example.org", "")
	assert.Empty(t, result[[]apiZone](t, answer))
	_, answer = s.call("POST", "/zones/0/dns_records", `{"type": "TXT", "name": "_acme-challenge.requests", "content": "\"abc\"", "ttl": 1}`)
	record := result[TXT](t, answer)
	assert.Equal(t, "_acme-challenge.requests.example.com", record.Name)
	_, answer = s.call("POST", "/zones/0/dns_records", `{"type": "TXT", "name": "_acme-challenge.requests.example.com.", "content": "\"abcd\""}`)
	_ = result[TXT](t, answer)
	code, _ := s.call("POST", "/zones/0/dns_records", `{"type": "TXT", "name": "_acme-challenge.requests.example.com", "content": "\"abcd\""}`)
	assert.Equal(t, http.StatusBadRequest, code)
	for query, want := range map[string]int{
		"": 2, "?type=TXT&name=_acme-challenge.requests.example.com&content.contains=abcd": 1, "?content.contains=abc": 2, "?type=A": 0, "?name=x.example.com": 0,
		"?content.exact=abc": 0,
	} {
		_, answer = s.call("GET", "/zones/0/dns_records"+query, "")
		assert.Len(t, result[[]TXT](t, answer), want, query)
	}
	_, answer = s.call("DELETE", "/zones/0/dns_records/"+record.ID, "")
	assert.True(t, answer.Success)
	_, answer = s.call("GET", "/zones/0/dns_records", "")
	assert.Len(t, result[[]TXT](t, answer), 1)
}

func TestTheAPIRefuses(t *testing.T) {
	s := newStage(t, nil)
	for _, each := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", access, `{"mode": "whitelist", "configuration": {"target": "ip", "value": "203.0.113.7"}}`, 400},
		{"POST", access, `{"mode": "block", "configuration": {"target": "ip", "value": "2001:db8::1"}}`, 400},
		{"POST", access, `{"mode": "block", "configuration": {"target": "ip_range", "value": "203.0.113.0/25"}}`, 400},
		{"POST", access, `{"mode": "block", "configuration": {"target": "ip_range", "value": "203.0.113.1/24"}}`, 400},
		{"POST", access, `{"mode": "block", "configuration": {"target": "country", "value": "DE"}}`, 400},
		{"POST", access, `{`, 400},
		{"PATCH", access + "/x", `{}`, 404},
		{"POST", "/zones/0/dns_records", `{"type": "A", "name": "x", "content": "192.0.2.1"}`, 400},
		{"DELETE", "/zones/0/dns_records/x", ``, 404},
		{"GET", "/zones/1/dns_records", ``, 404},
		{"GET", "/accounts", ``, 404},
	} {
		code, answer := s.call(each.method, each.path, each.body)
		assert.Equal(t, each.code, code, "%+v: %+v", each, answer.Errors)
	}
	r := httptest.NewRequest("GET", "https://"+APIHost+"/client/v4/zones", nil)
	w := httptest.NewRecorder()
	s.edge.API().ServeHTTP(w, r)
	assert.Equal(t, http.StatusBadRequest, w.Code, "without a token")
	assert.Equal(t, &Told{}, s.edge.told.Load())
	empty, err := New(Options{Authority: s.authority, Dial: s.dial})
	require.NoError(t, err)
	s.edge = empty
	code, _ := s.call("GET", access, "")
	assert.Equal(t, http.StatusNotFound, code, "there is no zone")
	assert.Equal(t, rehearsal.Edge{Authority: string(s.authority.PEM()), Hosts: []rehearsal.EdgeHost{}, NotEnforced: []string{}, Banned: []string{}}, s.edge.Edge())
}
