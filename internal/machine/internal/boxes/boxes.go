// Package boxes runs Hetzner's Storage Boxes as real servers: SFTP on port 22, SSH with BorgBackup,
// rsync and a few commands on port 23, WebDAV on port 443, with the accounts, protocols, quotas and
// snapshots that are declared. What is said here of a real box is from docs.hetzner.com/storage, or
// marked as inferred.
package boxes

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Options says where the boxes are and how they are reached.
type Options struct {
	// Dir keeps the contents, each box's in a folder of its own. It outlives the process.
	Dir string
	// Listen opens a port at one of a box's addresses.
	Listen func(netip.AddrPort) (net.Listener, error)
	// Certificate is what HTTPS shows, for the names of all boxes.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// HostKeys are what SSH shows, on both ports and for all boxes: at least one, one of a kind.
	HostKeys []ssh.Signer
	// Inside reports whether a client is in Hetzner's network, and may reach what is not reachable
	// externally. Nil lets everybody in.
	Inside func(netip.Addr) bool
	// LoginDelay is how long a wrong password takes. The default is two seconds.
	LoginDelay time.Duration
	// Patience is how long a client may be silent in the middle of something before it is hung up
	// on. The default is one minute, as for Apache; what a real box's SSH does is not documented.
	Patience time.Duration
	// Now is the clock of the snapshot plans. The default is time.Now.
	Now func() time.Time
	// Log hears of logins and of what went wrong; no password reaches it. The default discards.
	Log *slog.Logger
}

// Server runs any number of boxes.
type Server struct {
	options Options

	mu    sync.Mutex
	boxes map[string]*box
	gone  bool
}

// New makes a server without boxes.
func New(options Options) (*Server, error) {
	if options.Listen == nil || options.Certificate == nil || len(options.HostKeys) == 0 || options.Dir == "" {
		return nil, errors.New("storage boxes need a folder, listeners, a certificate and a host key")
	}
	if options.LoginDelay == 0 {
		options.LoginDelay = 2 * time.Second
	}
	if options.Patience == 0 {
		options.Patience = time.Minute
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the storage boxes' folder: %w", err)
	}
	return &Server{options: options, boxes: map[string]*box{}}, nil
}

// Apply makes a box what is declared: new, changed or as it is. Accounts that are deleted or
// changed lose their connections. The contents stay.
func (s *Server) Apply(declared Box) error {
	if err := declared.Validate(); err != nil {
		return err
	}
	if declared.Access.SSH {
		if err := checkPrograms(); err != nil {
			return fmt.Errorf("storage box %s: %w", declared.ID, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return errors.New("the storage boxes are closed")
	}
	b := s.boxes[declared.ID]
	if b == nil {
		var err error
		if b, err = s.open(declared); err != nil {
			return fmt.Errorf("opening storage box %s: %w", declared.ID, err)
		}
		s.boxes[declared.ID] = b
	}
	if err := b.apply(declared); err != nil {
		return fmt.Errorf("changing storage box %s: %w", declared.ID, err)
	}
	return nil
}

// Remove deletes a box with its contents and snapshots.
func (s *Server) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !plainID.MatchString(id) {
		return fmt.Errorf("%q is no storage box's ID", id)
	}
	if b := s.boxes[id]; b != nil {
		b.close()
		delete(s.boxes, id)
	}
	// A box that was full of read-only folders is removed as well.
	if err := removeAll(filepath.Join(s.options.Dir, id)); err != nil {
		return fmt.Errorf("removing storage box %s: %w", id, err)
	}
	return nil
}

// Usage returns the bytes in use, with what only snapshots hold.
func (s *Server) Usage(id string) (int64, error) {
	b, err := s.box(id)
	if err != nil {
		return 0, err
	}
	return b.space.count()
}

// Close ends every connection and every program that a client started. The contents stay.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for id, b := range s.boxes {
		b.close()
		delete(s.boxes, id)
	}
	return nil
}

func (s *Server) box(id string) (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[id]
	if b == nil {
		return nil, fmt.Errorf("no storage box %s", id)
	}
	return b, nil
}
