package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var grafanaEnv = map[string]string{variable: "grafana", "GF_PATHS_CONFIG": "/etc/grafana/grafana.ini"}

// grafanaFiles are the deployment's, for a portal at a URL.
func grafanaFiles(m *machine, portal string) {
	m.t.Helper()
	m.write("/etc/grafana/grafana.ini", strings.ReplaceAll(golden(m.t, "grafana", "grafana.ini"), "https://auth.example.com", portal))
	m.write("/run/secrets/grafana-secret-key", "key\n")
	m.write("/run/secrets/grafana-openid", "the secret\n")
	m.write("/etc/grafana/provisioning/datasources/homelab.yaml", golden(m.t, "grafana", "provisioning-datasources-homelab.yaml"))
	m.write("/etc/grafana/provisioning/dashboards/homelab.yaml", strings.ReplaceAll(golden(m.t, "grafana", "provisioning-dashboards-homelab.yaml"), "\r", ""))
	m.write("/etc/grafana/dashboards/homelab-chain.json", golden(m.t, "grafana", "dashboards-homelab-chain.json"))
	m.write("/var/lib/grafana/x", "")
}

// door is a portal that lets the members of some groups in.
func door(t *testing.T, groups ...string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/oidc/token", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "grafana" || password != url.QueryEscape("the secret") || r.PostFormValue("code") != "the code" || len(r.PostFormValue("code_verifier")) < 43 {
			respond(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
			return
		}
		respond(w, http.StatusOK, map[string]any{"access_token": "token", "token_type": "bearer", "expires_in": 3600})
	})
	mux.HandleFunc("GET /api/oidc/userinfo", func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer token", r.Header.Get("Authorization"))
		respond(w, http.StatusOK, map[string]any{"preferred_username": "alice", "name": "Alice", "email": "alice@example.com", "groups": groups})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// visit asks with cookies, and returns the answer without its body.
func visit(r *running, path string, cookies []*http.Cookie) *http.Response {
	r.t.Helper()
	request, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	require.NoError(r.t, err)
	for _, cookie := range cookies {
		request.AddCookie(cookie)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(r.t, err)
	require.NoError(r.t, response.Body.Close())
	return response
}

func TestGrafana(t *testing.T) {
	m := newMachine(t)
	grafanaFiles(m, door(t, "users"))
	r := m.start(grafanaEnv, "/run.sh")
	assert.Equal(t, "ok", field(t, r.answers(200, "GET", "/api/health", ""), "database"))
	r.answers(200, "GET", "/metrics", "")
	r.answers(404, "GET", "/api/nothing", "")
	r.answers(405, "POST", "/api/health", "")
	r.answers(401, "GET", "/api/user", "")
	r.answers(401, "GET", "/api/user", "", "Authorization", "Basic YWRtaW46YWRtaW4=")
	r.answers(401, "GET", "/api/datasources/uid/loki/health", "")

	sent := visit(r, "/login/generic_oauth", nil)
	require.Equal(t, 302, sent.StatusCode)
	to, err := sent.Location()
	require.NoError(t, err)
	assert.Equal(t, "https://grafana.example.com/login/generic_oauth", to.Query().Get("redirect_uri"))
	assert.Equal(t, "S256", to.Query().Get("code_challenge_method"))
	back := "/login/generic_oauth?code=the+code&state=" + to.Query().Get("state")
	assert.Equal(t, 401, visit(r, back, nil).StatusCode, "another browser")
	assert.Equal(t, 401, visit(r, strings.Replace(back, "the+code", "another", 1), sent.Cookies()).StatusCode)
	in := visit(r, back, sent.Cookies())
	require.Equal(t, 302, in.StatusCode, r.out)
	assert.Equal(t, 200, visit(r, "/api/user", in.Cookies()).StatusCode)
	assert.Equal(t, 404, visit(r, "/api/datasources/uid/nothing/health", in.Cookies()).StatusCode)
	r.stop()
	again := m.start(grafanaEnv, "/run.sh")
	assert.Equal(t, 200, visit(again, "/api/user", in.Cookies()).StatusCode, "a restart ends no session")
	isDatabase(m, "/var/lib/grafana/grafana.db")
	for line := range strings.Lines(r.out.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
		assert.NotContains(t, line, "the secret")
	}
}

func TestGrafanaLetsNobodyElseIn(t *testing.T) {
	m := newMachine(t)
	grafanaFiles(m, door(t, "guests"))
	r := m.start(grafanaEnv, "/run.sh")
	sent := visit(r, "/login/generic_oauth", nil)
	to, err := sent.Location()
	require.NoError(t, err)
	assert.Equal(t, 401, visit(r, "/login/generic_oauth?code=the+code&state="+to.Query().Get("state"), sent.Cookies()).StatusCode)
	assert.Contains(t, r.out.String(), "in no group")
}

func TestGrafanaRefuses(t *testing.T) {
	m := newMachine(t)
	grafanaFiles(m, "https://auth.example.com")
	file := golden(t, "grafana", "grafana.ini")
	for problem, change := range map[string][2]string{
		"has no auth.anonymous": {"[auth.anonymous]\nenabled = false", "[auth.anonymous]\nenabled = true"},
		"use_pkce":              {"use_pkce = true", "use_pkce = false"},
		"no such file":          {"/run/secrets/grafana-openid", "/run/secrets/nothing"},
		"is there twice":        {"use_pkce = true", "use_pkce = true\nuse_pkce = true"},
	} {
		m.write("/etc/grafana/grafana.ini", strings.Replace(file, change[0], change[1], 1))
		assert.Contains(t, m.refused(grafanaEnv, "/run.sh"), problem)
	}
	m.write("/etc/grafana/grafana.ini", file)
	m.write("/etc/grafana/dashboards/homelab-chain.json", "{}")
	assert.Contains(t, m.refused(grafanaEnv, "/run.sh"), "no dashboard")
}
