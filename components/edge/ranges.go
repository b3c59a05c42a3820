package edge

import (
	"fmt"
	"net/netip"
)

// workers is the range in which Cloudflare puts the requests of Workers: a Worker that asks for a
// hostname of another zone arrives with the visitor's address 2a06:98c0:3600::103. Source:
// fundamentals/reference/http-headers, "CF-Connecting-IP in Worker subrequests".
var workers = netip.MustParsePrefix("2a06:98c0:3600::/48")

// withoutWorkers returns the ranges without that of the Workers: a range that contains it is
// replaced by what lies around it.
func withoutWorkers(ranges []string) ([]string, error) {
	var out []string
	for _, text := range ranges {
		r, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("reading Cloudflare's range %q: %w", text, err)
		}
		for _, rest := range without(r, workers) {
			out = append(out, rest.String())
		}
	}
	return out, nil
}

// without returns the parts of a range that do not belong to another one, in order.
func without(r, hole netip.Prefix) []netip.Prefix {
	switch {
	case !r.Overlaps(hole):
		return []netip.Prefix{r.Masked()}
	case r.Bits() >= hole.Bits():
		return nil
	}
	low := netip.PrefixFrom(r.Masked().Addr(), r.Bits()+1)
	high := netip.PrefixFrom(setBit(low.Addr(), r.Bits()), r.Bits()+1)
	return append(without(low, hole), without(high, hole)...)
}

// setBit returns the address with the bit set, counted from the first.
func setBit(a netip.Addr, bit int) netip.Addr {
	raw := a.AsSlice()
	raw[bit/8] |= 0x80 >> (bit % 8)
	out, _ := netip.AddrFromSlice(raw) // as long as an address was
	return out
}
