package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWget(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/missing":
			http.NotFound(w, r)
		default:
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Content-Type"), body)
		}
	}))
	defer server.Close()
	defer close(release)
	m := newMachine(t)
	m.write("/tmp/wanted", "json=1")
	call := func(words ...string) (string, error) {
		run, p, out := m.process(nil, append([]string{"/usr/bin/wget"}, words...)...)
		err := run(t.Context(), p)
		return out.String(), err
	}
	said, err := call("-q", "-T", "4", "-O", "-", server.URL+"/cdn-cgi/trace")
	require.NoError(t, err)
	assert.Equal(t, "GET  ", said)
	said, err = call("-q", "-T", "5", "-O", "-", "--post-file", "/tmp/wanted", server.URL)
	require.NoError(t, err)
	assert.Equal(t, "POST application/x-www-form-urlencoded json=1", said)
	said, err = call("-q", "-T", "5", "-O", "/dev/null", server.URL)
	require.NoError(t, err)
	assert.Empty(t, said)

	begin := time.Now()
	_, err = call("-q", "-T", "1", "-O", "-", server.URL+"/slow")
	require.ErrorContains(t, err, "deadline exceeded")
	assert.Less(t, time.Since(begin), 10*time.Second)
	for _, c := range []struct {
		words []string
		says  string
	}{
		{[]string{server.URL + "/missing"}, "404"},
		{[]string{"--post-file", "/nothing", server.URL}, "no such file"},
		{[]string{"-O", "file", server.URL}, `does not write to "file"`},
		{[]string{"--no-check-certificate", server.URL}, "does not know"},
		{[]string{server.URL, server.URL}, "does not know"},
		{[]string{"-T", "x", server.URL}, "no number"},
		{nil, "unsupported protocol"},
	} {
		_, err := call(c.words...)
		require.ErrorContains(t, err, c.says)
	}
}
