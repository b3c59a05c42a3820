package lab

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

func TestWhatIsSentToSomebodyIsKept(t *testing.T) {
	r := &receivers{path: filepath.Join(t.TempDir(), rehearsal.ReceivedFile)}
	send := func(method, url, body string) int {
		request := httptest.NewRequest(method, url, strings.NewReader(body))
		request.Header.Set("Title", "a title")
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, request)
		return answer.Code
	}
	assert.Equal(t, http.StatusOK, send("POST", "https://ntfy.example.com/homelab-x", "the disk is full"))
	assert.Equal(t, http.StatusOK, send("GET", "https://hc-ping.example.com:443/homelab-y", ""))
	assert.Equal(t, http.StatusOK, send("POST", "https://hc-ping.example.com/homelab-y", strings.Repeat("x", maxMessage+1)))
	for url, want := range map[string]int{
		"https://ntfy.example.com/":          http.StatusNotFound,
		"https://ntfy.example.com/a/b":       http.StatusNotFound,
		"https://ntfy.example.com/a.b":       http.StatusNotFound,
		"https://other.example.com/homelab":  http.StatusNotFound,
		"https://ntfy.example.com/homelab-x": http.StatusMethodNotAllowed,
	} {
		assert.Equal(t, want, send("GET", url, ""), url)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, send("PUT", "https://hc-ping.example.com/homelab-y", ""))

	text, err := os.ReadFile(r.path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 3)
	assert.JSONEq(t, `{"host":"ntfy.example.com","title":"a title","body":"the disk is full"}`, lines[0])
	assert.JSONEq(t, `{"host":"hc-ping.example.com","title":"a title"}`, lines[1])
	assert.Less(t, len(lines[2]), maxMessage+100)
	info, err := os.Stat(r.path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	r.path = filepath.Join(t.TempDir(), "missing", "file")
	assert.Equal(t, http.StatusInternalServerError, send("POST", "https://ntfy.example.com/homelab-x", ""))
}
