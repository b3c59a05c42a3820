package guard

import (
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStripHeaders(t *testing.T) {
	s := &StripHeaders{Names: []string{"Remote*", "*Forwarded*", "*Client-IP", "X-Real-IP"}}
	require.NoError(t, s.Provision(caddy.Context{}))
	for name, stripped := range map[string]bool{
		"Remote-User": true, "remote-user": true, "REMOTEUSER": true, "X-Forwarded-For": true, "Forwarded": true, "True-Client-Ip": true, "X-Real-Ip": true, "x-real-ip": true,
		"X-Remote": false, "X-Real-Ip-2": false, "Client-Ip-X": false, "Cookie": false, "Forward": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header[name] = []string{"x"}
		require.NoError(t, s.ServeHTTP(httptest.NewRecorder(), r, nothing))
		assert.Equal(t, !stripped, r.Header[name] != nil, name)
	}
}
