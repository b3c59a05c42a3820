package boxes

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// maxConnections is how many connections an account may have at once
// (docs.hetzner.com/storage/storage-box/general).
const maxConnections = 10

var (
	errDenied     = errors.New("permission denied")
	errTooMany    = errors.New("too many connections of this account")
	errNoLonger   = errors.New("the account was changed or deleted")
	errNoPassword = errors.New("no such account or wrong password")
)

// account is a login that is served.
type account struct {
	login
	box *box

	mu     sync.Mutex
	closed bool
	conns  map[io.Closer]struct{}
}

func newAccount(l login, b *box) *account {
	return &account{login: l, box: b, conns: map[io.Closer]struct{}{}}
}

// join counts a connection that has logged in, to be closed when the account changes. A connection
// that joined before is counted once.
func (a *account) join(c io.Closer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errNoLonger
	}
	if _, ok := a.conns[c]; ok {
		return nil
	}
	if len(a.conns) >= maxConnections {
		return errTooMany
	}
	a.conns[c] = struct{}{}
	return nil
}

func (a *account) leave(c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

// cutOff ends every connection and lets no further one join.
func (a *account) cutOff() {
	a.mu.Lock()
	a.closed = true
	conns := a.conns
	a.conns = map[io.Closer]struct{}{}
	a.mu.Unlock()
	for c := range conns {
		_ = c.Close() // the other side may have closed it already
	}
}

// checkPassword takes as long for a wrong password as for a right one.
func (a *account) checkPassword(password string) bool {
	got, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(a.password))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// reachable reports whether a client with this address may use the account.
func (a *account) reachable(client net.Addr) bool {
	return a.external || a.box.server.inside(client)
}

// inside reports whether a client is in Hetzner's network.
func (s *Server) inside(client net.Addr) bool {
	if s.options.Inside == nil {
		return true
	}
	address, err := netip.ParseAddrPort(client.String())
	return err == nil && s.options.Inside(address.Addr().Unmap())
}
