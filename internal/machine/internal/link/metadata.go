package link

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// metadataAddress is where every server asks about itself.
var metadataAddress = netip.MustParseAddr("169.254.169.254")

// Metadata is what the metadata service tells a server, and only that server, about itself.
// https://docs.hetzner.cloud/reference/cloud#server-metadata
type Metadata struct {
	// Hostname is the server's name.
	Hostname string
	// UserData is what hcloud.Server was given, byte for byte. It holds secrets.
	UserData []byte
	// AvailabilityZone is the data centre, such as fsn1-dc14.
	AvailabilityZone string
	// Region is the network zone, such as eu-central.
	Region string
	// PublicKeys are the SSH keys of the server, as in authorized_keys.
	PublicKeys []string
}

// serveMetadata answers as Hetzner's service does, at the paths that it documents.
func (n *Network) serveMetadata() error {
	l, err := n.Listen(netip.AddrPortFrom(metadataAddress, 80))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	const root = "/hetzner/v1"
	for path, text := range map[string]func(Machine) (string, error){
		"/metadata":                   document,
		"/metadata/hostname":          func(m Machine) (string, error) { return m.Metadata.Hostname, nil },
		"/metadata/instance-id":       func(m Machine) (string, error) { return m.ID, nil },
		"/metadata/public-ipv4":       func(m Machine) (string, error) { return m.IPv4.String(), nil },
		"/metadata/private-networks":  func(Machine) (string, error) { return "[]\n", nil },
		"/metadata/availability-zone": func(m Machine) (string, error) { return m.Metadata.AvailabilityZone, nil },
		"/metadata/region":            func(m Machine) (string, error) { return m.Metadata.Region, nil },
		"/userdata":                   func(m Machine) (string, error) { return string(m.Metadata.UserData), nil },
	} {
		mux.HandleFunc("GET "+root+path, func(w http.ResponseWriter, r *http.Request) {
			m, ok := n.asker(r.RemoteAddr)
			if !ok {
				http.Error(w, "you are not a server", http.StatusForbidden)
				return
			}
			body, err := text(m)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			// The server reads it again if it was cut off.
			_, _ = w.Write([]byte(body))
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	// It ends with an error when the network closes, which is how it ends.
	n.work(func() { _ = server.Serve(l) })
	_, err = n.closer(server.Close)
	return err
}

// asker returns the machine that a request came from.
func (n *Network) asker(remote string) (Machine, bool) {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return Machine{}, false
	}
	s, _ := n.locate(at.Addr())
	if s == nil {
		return Machine{}, false
	}
	_, m := s.plugged()
	return m, true
}

// document is all of it, with what cloud-init reads beside the documented keys.
// https://github.com/canonical/cloud-init/blob/main/tests/unittests/sources/test_hetzner.py
func document(m Machine) (string, error) {
	all := map[string]any{
		"availability-zone": m.Metadata.AvailabilityZone, "hostname": m.Metadata.Hostname, "instance-id": m.ID, "local-ipv4": "",
		"network-config": networkConfig(m), "public-ipv4": m.IPv4.String(), "public-keys": append([]string{}, m.Metadata.PublicKeys...), "region": m.Metadata.Region,
	}
	if id, err := strconv.ParseInt(m.ID, 10, 64); err == nil {
		all["instance-id"] = id
	}
	out, err := yaml.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("metadata of machine %s: %w", m.ID, err)
	}
	return string(out), nil
}

// networkConfig is cloud-init's network configuration, version 1, as Hetzner gives it: IPv4 by DHCP,
// the first address of the IPv6 network by hand.
func networkConfig(m Machine) map[string]any {
	var four, six []string
	for _, a := range NameServers {
		if a.Is4() {
			four = append(four, a.String())
		} else {
			six = append(six, a.String())
		}
	}
	var subnets []any
	if m.IPv4.IsValid() {
		subnets = append(subnets, map[string]any{"type": "dhcp", "ipv4": true, "dns_nameservers": four})
	}
	if m.IPv6.IsValid() {
		first := netip.PrefixFrom(m.IPv6.Addr().Next(), m.IPv6.Bits())
		subnets = append(subnets, map[string]any{
			"type": "static", "ipv6": true, "address": first.String(), "gateway": GatewayIPv6.String(), "dns_nameservers": six,
		})
	}
	nic := map[string]any{"type": "physical", "name": "eth0", "mac_address": net.HardwareAddr(m.MAC).String(), "subnets": subnets}
	return map[string]any{"version": 1, "config": []any{nic}}
}
