package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// log is what a stand-in prints.
type log struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// running is a stand-in that answers.
type running struct {
	t    *testing.T
	url  string
	out  *log
	stop func()
}

// machine is what stand-ins of a test share: the files that they see.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) *machine { return &machine{t, t.TempDir()} }

// write makes a file that the deployment would mount.
func (m *machine) write(path, content string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(content), 0o600))
}

// process is how the command of an image starts.
func (m *machine) process(env map[string]string, command ...string) (standin, process, *log) {
	m.t.Helper()
	run, args, err := choose(command, func(name string) string { return env[name] })
	require.NoError(m.t, err)
	out := &log{}
	return run, process{args: args, env: func(name string) string { return env[name] }, out: out, root: m.root, listen: "127.0.0.1:0"}, out
}

// start starts a stand-in and waits until it listens.
func (m *machine) start(env map[string]string, command ...string) *running {
	m.t.Helper()
	run, p, out := m.process(env, command...)
	ctx, cancel := context.WithCancel(context.Background())
	addresses, ended := make(chan string, 1), make(chan error, 1)
	p.ready = func(address string) { addresses <- address }
	go func() { ended <- run(ctx, p) }()
	r := &running{t: m.t, out: out}
	select {
	case address := <-addresses:
		r.url = "http://" + address
	case err := <-ended:
		require.FailNow(m.t, "it ended", "%v\n%s", err, out)
	case <-time.After(20 * time.Second):
		require.FailNow(m.t, "it does not listen", out.String())
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			assert.NoError(m.t, err)
		case <-time.After(time.Second):
			assert.Fail(m.t, "it did not end within a second")
		}
	})
	m.t.Cleanup(r.stop)
	return r
}

// refused starts a stand-in that must end with an error.
func (m *machine) refused(env map[string]string, command ...string) string {
	m.t.Helper()
	run, p, _ := m.process(env, command...)
	p.ready = func(string) { assert.Fail(m.t, "it listens") }
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := run(ctx, p)
	require.Error(m.t, err)
	return err.Error()
}

// ask sends a request with headers, which alternate with their values, and returns what is
// answered.
func (r *running) ask(method, path, body string, headers ...string) (int, string) {
	r.t.Helper()
	request, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	require.NoError(r.t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(r.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, string(content)
}

// answers is ask for a status that must be it.
func (r *running) answers(status int, method, path, body string, headers ...string) string {
	r.t.Helper()
	got, content := r.ask(method, path, body, headers...)
	require.Equal(r.t, status, got, "%s %s: %s", method, path, content)
	return content
}

// field is a text in a JSON object.
func field(t *testing.T, content string, names ...string) string {
	t.Helper()
	var value any
	require.NoError(t, json.Unmarshal([]byte(content), &value))
	for _, name := range names {
		object, ok := value.(map[string]any)
		require.True(t, ok, content)
		value = object[name]
	}
	text, ok := value.(string)
	require.True(t, ok, content)
	return text
}
