package tunnel

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The rest is tried in internal/machine/internal/vpn, in network namespaces.

func TestATunnelWorksAsLongAsBothItsEndsAnswer(t *testing.T) {
	s := Settings{Server: netip.MustParseAddrPort("185.213.154.68:51820")}
	last := time.Date(2026, 11, 30, 12, 0, 0, 0, time.FixedZone("", 3600))
	silent := errors.New("silent")
	require.NoError(t, s.verdict(last, last.Add(fresh), nil))
	require.EqualError(t, s.verdict(last, last.Add(fresh+time.Second), nil), "the VPN's server at 185.213.154.68:51820 has not answered since 2026-11-30T11:00:00Z")
	require.EqualError(t, s.verdict(time.Time{}, last, nil), "the VPN's server at 185.213.154.68:51820 has not answered yet")
	require.ErrorIs(t, s.verdict(last, last.Add(time.Second), silent), silent)
	assert.NotErrorIs(t, s.verdict(time.Time{}, last, silent), silent, "what is nearer is said")
}
