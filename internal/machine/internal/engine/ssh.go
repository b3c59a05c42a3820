package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
)

// dialStdio is what Docker's client runs on a host that it reaches over SSH: it joins the session
// with the engine's socket.
const dialStdio = "docker system dial-stdio"

// overSSH opens a connection to the engine's socket. As the provider, it opens an SSH connection for
// each.
func (e *Engine) overSSH(ctx context.Context, call rehearsal.DockerCall) (net.Conn, error) {
	conn, err := e.tunnel(ctx, call)
	if err != nil {
		return nil, said("Cannot connect to the Docker daemon at %s. Is the docker daemon running? (%w)", call.Host, err)
	}
	return conn, nil
}

func (e *Engine) tunnel(ctx context.Context, call rehearsal.DockerCall) (_ net.Conn, err error) {
	u, err := url.Parse(call.Host)
	if err != nil || u.Scheme != "ssh" || u.Hostname() == "" {
		return nil, errors.New("the host is no ssh://user@host")
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	config := &ssh.ClientConfig{User: u.User.Username()}
	config.HostKeyCallback, config.HostKeyAlgorithms = pinned(call.HostKeys)
	raw, err := e.options.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if err != nil {
		_ = raw.Close() // the handshake may have closed it
		return nil, err
	}
	out := &sessionConn{client: ssh.NewClient(c, channels, requests), raw: raw}
	if err := out.open(); err != nil {
		return nil, errors.Join(err, out.client.Close())
	}
	return out, nil
}

// pinned accepts one of the keys, and asks the host for a key of their types, as ssh does: a host
// that may choose shows another one. Without any, every host is accepted, as ssh with the check
// turned off.
func pinned(lines []string) (ssh.HostKeyCallback, []string) {
	if len(lines) == 0 {
		return ssh.InsecureIgnoreHostKey(), nil
	}
	var keys []ssh.PublicKey
	var algorithms []string
	for _, line := range lines {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			continue // it fits no host
		}
		keys = append(keys, key)
		if !slices.Contains(algorithms, key.Type()) {
			algorithms = append(algorithms, key.Type())
		}
	}
	return func(_ string, _ net.Addr, got ssh.PublicKey) error {
		for _, want := range keys {
			if bytes.Equal(want.Marshal(), got.Marshal()) {
				return nil
			}
		}
		return said("Host key verification failed.")
	}, algorithms
}

// sessionConn is a session that is joined with the engine's socket.
type sessionConn struct {
	client  *ssh.Client
	raw     net.Conn
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
}

func (c *sessionConn) open() (err error) {
	if c.session, err = c.client.NewSession(); err != nil {
		return err
	}
	if c.in, err = c.session.StdinPipe(); err != nil {
		return err
	}
	if c.out, err = c.session.StdoutPipe(); err != nil {
		return err
	}
	return c.session.Start(dialStdio)
}

// Read implements net.Conn.
func (c *sessionConn) Read(p []byte) (int, error) { return c.out.Read(p) }

// Write implements net.Conn.
func (c *sessionConn) Write(p []byte) (int, error) { return c.in.Write(p) }

// CloseWrite tells the engine that nothing more comes.
func (c *sessionConn) CloseWrite() error { return c.in.Close() }

// Close implements net.Conn.
func (c *sessionConn) Close() error { return c.client.Close() }

// LocalAddr implements net.Conn.
func (c *sessionConn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *sessionConn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline implements net.Conn. A session has no deadlines; a call ends by its context.
func (c *sessionConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; see SetDeadline.
func (c *sessionConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; see SetDeadline.
func (c *sessionConn) SetWriteDeadline(time.Time) error { return nil }
