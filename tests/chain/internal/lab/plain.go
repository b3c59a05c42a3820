//go:build linux

package lab

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/deployed"
	"homelab/tests/chain/internal/netns"
)

// plain is the name of the proxy without a chain, and its place in the proxy's network.
const (
	plain      = "plain"
	plainPlace = 250
)

// StartPlain starts the same proxy program with another Caddyfile, as a neighbour of the real one: what a measurement compares with. It returns
// the certificate of its authority in PEM.
func (l *Lab) StartPlain(ctx context.Context, caddyfile string) (authority []byte, err error) {
	home := l.containers["caddy"].Networks[0]
	place := home.Address.Masked().Addr().As4()
	place[3] = plainPlace
	home.Address = netip.PrefixFrom(netip.AddrFrom4(place), home.Address.Bits())
	folders := map[string]string{"/etc/caddy": "config", "/data": "data"}
	c := &container{Container: &deployed.Container{Networks: []deployed.Network{home}, Health: []string{"caddy", "healthy"}}}
	c.Spec = box.Spec{Name: plain, User: 10001, Group: 10001, ReadOnly: true, Mounts: []box.Mount{{Target: "/config", SizeBytes: 1 << 20, Mode: 0o1777}}}
	for target, base := range folders {
		source := filepath.Join(l.folder, plain, base)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(source, c.Spec.User, c.Spec.Group); err != nil {
			return nil, err
		}
		c.Spec.Mounts = append(c.Spec.Mounts, box.Mount{Target: target, Source: source})
	}
	if err := os.WriteFile(filepath.Join(l.folder, plain, "config", "Caddyfile"), []byte(caddyfile), 0o644); err != nil {
		return nil, err
	}
	if c.network, err = netns.New(plain); err != nil {
		return nil, err
	}
	l.containers[plain] = c
	if err := l.join(c, home); err != nil {
		return nil, err
	}
	if err := l.writeHosts(); err != nil {
		return nil, err
	}
	if err := l.StartContainer(ctx, plain); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(l.folder, plain, "data", "caddy", "pki", "authorities", "local", "root.crt"))
}
