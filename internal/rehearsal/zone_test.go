package rehearsal

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestVisitorsHaveACountry(t *testing.T) {
	german, ok := VisitorFrom("DE")
	assert.True(t, ok)
	assert.Equal(t, "198.18.68.69", german.String())
	assert.Equal(t, "DE", CountryOf(german))
	assert.Equal(t, "DE", CountryOf(netip.MustParseAddr("::ffff:198.18.68.69")))
	tor, ok := VisitorFrom("T1") // Cloudflare's code for Tor
	assert.True(t, ok)
	assert.Equal(t, "T1", CountryOf(tor))
	for _, none := range []string{"", "D", "de", "DEU", "1D", "D/"} {
		_, ok := VisitorFrom(none)
		assert.False(t, ok, none)
	}
	for _, elsewhere := range []netip.Addr{Visitor, Visitor6, netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.19.68.69")} {
		assert.Equal(t, "XX", CountryOf(elsewhere), elsewhere)
	}
}
