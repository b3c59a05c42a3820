package preflight

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnTailnet(t *testing.T) {
	refused := errors.New("connection refused")
	for name, c := range map[string]struct {
		addresses []string
		dial      error
		want      error
	}{
		"Tailscale's IPv4 address":           {[]string{"127.0.0.1/8", "100.101.102.103/32"}, refused, nil},
		"Tailscale's IPv6 address":           {[]string{"fd7a:115c:a1e0::ab/128"}, refused, nil},
		"through the host of the computer":   {[]string{"172.20.1.2/20"}, nil, nil},
		"no tailnet":                         {[]string{"127.0.0.1/8", "192.168.1.7/24", "fe80::1/64", "100.63.0.1/10", "fd00::1/8"}, refused, ErrOffTailnet},
		"no network":                         {nil, refused, ErrOffTailnet},
		"addresses that mean something else": {[]string{"", "100.101.102.103"}, refused, ErrOffTailnet},
	} {
		t.Run(name, func(t *testing.T) {
			err := onTailnet(func() ([]net.Addr, error) {
				var out []net.Addr
				for _, a := range c.addresses {
					out = append(out, plain(a))
				}
				return out, nil
			}, func() error { return c.dial })
			require.ErrorIs(t, err, c.want)
		})
	}
	assert.NoError(t, onTailnet(func() ([]net.Addr, error) { return nil, errors.New("not permitted") }, func() error { return nil }))
	assert.Error(t, onTailnet(func() ([]net.Addr, error) { return nil, errors.New("not permitted") }, func() error { return refused }))
}

type plain string

func (plain) Network() string  { return "ip+net" }
func (p plain) String() string { return string(p) }
