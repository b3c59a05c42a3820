//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"homelab/tests/chain/internal/box"
	"homelab/tests/chain/internal/deployed"
	"homelab/tests/internal/netns"
)

// neighbours are the proxies that a measurement compares the real one with, and their places in its
// network.
var neighbours = map[string]byte{Plain: 250, Usual: 251}

const (
	// Plain is the same program without a chain.
	Plain = "plain"
	// Usual is Caddy with CrowdSec's own module.
	Usual = "usual"
)

// StartNeighbour starts one of the proxies to compare with, beside the real one. It returns the
// certificate of its authority in PEM.
func (l *Lab) StartNeighbour(ctx context.Context, name, program, caddyfile string) (authority []byte, err error) {
	home := l.containers["caddy"].Networks[0]
	place := home.Address.Masked().Addr().As4()
	place[3] = neighbours[name]
	home.Address = netip.PrefixFrom(netip.AddrFrom4(place), home.Address.Bits())
	folders := map[string]string{"/etc/caddy": "config", "/data": "data"}
	c := &container{program: program, Container: &deployed.Container{Networks: []deployed.Network{home}, Health: []string{"caddy", "version"}}}
	proxy := l.containers["caddy"].Spec
	c.Spec = box.Spec{Name: name, User: proxy.User, Group: proxy.Group, ReadOnly: true, Mounts: []box.Mount{{Target: "/config", SizeBytes: 1 << 20, Mode: 0o1777}}}
	// The same log as the real one's, which CrowdSec reads.
	for _, m := range proxy.Mounts {
		if m.Target == "/var/log/caddy" {
			c.Spec.Mounts = append(c.Spec.Mounts, m)
		}
	}
	for target, base := range folders {
		source := filepath.Join(l.folder, name, base)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(source, c.Spec.User, c.Spec.Group); err != nil {
			return nil, err
		}
		c.Spec.Mounts = append(c.Spec.Mounts, box.Mount{Target: target, Source: source})
	}
	if err := os.WriteFile(filepath.Join(l.folder, name, "config", "Caddyfile"), []byte(caddyfile), 0o644); err != nil {
		return nil, err
	}
	if c.network, err = netns.New(name); err != nil {
		return nil, err
	}
	l.containers[name] = c
	if err := l.join(c, home); err != nil {
		return nil, err
	}
	if err := errors.Join(l.reachAsProxy(home.Address.Addr()), l.writeHosts()); err != nil {
		return nil, err
	}
	if err := l.StartContainer(ctx, name); err != nil {
		return nil, err
	}
	return l.authorityOf(ctx, name)
}

// reachAsProxy lets a neighbour reach what the proxy reaches in its first network, and visitors
// reach the neighbour.
func (l *Lab) reachAsProxy(neighbour netip.Addr) error {
	content, err := os.ReadFile(l.Deployment.Path("/opt/homelab/firewall/container-caddy.nft"))
	if err != nil {
		return err
	}
	proxy := l.containers["caddy"]
	own := " " + proxy.Networks[0].Address.Addr().String() + " "
	var rules strings.Builder
	for _, line := range strings.Split(string(content), "\n") {
		if strings.Contains(line, own) {
			fmt.Fprintln(&rules, strings.ReplaceAll(line, own, fmt.Sprintf(" %s ", neighbour)))
		}
	}
	for _, p := range proxy.Published {
		fmt.Fprintf(&rules, "insert rule inet homelab_containers to_container ip daddr %s tcp dport %d accept\n", neighbour, p)
	}
	return l.machine.Run(strings.NewReader(rules.String()), "nft", "--file", "-")
}

// authorityOf waits for the authority that a neighbour makes at its start.
func (l *Lab) authorityOf(ctx context.Context, name string) ([]byte, error) {
	file := filepath.Join(l.folder, name, "data", "caddy", "pki", "authorities", "local", "root.crt")
	for {
		text, err := os.ReadFile(file)
		if err == nil && len(text) > 0 {
			return text, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.containers[name].box.Ended():
			return nil, fmt.Errorf("%s ended:\n%s", name, l.Log(name))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
