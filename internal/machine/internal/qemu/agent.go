package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Result is what a program on the machine said.
type Result struct {
	// Code is its exit code.
	Code int
	// Stdout and Stderr are what it printed.
	Stdout, Stderr string
}

// Run runs a program as root on the machine, through QEMU's guest agent, as Hetzner's console resets
// a password: no network is needed, and nothing on the machine is opened for it. stdin is what the
// program reads. A program that fails is no error; an agent that does not answer until ctx ends is
// one, because the machine may still be booting.
func (m *Machine) Run(ctx context.Context, stdin string, words ...string) (Result, error) {
	if len(words) == 0 {
		return Result{}, errors.New("running a program on the machine: no program")
	}
	m.mu.Lock()
	now := m.now
	m.mu.Unlock()
	result, err := now.agent.run(ctx, now.off, stdin, words)
	if err != nil {
		return Result{}, fmt.Errorf("running %s on the machine: %w", words[0], err)
	}
	return result, nil
}

// agent speaks to QEMU's guest agent: one JSON object a line, in turns.
type agent struct {
	turn   chan struct{} // holds one token
	conn   net.Conn
	reader *bufio.Reader
	synced bool
	number int64
}

func newAgent(conn net.Conn) *agent {
	a := &agent{turn: make(chan struct{}, 1), conn: conn, reader: bufio.NewReader(conn)}
	a.turn <- struct{}{}
	return a
}

// agentPatience is how long one answer may take. The agent answers at once when it runs.
var agentPatience = 20 * time.Second

const agentInterval = 250 * time.Millisecond

func (a *agent) run(ctx context.Context, off <-chan struct{}, stdin string, words []string) (Result, error) {
	var started struct {
		PID int `json:"pid"`
	}
	for {
		err := a.ask(ctx, &started, "guest-exec", map[string]any{
			"path": words[0], "arg": words[1:], "capture-output": true, "input-data": base64.StdEncoding.EncodeToString([]byte(stdin)),
		})
		if err == nil {
			break
		}
		var refused *refusal
		if errors.As(err, &refused) {
			return Result{}, err
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("%w (the guest agent: %v)", context.Cause(ctx), err)
		case <-off:
			return Result{}, ErrOff
		case <-time.After(agentInterval):
		}
	}
	for {
		var status struct {
			Exited bool   `json:"exited"`
			Code   int    `json:"exitcode"`
			Signal int    `json:"signal"`
			Out    []byte `json:"out-data"` // base64, as encoding/json reads bytes
			Err    []byte `json:"err-data"`
		}
		err := a.ask(ctx, &status, "guest-exec-status", map[string]any{"pid": started.PID})
		// A machine that is emulated on a busy computer stands still for many seconds at a time.
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return Result{}, err
		}
		if status.Exited {
			if status.Signal != 0 {
				status.Code = 128 + status.Signal
			}
			return Result{Code: status.Code, Stdout: string(status.Out), Stderr: string(status.Err)}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-off:
			return Result{}, ErrOff
		case <-time.After(agentInterval):
		}
	}
}

// refusal is what the agent answers to what it does not do.
type refusal struct {
	Desc string `json:"desc"`
}

func (r *refusal) Error() string { return r.Desc }

func (a *agent) ask(ctx context.Context, answer any, command string, arguments map[string]any) error {
	select {
	case <-a.turn:
		defer func() { a.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !a.synced {
		if err := a.sync(); err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
		a.synced = true
	}
	said, err := a.exchange(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		a.synced = false // an answer may still come, and would be taken for another one
		return err
	}
	if said.Error != nil {
		return said.Error
	}
	return json.Unmarshal(said.Return, answer)
}

type agentMessage struct {
	Return json.RawMessage `json:"return"`
	Error  *refusal        `json:"error"`
}

// sync drops what is left of earlier exchanges: the agent repeats a number of ours.
func (a *agent) sync() error {
	a.number = time.Now().UnixNano() & (1<<53 - 1) // as JSON's numbers are exact
	said, err := a.exchange(map[string]any{"execute": "guest-sync", "arguments": map[string]any{"id": a.number}})
	for want := fmt.Sprint(a.number); err == nil; said, err = a.read() {
		if string(bytes.TrimSpace(said.Return)) == want {
			return nil
		}
	}
	return err
}

func (a *agent) exchange(question map[string]any) (agentMessage, error) {
	if err := a.conn.SetDeadline(time.Now().Add(agentPatience)); err != nil {
		return agentMessage{}, err
	}
	if err := json.NewEncoder(a.conn).Encode(question); err != nil {
		return agentMessage{}, err
	}
	return a.read()
}

func (a *agent) read() (agentMessage, error) {
	line, err := a.reader.ReadBytes('\n')
	if err != nil {
		return agentMessage{}, err
	}
	var said agentMessage
	err = json.Unmarshal(line, &said)
	return said, err
}
