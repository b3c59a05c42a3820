package boxes

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// loginGrace is how long a client may take to log in, as in OpenSSH.
const loginGrace = 2 * time.Minute

// maxSessions is how many channels a connection may have at once, as in OpenSSH.
const maxSessions = 10

// who is what a login found out.
type who struct {
	account *account
	grant   grant
}

// whoKey is where x/crypto/ssh keeps it.
type whoKey struct{}

// serveSSH answers a port until it is closed.
func (b *box) serveSSH(l *listening) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !b.reachable(c.RemoteAddr()) || !l.hold(c) {
			_ = c.Close() // whoever it is was told nothing
			continue
		}
		l.work.Go(func() {
			defer l.release(c)
			defer c.Close()
			b.connection(l, c)
		})
	}
}

// reachable reports whether a client may see the box at all. How a real box keeps others out is not
// documented; here they are hung up on.
func (b *box) reachable(client net.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.external || b.server.inside(client)
}

// connection logs a client in and serves its sessions.
func (b *box) connection(l *listening, c net.Conn) {
	log := b.server.options.Log.With("client", c.RemoteAddr().String(), "port", l.port)
	if err := c.SetDeadline(time.Now().Add(loginGrace)); err != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(c, b.sshConfig(l))
	if err != nil {
		log.Info("no login by SSH", "error", err)
		return
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return
	}
	w := conn.Permissions.ExtraData[whoKey{}].(who)
	if err := w.account.join(c); err != nil {
		log.Info("refused", "account", w.account.username, "error", err)
		return
	}
	defer w.account.leave(c)
	log.Info("login by SSH", "account", w.account.username)
	go ssh.DiscardRequests(requests) // forwarding and the like
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sessions.Go(func() { b.watch(ctx, conn) })
	open := make(chan struct{}, maxSessions)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.Prohibited, "a storage box forwards nothing")
			continue
		}
		select {
		case open <- struct{}{}:
		default:
			_ = channel.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		accepted, requests, err := channel.Accept()
		if err != nil {
			<-open
			continue
		}
		s := &session{who: w, port: l.port, channel: accepted}
		sessions.Go(func() {
			defer func() { <-open }()
			s.serve(ctx, requests)
		})
	}
}

// watch hangs up on a client that no longer answers: a machine without power says no goodbye, and
// the account has ten connections.
func (b *box) watch(ctx context.Context, conn ssh.Conn) {
	patience := b.server.options.Patience
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(patience / 2):
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _, _ = conn.SendRequest("keepalive@openssh.com", true, nil) // a refusal is an answer
		}()
		select {
		case <-ctx.Done():
			return
		case <-answered:
		case <-time.After(patience / 2):
			_ = conn.Close() // it may be closed already
			return
		}
	}
}

// sshConfig is how a port lets clients in.
func (b *box) sshConfig(l *listening) *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		MaxAuthTries: 6,
		PasswordCallback: func(conn ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			a := b.account(conn.User())
			if a == nil || !a.checkPassword(string(password)) || !a.ssh || !a.reachable(conn.RemoteAddr()) {
				b.delay(l)
				return nil, errNoPassword
			}
			return &ssh.Permissions{ExtraData: map[any]any{whoKey{}: who{account: a}}}, nil
		},
		PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			a := b.account(conn.User())
			if a == nil || !a.ssh || !a.reachable(conn.RemoteAddr()) {
				return nil, errDenied
			}
			g, err := a.keyGrant(key, l.port, conn.RemoteAddr())
			if err != nil {
				return nil, err
			}
			return &ssh.Permissions{ExtraData: map[any]any{whoKey{}: who{account: a, grant: *g}}}, nil
		},
	}
	for _, key := range b.server.options.HostKeys {
		config.AddHostKey(key)
	}
	return config
}

// delay makes a wrong password slow, unless the port is closed in the meantime.
func (b *box) delay(l *listening) {
	select {
	case <-time.After(b.server.options.LoginDelay):
	case <-l.done:
	}
}

// session is one channel of a connection.
type session struct {
	who
	port    uint16
	channel ssh.Channel
}

// serve waits for the one thing that a session is for, and does it.
func (s *session) serve(ctx context.Context, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer s.channel.Close()
	started := false
	for r := range requests {
		run := s.what(r)
		ok := run != nil && !started
		if r.WantReply {
			if err := r.Reply(ok, nil); err != nil {
				return
			}
		}
		if !ok {
			continue // a terminal, an environment, a signal: none of them exists here
		}
		started = true
		running.Go(func() {
			status := run(ctx)
			// The client may be gone; then nobody asks.
			_ = s.channel.CloseWrite()
			_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
			_ = s.channel.Close()
		})
	}
}

// what is asked for by a request, if it is something that the port offers.
func (s *session) what(r *ssh.Request) func(context.Context) int {
	var payload struct{ Text string }
	switch r.Type {
	case "shell":
	case "exec", "subsystem":
		if err := ssh.Unmarshal(r.Payload, &payload); err != nil {
			return nil
		}
	default:
		return nil
	}
	if s.port == sftpPort {
		if r.Type == "subsystem" && payload.Text == "sftp" {
			return func(context.Context) int { return s.sftp("/") }
		}
		return nil
	}
	original := payload.Text
	if r.Type == "subsystem" {
		if payload.Text != "sftp" {
			return nil
		}
		original = "internal-sftp"
	}
	if s.grant.forced {
		return func(ctx context.Context) int { return s.command(ctx, s.grant.command, original) }
	}
	if r.Type == "shell" {
		return func(context.Context) int {
			_, _ = io.WriteString(s.channel, "This storage box has no interactive shell: name a command, such as help.\n")
			return 1
		}
	}
	return func(ctx context.Context) int { return s.command(ctx, original, "") }
}
