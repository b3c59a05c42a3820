package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"homelab/internal/standins/program/internal/tunnel"
	"homelab/internal/vpnkeys"
)

// gluetunSettings are Gluetun's, as far as the stand-in does what they say.
type gluetunSettings struct {
	openVPN bool
	tunnel  tunnel.Settings
	// routes of the control server are open to everybody who reaches it.
	routes []string
}

// gluetunSettings reads the settings, and reports all that is wrong with them.
func (p process) gluetunSettings() (gluetunSettings, error) {
	r := &reader{process: p}
	out := gluetunSettings{tunnel: tunnel.Settings{
		Interface: p.env("VPN_INTERFACE"), Outside: "eth0", Key: vpnkeys.Client(), Peer: vpnkeys.Server().PublicKey(),
	}}
	if provider := p.env("VPN_SERVICE_PROVIDER"); provider != "custom" {
		r.add("the server's address must be given: VPN_SERVICE_PROVIDER is %q", provider)
	}
	address := p.env("HTTP_CONTROL_SERVER_ADDRESS")
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() {
		r.add("the control server is at %q, not on the container's loopback", address)
	}
	if out.tunnel.Interface == "" {
		r.add("VPN_INTERFACE is not set")
	}
	for _, name := range []string{"FIREWALL_OUTBOUND_SUBNETS", "FIREWALL_INPUT_PORTS"} {
		if p.env(name) != "" {
			r.add("the stand-in's kill switch does not know %s", name)
		}
	}
	out.tunnel.Ports = r.ports("FIREWALL_VPN_INPUT_PORTS")
	out.routes = r.roles()
	switch kind := p.env("VPN_TYPE"); kind {
	case "wireguard":
		r.wireGuard(&out.tunnel)
	case "openvpn":
		out.openVPN = true
		r.port("OPENVPN_ENDPOINT_PORT")
		for _, name := range []string{"OPENVPN_CUSTOM_CONFIG", "OPENVPN_USER_SECRETFILE", "OPENVPN_PASSWORD_SECRETFILE"} {
			r.file(name)
		}
	default:
		r.add("there is no VPN_TYPE %q", kind)
	}
	return out, errors.Join(r.problems...)
}

// reader reads settings, and collects what is wrong with them.
type reader struct {
	process

	problems []error
}

func (r *reader) add(format string, values ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, values...))
}

// wireGuard reads where the server is. The keys are only looked at: nobody but the provider has the
// other half of the server's.
func (r *reader) wireGuard(t *tunnel.Settings) {
	server, err := netip.ParseAddr(r.env("WIREGUARD_ENDPOINT_IP"))
	switch {
	case err != nil:
		r.add("WIREGUARD_ENDPOINT_IP: %w", err)
	case !server.Is4():
		r.add("WIREGUARD_ENDPOINT_IP: %s is not an IPv4 address: containers have no IPv6", server)
	}
	t.Server = netip.AddrPortFrom(server, r.port("WIREGUARD_ENDPOINT_PORT"))
	if err := vpnkeys.Check(r.env("WIREGUARD_PUBLIC_KEY")); err != nil {
		r.add("WIREGUARD_PUBLIC_KEY is %w", err)
	}
	if content, ok := r.file("WIREGUARD_PRIVATE_KEY_SECRETFILE"); ok {
		r.key("WIREGUARD_PRIVATE_KEY_SECRETFILE", content)
	}
	if r.env("WIREGUARD_PRESHARED_KEY_SECRETFILE") != "" {
		if content, ok := r.file("WIREGUARD_PRESHARED_KEY_SECRETFILE"); ok {
			r.key("WIREGUARD_PRESHARED_KEY_SECRETFILE", content)
		}
	}
	for _, text := range strings.Split(r.env("WIREGUARD_ADDRESSES"), ",") {
		own, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			r.add("WIREGUARD_ADDRESSES: %w", err)
		case !own.Addr().Is4():
			r.add("WIREGUARD_ADDRESSES: %s is not an IPv4 address: containers have no IPv6", own)
		default:
			t.Addresses = append(t.Addresses, own)
		}
	}
}

// key reports a secret that is no key, without a word of it.
func (r *reader) key(variable, content string) {
	if err := vpnkeys.Check(content); err != nil {
		r.add("the file of %s has %w", variable, err)
	}
}

// file is the content of the file that a variable names, without the end of its line.
func (r *reader) file(variable string) (string, bool) {
	path := r.env(variable)
	if path == "" {
		r.add("%s is not set", variable)
		return "", false
	}
	content, err := os.ReadFile(r.path(path))
	text := strings.TrimSpace(string(content))
	switch {
	case err != nil:
		r.add("%s: %w", variable, err)
	case text == "":
		r.add("%s: %s is empty", variable, path)
	default:
		return text, true
	}
	return "", false
}

func (r *reader) port(variable string) uint16 {
	number, err := strconv.ParseUint(r.env(variable), 10, 16)
	if err != nil || number == 0 {
		r.add("%s: %q is no port", variable, r.env(variable))
	}
	return uint16(number)
}

// ports are those that a variable lists, if it is set.
func (r *reader) ports(variable string) (out []uint16) {
	if r.env(variable) == "" {
		return nil
	}
	for _, text := range strings.Split(r.env(variable), ",") {
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil || number == 0 {
			r.add("%s: %q is no port", variable, text)
		}
		out = append(out, uint16(number))
	}
	return out
}

// roles reads who may ask the control server what, as Gluetun does: what it does not know is an
// error. The stand-in knows no passwords.
func (r *reader) roles() (routes []string) {
	path := r.env("HTTP_CONTROL_SERVER_AUTH_CONFIG_FILEPATH")
	if path == "" {
		path = gluetunRoles
	}
	content, err := os.ReadFile(r.path(path))
	if err != nil {
		r.add("who may ask the control server is not said: %w", err)
		return nil
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(line, " = ")
		var found []string
		switch {
		case line == "" || strings.HasPrefix(line, "#") || line == "[[roles]]" || name == "name":
		case name == "auth" && value == `"none"`:
		case name == "routes" && json.Unmarshal([]byte(value), &found) == nil:
			routes = append(routes, found...)
		default:
			r.add("%s: the stand-in does not know %q", path, line)
		}
	}
	return routes
}
