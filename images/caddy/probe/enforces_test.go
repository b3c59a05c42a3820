package probe

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each way in which a proxy enforces nothing, or too much, fails the check.
func TestEnforces(t *testing.T) {
	const banned = "192.0.2.77"
	for name, c := range map[string]struct {
		harmless, banned, attack int
		want                     string
	}{
		"enforcing":         {204, 403, 403, ""},
		"no bouncer":        {204, 204, 403, "a banned address got 204"},
		"no inspection":     {204, 403, 204, "an attack got 204"},
		"closed":            {503, 503, 503, "a harmless request got 503"},
		"everybody refused": {403, 403, 403, "a harmless request got 403"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status := c.harmless
				switch {
				case r.Header.Get(clientHeader) == banned:
					// The decision is fetched with the next round.
					if status = c.banned; asked.Add(1) == 1 {
						status = http.StatusNoContent
					}
				case r.URL.Path == attack:
					status = c.attack
				}
				w.WriteHeader(status)
			}))
			t.Cleanup(server.Close)
			err := Enforces(t.Context(), server.URL, banned, 1200*time.Millisecond)
			if c.want == "" {
				require.NoError(t, err)
				assert.Equal(t, int64(2), asked.Load())
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	require.ErrorContains(t, Enforces(t.Context(), "http://127.0.0.1:1", "nobody", time.Second), "the banned address")
	require.ErrorContains(t, Enforces(t.Context(), "http://127.0.0.1:1", banned, time.Second), "a harmless request")
}
