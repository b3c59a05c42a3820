package exposure

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContentOfARecord(t *testing.T) {
	for _, good := range []string{"203.0.113.7", "8.8.8.8"} {
		got, err := content(good, public)
		require.NoError(t, err)
		assert.Equal(t, good, got)
	}
	for _, bad := range []string{"", "x", "10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "2001:db8::1", "0.0.0.0", "224.0.0.1", "8.8.8.8/32"} {
		_, err := content(bad, public)
		assert.Error(t, err, bad)
	}
	got, err := content("100.101.0.2", inTailnet)
	require.NoError(t, err)
	assert.Equal(t, "100.101.0.2", got)
	for _, bad := range []string{"", "203.0.113.7", "10.0.0.1", "fd7a:115c:a1e0::1", "100.128.0.1"} {
		_, err := content(bad, inTailnet)
		assert.Error(t, err, bad)
	}
}
