package control

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNodesReachTheirServersOnly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // the test is over
	d := sealed{"203.0.113.80:443": listener.Addr().String()}
	conn, err := d.Dial("tcp", "203.0.113.80:443")
	require.NoError(t, err)
	assert.Equal(t, listener.Addr(), conn.RemoteAddr())
	require.NoError(t, conn.Close())
	for _, address := range []string{listener.Addr().String(), "203.0.113.80:80", "controlplane.tailscale.com:443"} {
		_, err := d.DialContext(t.Context(), "tcp", address)
		require.ErrorContains(t, err, "outside of the rehearsal", address)
	}
}

func TestTheEnvironmentIsNotTheCallers(t *testing.T) {
	t.Setenv("TS_AUTHKEY", "secret")
	t.Setenv("HEADSCALE_LOG_LEVEL", "trace")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	for _, variable := range Environment() {
		name, _, _ := strings.Cut(variable, "=")
		assert.Contains(t, []string{"ALL_PROXY", "PATH", "HOME", "TMPDIR", "SystemRoot"}, name)
	}
}

func TestDatagramsKeepTheirBoundaries(t *testing.T) {
	var stream bytes.Buffer
	for _, datagram := range []string{"one", "", strings.Repeat("x", 1<<16-1)} {
		require.NoError(t, WriteDatagram(&stream, []byte(datagram)))
	}
	require.ErrorContains(t, WriteDatagram(&stream, make([]byte, 1<<16)), "too long")
	for _, want := range []string{"one", "", strings.Repeat("x", 1<<16-1)} {
		got, err := ReadDatagram(&stream)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	_, err := ReadDatagram(&stream)
	require.ErrorIs(t, err, io.EOF)
	_, err = ReadDatagram(strings.NewReader("\x00\x05abc"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	dir, err := os.MkdirTemp("", "nodes-") // the socket's path must be short
	require.NoError(t, err)
	defer os.RemoveAll(dir) //nolint:errcheck // the test is over
	socket := filepath.Join(dir, "socket")
	served, err := serveNodes(Settings{Socket: socket, Nodes: t.TempDir()})
	require.NoError(t, err)
	defer served.close()
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "the socket is nobody else's")
	for want, request := range map[string]Request{
		"nothing is asked for":           {Node: "a"},
		`"../a" is no name of a node`:    {Node: "../a", Join: &Join{}},
		`".a" is no name of a node`:      {Node: ".a", Join: &Join{}},
		`"" is no name of a node`:        {Join: &Join{}},
		"stranger is not in the tailnet": {Node: "stranger", Dial: &Dial{Network: "tcp"}},
	} {
		request.Timeout = time.Second
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		_, _, err = Ask(conn, request)
		require.EqualError(t, err, want)
		require.NoError(t, conn.Close())
	}
}

func TestMainWithoutSettings(t *testing.T) {
	assert.Equal(t, 1, Main(nil))
	require.ErrorIs(t, run([]string{filepath.Join(t.TempDir(), "missing")}), os.ErrNotExist)
}
