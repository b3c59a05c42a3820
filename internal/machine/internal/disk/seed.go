package disk

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Seed is what a machine's first boot is told.
type Seed struct {
	// Instance is the server's ID. Another one is another first boot. Required.
	Instance string
	// Name is the server's name. Required.
	Name string
	// UserData is what hcloud.Server got, byte for byte.
	UserData []byte
	// MAC is the address of the network card. Required.
	MAC net.HardwareAddr
	// IPv6 is the machine's address with its range, 64 bits long. Its IPv4 address comes by DHCP.
	// Required.
	IPv6 netip.Prefix
}

// Hetzner's name servers for IPv6, as its servers are told; those for IPv4 come by DHCP.
var nameServers = []string{"2a01:4ff:ff00::add:2", "2a01:4ff:ff00::add:1"}

// networkConfig is cloud-init's network configuration, version 1, as Hetzner's metadata service has
// it.
type networkConfig struct {
	Version int             `yaml:"version"`
	Config  []networkDevice `yaml:"config"`
}

type networkDevice struct {
	Type    string          `yaml:"type"`
	Name    string          `yaml:"name"`
	MAC     string          `yaml:"mac_address"`
	Subnets []networkSubnet `yaml:"subnets"`
}

type networkSubnet struct {
	IPv4    bool     `yaml:"ipv4,omitempty"`
	IPv6    bool     `yaml:"ipv6,omitempty"`
	Type    string   `yaml:"type"`
	Address string   `yaml:"address,omitempty"`
	Gateway string   `yaml:"gateway,omitempty"`
	DNS     []string `yaml:"dns_nameservers,omitempty"`
}

// metadata are the keys of Hetzner's metadata that cloud-init's NoCloud data source has too.
type metadata struct {
	Instance string `yaml:"instance-id"`
	Name     string `yaml:"local-hostname"`
}

// Write puts the files of cloud-init's NoCloud data source into a new folder.
func (s Seed) Write(folder string) error {
	if s.Instance == "" || s.Name == "" || len(s.MAC) == 0 || !s.IPv6.IsValid() || !s.IPv6.Addr().Is6() {
		return errors.New("writing a machine's seed: instance, name, MAC and IPv6 address are needed")
	}
	meta, err := yaml.Marshal(metadata{Instance: s.Instance, Name: s.Name})
	if err != nil {
		return fmt.Errorf("writing a machine's metadata: %w", err)
	}
	network, err := yaml.Marshal(networkConfig{Version: 1, Config: []networkDevice{{
		Type: "physical", Name: "eth0", MAC: s.MAC.String(),
		Subnets: []networkSubnet{
			{IPv4: true, Type: "dhcp"},
			{IPv6: true, Type: "static", Address: s.IPv6.String(), Gateway: "fe80::1", DNS: nameServers},
		},
	}}})
	if err != nil {
		return fmt.Errorf("writing a machine's network configuration: %w", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("writing a machine's seed: %w", err)
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"user-data", s.UserData}, {"meta-data", meta}, {"network-config", network}} {
		if err := os.WriteFile(filepath.Join(folder, f.name), f.content, 0o600); err != nil {
			return fmt.Errorf("writing a machine's seed: %w", err)
		}
	}
	return nil
}
