package boxes

import (
	"net"
	"sync"
)

// The ports of a box (docs.hetzner.com/storage/storage-box/access/access-overview).
const (
	sftpPort   = 22 // SFTP alone
	sshPort    = 23 // SFTP, BorgBackup, rsync and a few commands
	webdavPort = 443
)

// listening is one open port of a box.
type listening struct {
	net.Listener
	port uint16
	work sync.WaitGroup // who serves the port, and its connections

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	done   chan struct{}
}

func newListening(inner net.Listener, port uint16) *listening {
	return &listening{Listener: inner, port: port, conns: map[net.Conn]struct{}{}, done: make(chan struct{})}
}

// hold keeps a connection, to be closed with the port. It reports false if that is closed already.
func (l *listening) hold(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

func (l *listening) release(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// close ends the port and its connections; it does not wait for them.
func (l *listening) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	_ = l.Listener.Close() // nothing is lost with a port
	for c := range l.conns {
		_ = c.Close()
	}
}
