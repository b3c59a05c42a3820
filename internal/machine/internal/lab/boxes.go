package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	"homelab/internal/machine/internal/boxes"
	"homelab/internal/rehearsal"
)

// openBoxes makes the server of all boxes.
func (l *Lab) openBoxes() (*boxes.Server, error) {
	keys, err := boxes.HostKeys(filepath.Join(l.options.State, "boxkeys"))
	if err != nil {
		return nil, err
	}
	return boxes.New(boxes.Options{
		Dir: filepath.Join(l.options.State, boxesDir), Listen: l.network.Listen, Certificate: l.certificates(), HostKeys: keys, Inside: l.inside,
	})
}

// certificates issues a certificate for each name once.
func (l *Lab) certificates() func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	made := map[string]*tls.Certificate{}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if c := made[hello.ServerName]; c != nil {
			return c, nil
		}
		if hello.ServerName == "" {
			return nil, errors.New("the client names no server")
		}
		c, err := l.authority.Issue(hello.ServerName)
		if err != nil {
			return nil, err
		}
		made[hello.ServerName] = &c
		return &c, nil
	}
}

// BoxKeys implements rehearsal.Service.
func (l *Lab) BoxKeys(context.Context) ([]string, error) { return l.boxes.PublicKeys(), nil }

// SetBox implements rehearsal.Service.
func (l *Lab) SetBox(_ context.Context, box rehearsal.Box) error {
	l.mu.Lock()
	at := slices.IndexFunc(l.saved.Boxes, func(b savedBox) bool { return b.Box.ID == box.ID })
	declared := savedBox{Box: box}
	var before []string
	if at >= 0 {
		declared.Place, before = l.saved.Boxes[at].Place, l.saved.Boxes[at].names()
	} else {
		for slices.ContainsFunc(l.saved.Boxes, func(b savedBox) bool { return b.Place == declared.Place }) {
			declared.Place++
		}
	}
	l.mu.Unlock()
	if err := l.applyBox(declared); err != nil {
		return err
	}
	for _, name := range before {
		if !slices.Contains(declared.names(), name) {
			l.network.Name(name)
		}
	}
	return l.update(func() {
		l.saved.Boxes = slices.DeleteFunc(l.saved.Boxes, func(b savedBox) bool { return b.Box.ID == box.ID })
		l.saved.Boxes = append(l.saved.Boxes, declared)
	})
}

// names are those of the box and of its subaccounts.
func (b savedBox) names() []string {
	out := []string{b.Box.Main.Server}
	for _, s := range b.Box.Subaccounts {
		out = append(out, s.Server)
	}
	return out
}

// addresses of the box with this number.
func (b savedBox) addresses() []netip.Addr {
	out := []netip.Addr{firstBox, firstBox6}
	for range b.Place {
		for i := range out {
			out[i] = out[i].Next()
		}
	}
	return out
}

func (l *Lab) applyBox(b savedBox) error {
	main := b.Box.Main
	declared := boxes.Box{
		ID: b.Box.ID, Location: b.Box.Location, Username: main.User, Password: main.Password, Addresses: b.addresses(), Size: b.Box.Bytes,
		SSHKeys: b.Box.SSHKeys, SnapshotSlots: b.Box.SnapshotSlots,
		Access: boxes.Access{ReachableExternally: main.External, SSH: main.SSH, WebDAV: main.WebDAV, Samba: main.Samba, ZFS: main.ZFS},
	}
	if p := b.Box.Snapshots; p != nil {
		declared.Plan = &boxes.Plan{MaxSnapshots: p.Max, Hour: p.Hour, Minute: p.Minute, DayOfWeek: p.DayOfWeek, DayOfMonth: p.DayOfMonth}
	}
	for _, s := range b.Box.Subaccounts {
		declared.Subaccounts = append(declared.Subaccounts, boxes.Subaccount{
			Username: s.User, Password: s.Password, HomeDirectory: s.Home, ReachableExternally: s.External, SSH: s.SSH, WebDAV: s.WebDAV, Samba: s.Samba,
			Readonly: s.ReadOnly,
		})
	}
	if err := l.boxes.Apply(declared); err != nil {
		return err
	}
	for _, name := range b.names() {
		l.network.Name(name, declared.Addresses...)
	}
	return nil
}

// DeleteBox implements rehearsal.Service.
func (l *Lab) DeleteBox(_ context.Context, id string) error {
	if err := l.boxes.Remove(id); err != nil {
		return err
	}
	return l.update(func() {
		for _, b := range l.saved.Boxes {
			if b.Box.ID == id {
				for _, name := range b.names() {
					l.network.Name(name)
				}
			}
		}
		l.saved.Boxes = slices.DeleteFunc(l.saved.Boxes, func(b savedBox) bool { return b.Box.ID == id })
	})
}
