package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks QEMU's machine protocol (QMP): one JSON object a line, a greeting first, then
// answers to commands and, between them, events.
type monitor struct {
	mu      sync.Mutex
	conn    net.Conn
	decoder *json.Decoder
	ready   bool
}

// answerWithin is how long QEMU may take for an answer on a busy computer.
const answerWithin = 60 * time.Second

func newMonitor(conn net.Conn) *monitor { return &monitor{conn: conn, decoder: json.NewDecoder(conn)} }

// message is what QEMU says: an answer has Return or Error, anything else is an event or the
// greeting.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// execute runs one command that needs no arguments.
func (m *monitor) execute(command string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", command, err)
	}
	if !m.ready {
		greeting, err := m.read()
		if err == nil && greeting.Greeting == nil {
			err = errors.New("no greeting")
		}
		if err == nil {
			err = m.ask("qmp_capabilities")
		}
		if err != nil {
			return fmt.Errorf("greeting QEMU: %w", err)
		}
		m.ready = true
	}
	if err := m.ask(command); err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", command, err)
	}
	return nil
}

func (m *monitor) ask(command string) error {
	if err := json.NewEncoder(m.conn).Encode(map[string]string{"execute": command}); err != nil {
		return err
	}
	for {
		said, err := m.read()
		switch {
		case err != nil:
			return err
		case said.Error != nil:
			return errors.New(said.Error.Desc)
		case said.Return != nil:
			return nil
		}
	}
}

func (m *monitor) read() (message, error) {
	var said message
	err := m.decoder.Decode(&said)
	return said, err
}
