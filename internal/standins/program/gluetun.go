package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// errNoTunnel is what the health check says, always: nothing that is behind the stand-in may believe
// that it is behind a VPN.
var errNoTunnel = errors.New("gluetun: this is a stand-in, which has no tunnel and is never healthy: leave homelab:vpn off where there is no real one")

// gluetun is Gluetun that reads its settings, and then has no tunnel.
func gluetun(ctx context.Context, p process) error {
	if len(p.args) == 1 && p.args[0] == "healthcheck" {
		return errNoTunnel
	}
	if len(p.args) > 0 {
		return fmt.Errorf("gluetun: unknown arguments %q", p.args)
	}
	if err := p.tunnelSettings(); err != nil {
		return fmt.Errorf("gluetun: %w", err)
	}
	address := p.env("HTTP_CONTROL_SERVER_ADDRESS")
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("gluetun: the control server is at %q, not on the container's loopback", address)
	}
	log := &lines{out: p.out}
	log.printf("INFO %s", errNoTunnel)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/vpn/status", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]string{"status": "stopped"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }) // no role has another route
	return p.serve(ctx, address, mux)
}

// tunnelSettings reports what is wrong with the settings.
func (p process) tunnelSettings() error {
	var problems []error
	need := func(names ...string) {
		for _, name := range names {
			if p.env(name) == "" {
				problems = append(problems, fmt.Errorf("%s is not set", name))
			}
		}
	}
	file := func(variable string) {
		path := p.env(variable)
		if path == "" {
			problems = append(problems, fmt.Errorf("%s is not set", variable))
			return
		}
		content, err := os.ReadFile(p.path(path))
		if err == nil && strings.TrimSpace(string(content)) == "" {
			err = fmt.Errorf("%s is empty", path)
		}
		problems = append(problems, err)
	}
	if p.env("VPN_SERVICE_PROVIDER") != "custom" {
		problems = append(problems, fmt.Errorf("the server's address must be given: VPN_SERVICE_PROVIDER is %q", p.env("VPN_SERVICE_PROVIDER")))
	}
	switch kind := p.env("VPN_TYPE"); kind {
	case "wireguard":
		need("WIREGUARD_ENDPOINT_PORT", "WIREGUARD_PUBLIC_KEY", "WIREGUARD_ADDRESSES")
		if _, err := netip.ParseAddr(p.env("WIREGUARD_ENDPOINT_IP")); err != nil {
			problems = append(problems, fmt.Errorf("WIREGUARD_ENDPOINT_IP: %w", err))
		}
		file("WIREGUARD_PRIVATE_KEY_SECRETFILE")
	case "openvpn":
		need("OPENVPN_ENDPOINT_PORT")
		file("OPENVPN_CUSTOM_CONFIG")
		file("OPENVPN_USER_SECRETFILE")
		file("OPENVPN_PASSWORD_SECRETFILE")
	default:
		problems = append(problems, fmt.Errorf("there is no VPN_TYPE %q", kind))
	}
	return errors.Join(problems...)
}
