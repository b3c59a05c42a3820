package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// engine is Docker's socket.
func engine(m *machine, handler http.HandlerFunc) (stop func()) {
	m.t.Helper()
	path := filepath.Join(m.root, engineSocket)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	listener, err := net.Listen("unix", path)
	require.NoError(m.t, err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	m.t.Cleanup(func() { _ = server.Close() })
	return func() { require.NoError(m.t, server.Close()) }
}

// The arguments are the deployment's, but for who may ask.
func apiCommand(from, watchdog string) []string {
	return []string{
		"/socket-proxy", "-listenip=0.0.0.0", "-proxyport=2375", "-loglevel=warn", "-allowhealthcheck", "-watchdoginterval=" + watchdog, "-stoponwatchdog",
		"-allowHEAD=/_ping", `-allowGET=(/v1\.[0-9]{1,2})?/(_ping|version|networks|containers/json|containers/[a-f0-9]{12,64}/(json|logs))`, "-allowfrom=" + from,
	}
}

func TestDockerAPI(t *testing.T) {
	m := newMachine(t)
	asked := make(chan string, 10)
	engine(m, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.Path
		_, _ = w.Write([]byte("[]"))
	})
	r := m.start(nil, apiCommand("localhost", "300")...)
	assert.Equal(t, "[]", r.answers(200, "GET", "/v1.44/containers/json?all=1", ""))
	r.answers(200, "HEAD", "/_ping", "")
	r.answers(200, "GET", "/containers/0123456789ab/logs", "")
	r.answers(403, "GET", "/containers/0123456789ab/archive", "")
	r.answers(403, "GET", "/v1.44/containers/json/", "")
	r.answers(403, "GET", "/images/json", "")
	r.answers(405, "POST", "/containers/create", "{}")
	r.answers(403, "HEAD", "/version", "")
	close(asked)
	var all []string
	for question := range asked {
		all = append(all, question)
	}
	assert.Equal(t, []string{"GET /v1.44/containers/json", "HEAD /_ping", "GET /containers/0123456789ab/logs"}, all, "nothing else reaches Docker")
	assert.Contains(t, r.out.String(), `msg=refused why="this path is not named" method=GET path=/images/json`)
}

func TestDockerAPIAdmitsNobodyElse(t *testing.T) {
	m := newMachine(t)
	engine(m, func(http.ResponseWriter, *http.Request) { assert.Fail(t, "Docker was asked") })
	r := m.start(nil, apiCommand("192.0.2.1", "300")...)
	r.answers(403, "GET", "/version", "")
	assert.Contains(t, r.out.String(), "who asks is not named")
}

func TestDockerAPIWithoutDocker(t *testing.T) {
	m := newMachine(t)
	assert.Contains(t, m.refused(nil, apiCommand("localhost", "300")...), "asking Docker: dial unix")
	assert.Contains(t, m.refused(nil, "/socket-proxy", "-allowPOST=.*"), "has no flag")
	stop := engine(m, func(http.ResponseWriter, *http.Request) {})
	run, p, _ := m.process(nil, apiCommand("localhost", "1")...)
	ended := make(chan error, 1)
	go func() { ended <- run(context.Background(), p) }()
	time.Sleep(100 * time.Millisecond)
	stop()
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "the socket is gone")
	case <-time.After(10 * time.Second):
		assert.Fail(t, "it does not stop without Docker")
	}
}

func TestHealthOfTheDockerAPI(t *testing.T) {
	m := newMachine(t)
	stop := engine(m, func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(http.HandlerFunc((&dockerAPI{socket: filepath.Join(m.root, engineSocket)}).health))
	defer server.Close()
	run, p, _ := m.process(nil, "/healthcheck")
	p.listen = strings.TrimPrefix(server.URL, "http://")
	require.NoError(t, run(t.Context(), p))
	response, err := http.Get(server.URL + "/health")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, 405, response.StatusCode)
	stop()
	require.ErrorContains(t, run(t.Context(), p), "503")
}
