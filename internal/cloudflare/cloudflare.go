// Package cloudflare says of Cloudflare what everything that plays its part has to know: its address
// ranges, and the headers that it adds to a visitor's request. It uses the standard library only.
package cloudflare

import (
	"net/http"
	"slices"
	"strings"
)

// The published ranges (https://www.cloudflare.com/ips/), in the order of that page.
var (
	ipv4 = []string{
		"173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18",
		"190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13",
		"104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22",
	}
	ipv6 = []string{
		"2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32",
	}
)

// IPv4 are the ranges from which origins are asked over IPv4.
func IPv4() []string { return slices.Clone(ipv4) }

// IPv6 are those over IPv6.
func IPv6() []string { return slices.Clone(ipv6) }

// Ray is the ID of a request where nobody looks for it.
const Ray = "8a0000000000abcd-FRA"

// own are the headers in which nothing of the visitor's is left.
var own = []string{"CF-Connecting-IP", "CF-Ray", "CF-Visitor"}

// Stamp adds to a visitor's request what Cloudflare adds: the visitor's address in a header of its
// own, replacing what the visitor wrote there, and appended to X-Forwarded-For. Headers that are not
// Cloudflare's pass. An empty visitor is an edge that says nothing of whom it asks for.
// https://developers.cloudflare.com/fundamentals/reference/http-headers
func Stamp(h http.Header, visitor, scheme, ray string) {
	for name := range h {
		if slices.ContainsFunc(own, func(mine string) bool { return strings.EqualFold(name, mine) }) {
			delete(h, name)
		}
	}
	if visitor != "" {
		h["CF-Connecting-IP"] = []string{visitor}
	}
	forwarded := visitor
	for name, values := range h {
		if strings.EqualFold(name, "X-Forwarded-For") {
			forwarded = strings.Join(append(values, visitor), ", ")
			delete(h, name)
		}
	}
	h["X-Forwarded-For"] = []string{forwarded}
	if h["X-Forwarded-Proto"] == nil {
		h["X-Forwarded-Proto"] = []string{scheme}
	}
	h["CF-Ray"] = []string{ray}
	h["CF-Visitor"] = []string{`{"scheme":"` + scheme + `"}`}
	h["Cdn-Loop"] = []string{"cloudflare; loops=1"}
}
