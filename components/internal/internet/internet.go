// Package internet says which IPv4 addresses are of the internet.
package internet

import (
	"net/netip"
	"slices"
)

// closed is what RFC 6890 and its successors reserve, with private networks, the tailnet's
// 100.64.0.0/10 and the metadata service's link-local range.
var closed = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
}

// Closed are the IPv4 ranges that are not the internet, sorted.
func Closed() []string { return slices.Clone(closed) }

// Public reports whether an address is IPv4 and in none of the closed ranges.
func Public(a netip.Addr) bool {
	return a.Is4() && !slices.ContainsFunc(closed, func(r string) bool { return netip.MustParsePrefix(r).Contains(a) })
}
