package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
)

// sshHost is an SSH server that joins a session with an engine's socket. It has keys of two types, as
// every real one.
type sshHost struct {
	signer, other ssh.Signer
	socket        string
	asked         []string
}

func newSSHHost(t *testing.T, socket string) *sshHost {
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, err := ssh.NewSignerFromKey(curve)
	require.NoError(t, err)
	return &sshHost{signer: signer, other: other, socket: socket}
}

func (h *sshHost) key() string { return string(ssh.MarshalAuthorizedKey(h.signer.PublicKey())) }

func (h *sshHost) serve(conn net.Conn) {
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(h.other) // which every client prefers that does not say what it knows
	config.AddHostKey(h.signer)
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	h.asked = append(h.asked, c.User())
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, asked, err := open.Accept()
		if err != nil {
			return
		}
		for req := range asked {
			var v struct{ Command string }
			ok := req.Type == "exec" && ssh.Unmarshal(req.Payload, &v) == nil && v.Command == dialStdio
			_ = req.Reply(ok, nil)
			if ok {
				break
			}
		}
		engine, err := net.Dial("unix", h.socket)
		if err != nil {
			_ = channel.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(engine, channel)
			_ = engine.(*net.UnixConn).CloseWrite()
		}()
		go func() {
			_, _ = io.Copy(channel, engine)
			_ = channel.Close()
		}()
	}
}

func TestTheEngineIsReachedOverSSH(t *testing.T) {
	docker := startDocker(t)
	host := newSSHHost(t, docker.socket)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			host.serve(conn)
		}
	}()
	e := New(Options{Dial: func(ctx context.Context, address string) (net.Conn, error) {
		if address != "100.64.0.7:22" {
			return nil, errors.New("connect: no route to host")
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", listener.Addr().String())
	}})
	call := rehearsal.DockerCall{
		Host: "ssh://deploy@100.64.0.7", HostKeys: []string{strings.TrimSpace(host.key())}, Type: "docker:index/volume:Volume",
		Operation: rehearsal.Create, Inputs: []byte(`{"name":"data"}`),
	}
	result, err := e.Docker(t.Context(), call)
	require.NoError(t, err)
	assert.Equal(t, "data", result.ID)
	assert.Equal(t, "data", docker.docker("volume", "ls", "--quiet"))
	assert.Contains(t, host.asked, "deploy")

	call.HostKeys = []string{newSSHHost(t, "").key()}
	_, err = e.Docker(t.Context(), call)
	require.ErrorContains(t, err, "Cannot connect to the Docker daemon at ssh://deploy@100.64.0.7. Is the docker daemon running? (")
	require.ErrorContains(t, err, "Host key verification failed.")
	call.Host = "ssh://deploy@100.64.0.8"
	_, err = e.Docker(t.Context(), call)
	require.ErrorContains(t, err, "no route to host")
	call.Host = "unix:///var/run/docker.sock"
	_, err = e.Docker(t.Context(), call)
	require.ErrorContains(t, err, "no ssh://user@host", "never the computer's own engine")
}
