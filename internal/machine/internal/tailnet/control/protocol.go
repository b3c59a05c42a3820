package control

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Request is what is asked on one connection to the socket: one line of JSON. Exactly one of Join
// and Dial is set.
type Request struct {
	// Node is the node's name: its host name in the tailnet, and its folder.
	Node string `json:"node"`
	// Join is the auth key by which a new node joins; a node that has joined needs none.
	Join *Join `json:"join,omitempty"`
	// Dial connects from the node.
	Dial *Dial `json:"dial,omitempty"`
	// Timeout is how long the answer may take; required.
	Timeout time.Duration `json:"timeout"`
}

// Join asks for a node to be in the tailnet.
type Join struct {
	// Key is an auth key. Secret.
	Key string `json:"key"`
}

// Dial asks for a connection. When it is there the socket's connection carries it.
type Dial struct {
	// Network is tcp or udp.
	Network string `json:"network"`
	// Address is the other end.
	Address netip.AddrPort `json:"address"`
}

// Reply is the answer: one line of JSON.
type Reply struct {
	// Error says why not; empty means done.
	Error string `json:"error,omitempty"`
	// Addresses are those of the node that joined.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Ask sends a request on a new connection to the socket, and returns the answer. What the
// connection carries afterwards is read from the reader, which may have some of it already.
func Ask(conn net.Conn, request Request) (Reply, *bufio.Reader, error) {
	line, err := json.Marshal(request)
	if err != nil {
		return Reply{}, nil, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return Reply{}, nil, err
	}
	reader := bufio.NewReader(conn)
	var reply Reply
	if err := readLine(reader, &reply); err != nil {
		return Reply{}, nil, fmt.Errorf("waiting for the answer of the tailnet's process: %w", err)
	}
	if reply.Error != "" {
		return Reply{}, nil, errors.New(reply.Error)
	}
	return reply, reader, nil
}

func readLine(reader *bufio.Reader, value any) error {
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, value)
}

// WriteDatagram writes one datagram, of at most 65535 bytes, onto a stream.
func WriteDatagram(w io.Writer, datagram []byte) error {
	if len(datagram) > 1<<16-1 {
		return fmt.Errorf("a datagram of %d bytes is too long", len(datagram))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(datagram))), datagram...))
	return err
}

// ReadDatagram reads what WriteDatagram wrote.
func ReadDatagram(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	datagram := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, datagram)
	return datagram, err
}
