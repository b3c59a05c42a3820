package probe

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// filterRule is a line of the packet filter's chain that lets anybody in to a port.
var filterRule = regexp.MustCompile(`(?m)^\s*(tcp|udp) dport (\d+) (?:ct state new limit rate \S+ burst \d+ packets )?accept`)

// FilterDoors returns what a machine's own packet filter lets anybody in to, without what only
// Cloudflare may: the chain named input of its user data.
func FilterDoors(userData string) ([]Door, error) {
	_, chain, found := strings.Cut(userData, "chain input {")
	if !found {
		return nil, errors.New("the user data has no packet filter")
	}
	chain, _, found = strings.Cut(chain, "}\n        }") // that of the chain, and that of the table
	if !found || !strings.Contains(chain, "policy drop") {
		return nil, errors.New("the packet filter of the user data is not as this program writes it")
	}
	var out []Door
	for _, r := range filterRule.FindAllStringSubmatch(chain, -1) {
		port, err := strconv.ParseUint(r[2], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("the packet filter of the user data: %w", err)
		}
		out = append(out, Door{Protocol: r[1], First: uint16(port), Last: uint16(port)})
	}
	if strings.Contains(chain, "meta l4proto { icmp, icmpv6 } accept") {
		out = append(out, Door{Protocol: "icmp"})
	}
	return out, nil
}

// ImageDoors are what Debian's image listens at by itself beside sshd: systemd-resolved's LLMNR. No
// user data comes early enough to stop it before the network is there, so until the first command of
// ours Hetzner's firewall alone keeps strangers from it. It may be open no longer than that.
var ImageDoors = []Door{{Protocol: "tcp", First: 5355, Last: 5355}}
