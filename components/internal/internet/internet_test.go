package internet

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"9.9.9.9": true, "185.213.154.68": true, "10.1.2.3": false, "100.100.1.1": false, "169.254.169.254": false, "172.31.255.255": false,
		"172.32.0.1": true, "192.168.1.1": false, "203.0.113.7": false, "224.0.0.1": false, "255.255.255.255": false, "127.0.0.1": false, "2001:db8::1": false,
	} {
		assert.Equal(t, want, Public(netip.MustParseAddr(text)), text)
	}
	assert.Len(t, Closed(), len(closed))
}
