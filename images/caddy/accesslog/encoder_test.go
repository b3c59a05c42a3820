package accesslog

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func encoder(t testing.TB) *Encoder {
	t.Helper()
	e := new(Encoder)
	require.NoError(t, e.UnmarshalCaddyfile(caddyfile.NewTestDispenser(
		"access {\nheader User-Agent\nredact api_key\nredact token state\n}")))
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	require.NoError(t, e.Provision(ctx))
	return e
}

func request(target string) zap.Field {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("X-Some-Token", "secret-header")
	r.Header.Set("Cookie", "session=secret-cookie")
	r.TLS = &tls.ConnectionState{ServerName: "secret-name"}
	return zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r, ShouldLogCredentials: true})
}

func encoded(t testing.TB, e zapcore.Encoder, fields ...zap.Field) map[string]any {
	t.Helper()
	out, err := e.EncodeEntry(zapcore.Entry{Time: time.Unix(1, 0), Message: "handled request"}, fields)
	require.NoError(t, err)
	defer out.Free()
	assert.NotContains(t, out.String(), "secret")
	var entry map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &entry), "%s", out)
	return entry
}

func TestOneEntry(t *testing.T) {
	answer := caddyhttp.LoggableHTTPHeader{Header: http.Header{"Set-Cookie": {"secret"}}}
	want := map[string]any{
		"level": "info", "ts": 1.0, "msg": "handled request", "status": 200.0, "duration": 0.25,
		"request": map[string]any{
			"remote_ip": "192.0.2.1", "remote_port": "1234", "proto": "HTTP/1.1", "method": "GET",
			"host": "example.com", "uri": "/x?a=b&api_key=REDACTED",
			"headers": map[string]any{"User-Agent": []any{"Mozilla/5.0"}},
		},
	}
	fields := []zap.Field{
		zap.Int("status", 200), zap.Duration("duration", time.Second/4),
		zap.Object("resp_headers", answer), request("/x?a=b&api_key=secret"),
	}
	assert.Equal(t, want, encoded(t, encoder(t), fields...))

	// As errors are logged: on a logger that knows the request.
	clone := encoder(t).Clone()
	for _, f := range fields {
		f.AddTo(clone)
	}
	assert.Equal(t, want, encoded(t, clone))
}

func TestCredentialsOfTheQuery(t *testing.T) {
	for target, want := range map[string]string{
		"/x":                             "/x",
		"/x?":                            "/x?",
		"/x?api_key":                     "/x?api_key=REDACTED",
		"/x?API_KEY=secret&b=1":          "/x?API_KEY=REDACTED&b=1",
		"/x?%61pi_key=secret":            "/x?%61pi_key=REDACTED",
		"/x?api_key=secret&api_key=s=ec": "/x?api_key=REDACTED&api_key=REDACTED",
		"/x?%zz=secret":                  "/x?%zz=REDACTED",
		"/x?y?token=1&token=secret":      "/x?y?token=1&token=REDACTED",
		"/x?api_keys=1&a=%20b":           "/x?api_keys=1&a=%20b",
	} {
		assert.Equal(t, want, encoder(t).uri(target))
	}
	assert.Equal(t, "/x?token=REDACTED", encoded(t, encoder(t), zap.String("uri", "/x?token=secret"))["uri"])
}

// What somebody sends to fill the disk is cut.
func TestLongTexts(t *testing.T) {
	field := func(target, agent string) zap.Field {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("User-Agent", agent)
		return zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r})
	}
	entry := encoded(t, encoder(t), field("/"+strings.Repeat("a", 15<<10), strings.Repeat("ü", 5<<10)))
	logged := entry["request"].(map[string]any)
	assert.Equal(t, "/"+strings.Repeat("a", longest-1)+"…", logged["uri"])
	agent := logged["headers"].(map[string]any)["User-Agent"].([]any)[0]
	assert.Equal(t, strings.Repeat("ü", longest/2)+"…", agent)
	exact := strings.Repeat("b", longest-1)
	assert.Equal(t, "/"+exact, encoded(t, encoder(t), field("/"+exact, "x"))["request"].(map[string]any)["uri"])
}

func TestDirectiveThatIsRefused(t *testing.T) {
	for _, text := range []string{"access x", "access {\nheader\n}", "access {\nredact\n}", "access {\nheaders User-Agent\n}"} {
		assert.Error(t, new(Encoder).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)), text)
	}
}

// BenchmarkEntry compares with Caddy's own JSON encoder, which leaves nothing out.
func BenchmarkEntry(b *testing.B) {
	own := encoder(b)
	var whole logging.JSONEncoder
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	defer cancel()
	require.NoError(b, whole.Provision(ctx))
	fields := []zap.Field{zap.Int("status", 200), request("/x?a=b&api_key=1")}
	for name, e := range map[string]zapcore.Encoder{"own": own, "whole": whole.Encoder} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				out, err := e.EncodeEntry(zapcore.Entry{}, fields)
				require.NoError(b, err)
				out.Free()
			}
		})
	}
}
