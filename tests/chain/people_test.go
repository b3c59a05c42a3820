//go:build chain

package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/chain/internal/visitor"
	"homelab/tests/internal/totp"
)

// The portal's cookie, as the deployment names it.
const sessionCookie = "homelab_session"

// person is somebody with an account.
type person struct {
	stage    *stage
	name     string
	password string
	secret   string // of the authenticator app; empty before enrolment
	used     []int64
}

// person is the one of that name, who keeps his authenticator app.
func (s *stage) person(t testing.TB, name string) *person {
	t.Helper()
	require.Contains(t, s.passwords, name)
	if s.people[name] == nil {
		s.people[name] = &person{stage: s, name: name, password: s.passwords[name]}
	}
	return s.people[name]
}

// code is a one-time password that was not used before. Of those that the portal accepts at a time
// there are three; when all are used, it waits.
func (p *person) code(t testing.TB) string {
	t.Helper()
	for {
		now := time.Now().Unix() / 30
		for _, step := range []int64{now - 1, now, now + 1} {
			if slices.Contains(p.used, step) {
				continue
			}
			// The oldest one is about to end: it could be refused on its way.
			if step == now-1 && time.Now().Unix()%30 > 25 {
				continue
			}
			p.used = append(p.used, step)
			code, err := totp.Code(p.secret, time.Unix(step*30, 0))
			require.NoError(t, err)
			return code
		}
		time.Sleep(time.Second)
	}
}

// post sends JSON to the portal and decodes the data of its answer into out, if out is not nil. It
// returns the status, and whether the portal said OK.
func post(ctx context.Context, b *visitor.Browser, method, path string, body map[string]any, out any) (status int, ok bool, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, false, err
	}
	a, err := b.Do(ctx, visitor.Request{Method: method, URL: portal + path, Body: string(text), Header: map[string]string{"Accept": "application/json"}})
	if err != nil {
		return 0, false, err
	}
	var envelope struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
	}
	if json.Unmarshal([]byte(a.Body), &envelope) != nil {
		return a.Status, false, nil
	}
	if out != nil && envelope.Data != nil {
		if err := json.Unmarshal(envelope.Data, out); err != nil {
			return a.Status, false, fmt.Errorf("reading the portal's answer %q: %w", a.Body, err)
		}
	}
	return a.Status, envelope.Status == "OK", nil
}

// password makes the first step of a login.
func (p *person) firstFactor(t testing.TB, b *visitor.Browser) {
	t.Helper()
	status, ok, err := post(t.Context(), b, http.MethodPost, "/api/firstfactor", map[string]any{
		"username": p.name, "password": p.password, "keepMeLoggedIn": false, "targetURL": requests + "/", "requestMethod": "GET",
	}, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal refuses the right password of %s with %d", p.name, status)
}

// secondFactor makes the second one.
func (p *person) secondFactor(t testing.TB, b *visitor.Browser) {
	t.Helper()
	if p.secret == "" {
		p.enrol(t, b)
	}
	status, ok, err := post(t.Context(), b, http.MethodPost, "/api/secondfactor/totp", map[string]any{"token": p.code(t), "targetURL": requests + "/"}, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal refuses a right code of %s with %d", p.name, status)
}

// login does both.
func (p *person) login(t testing.TB, b *visitor.Browser) {
	t.Helper()
	p.firstFactor(t, b)
	p.secondFactor(t, b)
}

// enrol registers an authenticator app, as a person does at the first login: with a code from the
// portal's mail. The page asks for the user's preferences before; without them the portal does not
// see the app afterwards.
func (p *person) enrol(t testing.TB, b *visitor.Browser) {
	t.Helper()
	_, ok, err := post(t.Context(), b, http.MethodPost, "/api/user/info", nil, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal makes no preferences for %s", p.name)
	_, ok, err = post(t.Context(), b, http.MethodPost, "/api/user/session/elevation", nil, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal sends %s no code", p.name)
	_, ok, err = post(t.Context(), b, http.MethodPut, "/api/user/session/elevation", map[string]any{"otc": p.stage.mailed(t)}, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal refuses the code that it sent to %s", p.name)
	var device struct {
		Secret string `json:"base32_secret"`
	}
	_, ok, err = post(t.Context(), b, http.MethodPut, "/api/secondfactor/totp/register", map[string]any{"algorithm": "SHA1", "length": 6, "period": 30}, &device)
	require.NoError(t, err)
	require.True(t, ok, "the portal makes no secret for %s", p.name)
	p.secret = device.Secret
	_, ok, err = post(t.Context(), b, http.MethodPost, "/api/secondfactor/totp/register", map[string]any{"token": p.code(t)}, nil)
	require.NoError(t, err)
	require.True(t, ok, "the portal refuses the first code of the app of %s", p.name)
}

var mailedCode = regexp.MustCompile(`(?m)^-+\s+([A-Z0-9]{8})\s+-+$`)

// mailed is the code in the portal's latest mail, which goes to a file that only the administrator
// can read.
func (s *stage) mailed(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(s.Deployment.Path("/opt/homelab/authelia/data/notifications.txt"))
	require.NoError(t, err)
	found := mailedCode.FindSubmatch(text)
	require.NotNil(t, found, "no code in the portal's mail: %s", text)
	return string(found[1])
}

// ticket is a session that others may use too.
type ticket struct{ value string }

// ticket is the session of a browser.
func ticketOf(t testing.TB, b *visitor.Browser) ticket {
	t.Helper()
	value := b.Cookie(requests, sessionCookie)
	require.NotEmpty(t, value, "the browser has no session")
	return ticket{value}
}

// give puts the session into a browser.
func (k ticket) give(t testing.TB, b *visitor.Browser) *visitor.Browser {
	t.Helper()
	require.NoError(t, b.SetCookie(portal, &http.Cookie{Name: sessionCookie, Value: k.value, Domain: "example.com", Path: "/", Secure: true}))
	return b
}

// line is the session as a header line.
func (k ticket) line() string { return "Cookie: " + sessionCookie + "=" + k.value + "\r\n" }
