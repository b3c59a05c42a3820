//go:build browser

package chromium

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A page that is open loads a frame now and then; the next one answers late.
func TestThePageBeforeIsNotTakenForTheNextInABrowser(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/restless":
			fmt.Fprint(w, `<p>restless</p>
				<script>setInterval(() => document.body.append(document.createElement("iframe")), 50)</script>`)
		case "/late":
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "late")
		case "/empty":
			w.WriteHeader(http.StatusForbidden)
		case "/elsewhere":
			http.Redirect(w, r, "/late", http.StatusFound)
		}
	}))
	defer server.Close()
	b, err := Start((*exec.Cmd).Start, t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })

	for _, of := range []struct {
		path, at string
		status   int
		text     string
	}{
		{"/restless", "/restless", http.StatusOK, "restless"},
		{"/late", "/late", http.StatusForbidden, "late"},
		{"/restless", "/restless", http.StatusOK, "restless"},
		{"/elsewhere", "/late", http.StatusForbidden, "late"},
	} {
		page, err := b.Open(server.URL + of.path)
		require.NoError(t, err)
		assert.Equal(t, &Page{URL: server.URL + of.at, Status: of.status, Text: of.text}, page)
		time.Sleep(200 * time.Millisecond)
	}
	page, err := b.Open(server.URL + "/empty")
	require.NoError(t, err)
	assert.Equal(t, http.StatusForbidden, page.Status)
	server.Close()
	_, err = b.Open(server.URL + "/restless")
	require.ErrorContains(t, err, "ERR_CONNECTION_REFUSED")
}
