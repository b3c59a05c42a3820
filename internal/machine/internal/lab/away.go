package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"homelab/internal/rehearsal"
)

// errCut is why this computer reaches nobody.
var errCut = errors.New("this computer's connection is cut, as the rehearsal was asked for")

// lines are this computer's connections into the tailnet.
type lines struct {
	mu   sync.Mutex
	cut  bool
	open map[*line]bool
}

// line is one of them.
type line struct {
	net.Conn

	of *lines
}

// Close implements net.Conn.
func (c *line) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends one direction, where the connection can do that.
func (c *line) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// dial opens a connection that a cut ends.
func (l *lines) dial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if l.isCut() {
		return nil, errCut
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	out := &line{conn, l}
	l.mu.Lock()
	cut := l.cut
	if !cut {
		if l.open == nil {
			l.open = map[*line]bool{}
		}
		l.open[out] = true
	}
	l.mu.Unlock()
	if cut { // while it was dialled
		return nil, errors.Join(errCut, conn.Close())
	}
	return out, nil
}

func (l *lines) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// setCut cuts all lines, or lets new ones be opened again.
func (l *lines) setCut(cut bool) error {
	l.mu.Lock()
	l.cut = cut
	var ended []*line
	if cut {
		for c := range l.open {
			ended = append(ended, c)
		}
	}
	l.mu.Unlock()
	var all []error
	for _, c := range ended {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// SetAway implements rehearsal.Service. Nobody is away when the rehearsal is opened the next time.
func (l *Lab) SetAway(_ context.Context, who rehearsal.Party, away bool) error {
	switch {
	case who == rehearsal.Laptop:
		return l.laptop.setCut(away)
	case who == rehearsal.TailnetServers:
		return l.network.HostDown(away, tailscaleAddress)
	}
	id, isBox := strings.CutPrefix(string(who), string(rehearsal.BoxParty("")))
	if !isBox {
		return fmt.Errorf("nobody in the rehearsal is called %q", who)
	}
	addresses, err := l.boxAddresses(id)
	if err != nil {
		return err
	}
	return l.network.HostDown(away, addresses...)
}

func (l *Lab) boxAddresses(id string) ([]netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.saved.Boxes, func(b savedBox) bool { return b.Box.ID == id })
	if at < 0 {
		return nil, fmt.Errorf("there is no storage box %q", id)
	}
	return l.saved.Boxes[at].addresses(), nil
}
