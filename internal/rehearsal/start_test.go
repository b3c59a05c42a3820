package rehearsal

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets this executable be the program that Start starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		os.Exit(standIn(os.Args[3], os.Args[4:]))
	}
	os.Exit(m.Run())
}

// standIn behaves as homelab-machine does where Start sees it: a socket in the folder, and an end
// when its standard input ends and nobody has kept it.
func standIn(state string, args []string) int {
	if strings.Join(args, " ") == "--broken" {
		fmt.Fprintln(os.Stderr, "qemu-system-x86_64 is not installed")
		return 1
	}
	listener, err := net.Listen("unix", filepath.Join(state, SocketFile))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var kept atomic.Bool
	ended := make(chan struct{}, 2)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	mux.HandleFunc("POST /v1/keep", func(w http.ResponseWriter, _ *http.Request) {
		kept.Store(true)
		_, _ = io.WriteString(w, "{}")
	})
	mux.HandleFunc("POST /v1/end", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{}")
		ended <- struct{}{}
	})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if !kept.Load() {
			ended <- struct{}{}
		}
	}()
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	<-ended
	_ = server.Shutdown(context.Background())
	fmt.Fprintln(os.Stderr, "ended", strings.Join(args, " "))
	return 0
}

// folder is a state folder with a path that is short enough for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rehearsal-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, state string, args ...string) (*Process, error) {
	t.Helper()
	return Start(t.Context(), Options{Program: os.Args[0], State: state, Args: args})
}

func logged(t *testing.T, state string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(state, LogFile))
	require.NoError(t, err)
	return string(text)
}

func TestAProgramEndsWithWhoStartedIt(t *testing.T) {
	state := folder(t)
	p, err := start(t, state, "--tailnet", "x")
	require.NoError(t, err)
	assert.False(t, p.Found)
	require.NoError(t, p.Ping(t.Context()))
	require.NoError(t, p.Close())
	require.NoError(t, p.Close(), "twice is harmless")
	require.Error(t, p.Ping(t.Context()))
	assert.Equal(t, "ended --tailnet x\n", logged(t, state))
}

func TestAKeptProgramIsFoundAgain(t *testing.T) {
	state := folder(t)
	first, err := start(t, state)
	require.NoError(t, err)
	require.NoError(t, first.Keep(t.Context()))
	require.NoError(t, first.Close())
	require.NoError(t, first.stdin.Close(), "as when the process ends that started it")

	second, err := start(t, state)
	require.NoError(t, err)
	assert.True(t, second.Found)
	require.NoError(t, second.Keep(t.Context()), "it is kept already")
	require.NoError(t, second.Close())
	client, err := NewClient(state)
	require.NoError(t, err)
	require.NoError(t, client.Ping(t.Context()))
	require.NoError(t, second.End(t.Context()))
	require.Eventually(t, func() bool { return client.Ping(t.Context()) != nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, <-first.ended)
}

func TestImagesAreThoseThatTheProgramWasStartedWith(t *testing.T) {
	state := folder(t)
	with := func(images string) (*Process, error) {
		return Start(t.Context(), Options{Program: os.Args[0], State: state, Images: images})
	}
	p, err := with("/tmp/images")
	require.NoError(t, err)
	require.NoError(t, p.Keep(t.Context()))
	require.NoError(t, p.Close())
	for _, same := range []string{"/tmp/images", ""} {
		found, err := with(same)
		require.NoError(t, err)
		assert.True(t, found.Found)
		require.NoError(t, found.Close())
	}
	_, err = with("/tmp/others")
	require.ErrorIs(t, err, ErrOtherImages)
	require.ErrorContains(t, err, "/tmp/images")
	require.NoError(t, p.Client.End(t.Context()))
	require.NoError(t, <-p.ended)
	assert.Equal(t, "ended --images /tmp/images\n", logged(t, state))

	p, err = with("")
	require.NoError(t, err)
	_, err = with("/tmp/images")
	require.ErrorContains(t, err, "have other images: none")
	require.NoError(t, p.Close())
}

func TestEndEndsWhatWasStarted(t *testing.T) {
	state := folder(t)
	p, err := start(t, state)
	require.NoError(t, err)
	require.NoError(t, p.End(t.Context()))
	assert.Equal(t, "ended \n", logged(t, state))
}

func TestAProgramThatDoesNotStart(t *testing.T) {
	_, err := start(t, folder(t), "--broken")
	require.ErrorContains(t, err, "homelab-machine has ended (exit status 1): qemu-system-x86_64 is not installed")
	_, err = Start(t.Context(), Options{Program: "/nothing", State: folder(t)})
	require.ErrorContains(t, err, "starting homelab-machine")
	_, err = NewClient(filepath.Join(folder(t), strings.Repeat("x", 100)))
	require.ErrorContains(t, err, "too long for a socket")
	client, err := NewClient(folder(t))
	require.NoError(t, err)
	_, err = client.Machines(t.Context())
	require.ErrorContains(t, err, "asking homelab-machine for machines: homelab-machine does not answer")
	_, err = client.Dial(t.Context(), Target{})
	require.ErrorContains(t, err, "homelab-machine does not answer")
}
