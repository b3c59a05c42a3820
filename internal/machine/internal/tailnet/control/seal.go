package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/proxy"
	"tailscale.com/envknob"
	"tailscale.com/net/tshttpproxy"
)

// scheme names the dialer of this package in ALL_PROXY.
const scheme = "homelab-tailnet"

// seal keeps the nodes away from every network but the tailnet.
func seal(dials map[string]string) error {
	// Tailscale asks for names even when its servers are given by address, for example to find out
	// whether a hotel's login page is in the way.
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name is resolved here")
	}}
	// No logs to Tailscale, no UDP (all goes through the relay, over TCP), no asking the router.
	envknob.SetNoLogsNoSupport()
	for _, knob := range []string{"TS_DEBUG_ALWAYS_USE_DERP", "TS_DISABLE_PORTMAPPER", "TS_DISABLE_UPNP"} {
		envknob.Setenv(knob, "true")
	}
	if err := tshttpproxy.SetProxyFunc(func(*url.URL) (*url.URL, error) { return nil, nil }); err != nil {
		return err
	}
	proxy.RegisterDialerType(scheme, func(*url.URL, proxy.Dialer) (proxy.Dialer, error) { return sealed(dials), nil })
	if _, ok := proxy.FromEnvironment().(sealed); !ok {
		return errors.New("ALL_PROXY is not what Environment says")
	}
	return nil
}

// sealed connects to the addresses that are its keys, which are at those that are its values.
type sealed map[string]string

// Dial is for callers without a context.
func (s sealed) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext refuses every address that is no key.
func (s sealed) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, ok := s[address]
	if !ok {
		return nil, fmt.Errorf("%s is outside of the rehearsal", address)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to)
}
