package link

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhoListensWhenADatagramIsOnItsWayGetsIt(t *testing.T) {
	n := network(t, Options{})
	expected, other := netip.MustParseAddrPort("185.213.154.68:51820"), netip.MustParseAddrPort("185.213.154.69:51820")
	var mu sync.Mutex
	heard := map[netip.AddrPort][]string{}
	n.Newcomers(func(to netip.AddrPort, datagram []byte) {
		mu.Lock()
		defer mu.Unlock()
		heard[to] = append(heard[to], string(datagram))
		if to != expected || len(heard[to]) > 1 {
			return
		}
		c, err := n.ListenPacket(to)
		if assert.NoError(t, err) {
			go repeatPackets(c)
		}
	})
	g := boot(t, n, first)
	c := g.dialUDP(t, expected)
	echoes(t, c, "the first one")
	echoes(t, c, "the second one")
	_, err := g.dialUDP(t, other).Write([]byte("?"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(n.Stats(first.ID).Unserved) == 1 }, patience, time.Millisecond)
	assert.Equal(t, []Destination{{"udp", other}}, n.Stats(first.ID).Unserved)
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, map[netip.AddrPort][]string{expected: {"the first one", "the second one"}, other: {"?"}}, heard)
}
