package simcloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
)

// How the provider retries a connection: pulumi's retry.Acceptor with its defaults.
const (
	dialDelay    = 100 * time.Millisecond
	dialBackoff  = 1.5
	dialMaxDelay = 5 * time.Second
)

func createCommand(ctx context.Context, t *task, _ *object) error {
	t.id = t.name + hexID(8)
	t.result()
	script, ok := t.in["create"].(string)
	if !ok {
		return nil
	}
	return t.execute(ctx, OpCreate, script, t.in)
}

func updateCommand(ctx context.Context, t *task, _ *object) error {
	script, ok := t.in["update"].(string)
	if !ok {
		script, ok = t.in["create"].(string)
	}
	if !ok {
		// The provider keeps what the last command said.
		t.out["stdout"], t.out["stderr"] = text(t.state, "stdout"), text(t.state, "stderr")
		return nil
	}
	return t.execute(ctx, OpUpdate, script, t.in)
}

func deleteCommand(ctx context.Context, t *task, o *object) error {
	in := t.in
	if o != nil {
		in, t.state = o.Inputs, o.Outputs
	}
	script, ok := in["delete"].(string)
	if !ok {
		return nil
	}
	t.out = map[string]any{}
	return t.execute(ctx, OpDelete, script, in)
}

// execute runs a command over SSH as the provider does, and records it.
func (t *task) execute(ctx context.Context, phase Kind, script string, in map[string]any) error {
	connection := section(in, "connection")
	client, err := t.connect(ctx, connection)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // a lost connection shows in the command's own error
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	if err := t.setEnvironment(session, in); err != nil {
		return err
	}
	stdin, err := t.delivered(ctx, text(in, "stdin"))
	if err != nil {
		return err
	}
	if stdin != "" {
		session.Stdin = strings.NewReader(stdin)
	}
	var stdout, stderr, both bytes.Buffer
	shared := &lockedWriter{w: &both}
	session.Stdout, session.Stderr = io.MultiWriter(&stdout, shared), io.MultiWriter(&stderr, shared)
	t.w.record(t, phase, script, in)
	if err := session.Run(script); err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return fmt.Errorf("%w: running %q:\n%s", err, script, both.String())
	}
	t.out["stdout"], t.out["stderr"] = strings.TrimSuffix(stdout.String(), "\n"), strings.TrimSuffix(stderr.String(), "\n")
	return nil
}

// delivered is what a command is given to read, as it arrives at the machine: all that the program
// puts there comes this way. The host keys of Hetzner's storage boxes become those of the
// rehearsal's. Inputs, state and what is recorded stay the program's.
func (t *task) delivered(ctx context.Context, stdin string) (string, error) {
	if !rehearsal.PinsBoxes(stdin) {
		return stdin, nil
	}
	keys, err := t.w.opts.Machines.BoxKeys(ctx)
	if err != nil {
		return "", fmt.Errorf("asking for the host keys of the storage boxes: %w", err)
	}
	return rehearsal.PinBoxes(stdin, keys)
}

// lockedWriter takes what a command writes to both of its outputs.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// setEnvironment asks for the program's variables, and for what the last command said. sshd refuses
// both unless it is told otherwise; of the latter the provider does not mind.
func (t *task) setEnvironment(session *ssh.Session, in map[string]any) error {
	variables := section(in, "environment")
	for _, name := range sortedKeys(variables) {
		if err := session.Setenv(name, text(variables, name)); err != nil {
			return fmt.Errorf("could not set environment variable %q: %w", name, err)
		}
	}
	if again, given := in["addPreviousOutputInEnv"].(bool); given && !again {
		return nil
	}
	for name, of := range map[string]string{"PULUMI_COMMAND_STDOUT": "stdout", "PULUMI_COMMAND_STDERR": "stderr"} {
		if said := text(t.state, of); said != "" {
			_ = session.Setenv(name, said)
		}
	}
	return nil
}

// record remembers a command of the machine that its address belongs to.
func (w *World) record(t *task, phase Kind, script string, in map[string]any) {
	connection := section(in, "connection")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.state.Machines {
		if !w.is(m, text(connection, "host")) {
			continue
		}
		environ := map[string]string{}
		for name, v := range section(in, "environment") {
			environ[name], _ = v.(string)
		}
		m.Commands = append(m.Commands, Command{
			Sequence: w.serial(), Machine: m.Name, Address: text(connection, "host"), User: loginName(connection), Resource: t.name,
			Phase: phase, Script: script, Stdin: text(in, "stdin"), Environ: environ,
		})
		return
	}
}

func loginName(connection map[string]any) string {
	if user := text(connection, "user"); user != "" {
		return user
	}
	return "root"
}

// connect dials the machine, through its proxy where there is one.
func (t *task) connect(ctx context.Context, connection map[string]any) (*ssh.Client, error) {
	config, err := sshConfig(connection)
	if err != nil {
		return nil, err
	}
	target := endpoint(connection)
	proxy := section(connection, "proxy")
	if proxy == nil {
		return retried(ctx, connection, func() (*ssh.Client, error) { return t.handshake(ctx, t.dialer(ctx), target, config) })
	}
	proxyConfig, err := sshConfig(proxy)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	through, err := retried(ctx, proxy, func() (*ssh.Client, error) { return t.handshake(ctx, t.dialer(ctx), endpoint(proxy), proxyConfig) })
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	client, err := retried(ctx, connection, func() (*ssh.Client, error) {
		return t.handshake(ctx, func(address string, _ time.Duration) (net.Conn, error) { return through.Dial("tcp", address) }, target, config)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxy: %w", err), through.Close())
	}
	go func() { // the proxy goes with what goes through it
		_ = client.Wait()
		_ = through.Close()
	}()
	return client, nil
}

func endpoint(connection map[string]any) string {
	port := int(number(connection, "port"))
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(text(connection, "host"), strconv.Itoa(port))
}

// sshConfig reads a connection as the provider does.
func sshConfig(connection map[string]any) (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{User: loginName(connection), HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 15 * time.Second}
	if pinned := text(connection, "hostKey"); pinned != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pinned))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback, config.HostKeyAlgorithms = ssh.FixedHostKey(key), []string{key.Type()}
	}
	if seconds, given := connection["perDialTimeout"].(float64); given {
		config.Timeout = time.Duration(seconds) * time.Second
	}
	if key := text(connection, "privateKey"); key != "" {
		signer, err := signerOf(key, text(connection, "privateKeyPassword"))
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if password := text(connection, "password"); password != "" {
		config.Auth = append(config.Auth, ssh.Password(password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = password
				}
				return answers, nil
			}))
	}
	if text(connection, "agentSocketPath") != "" {
		return nil, fail("an SSH agent is not part of a rehearsal on machines")
	}
	return config, nil
}

func signerOf(key, password string) (ssh.Signer, error) {
	if password != "" {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(password))
	}
	return ssh.ParsePrivateKey([]byte(key))
}

// dialer opens connections from this computer.
func (t *task) dialer(ctx context.Context) func(string, time.Duration) (net.Conn, error) {
	return func(address string, patience time.Duration) (net.Conn, error) {
		within := ctx
		if patience > 0 {
			var cancel context.CancelFunc
			within, cancel = context.WithTimeout(ctx, patience)
			defer cancel()
		}
		conn, err := t.w.opts.Machines.Dial(within, rehearsal.Target{Origin: rehearsal.FromTailnet, Network: "tcp", Address: address})
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = errors.New("i/o timeout")
			}
			return nil, fmt.Errorf("dial tcp %s: %w", address, err)
		}
		return conn, nil
	}
}

// handshake opens an SSH connection.
func (t *task) handshake(ctx context.Context, dial func(string, time.Duration) (net.Conn, error), address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	conn, err := dial(address, config.Timeout)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		_ = conn.Close() // the handshake may have closed it
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// retried tries as often as the connection says.
func retried[T any](ctx context.Context, connection map[string]any, try func() (T, error)) (T, error) {
	limit := 10
	if n, given := connection["dialErrorLimit"].(float64); given {
		limit = int(n)
	}
	delay := dialDelay
	for failed := 0; ; failed++ {
		out, err := try()
		if err == nil {
			return out, nil
		}
		if cause := ctx.Err(); cause != nil {
			return out, cause
		}
		if limit > -1 && failed+1 > limit {
			return out, fmt.Errorf("after %d failed attempts: %w", failed, err)
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(delay):
		}
		delay = min(time.Duration(float64(delay)*dialBackoff), dialMaxDelay)
	}
}
