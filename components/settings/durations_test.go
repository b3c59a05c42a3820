package settings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDurationsAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"12h": 12 * time.Hour, "90m": 90 * time.Minute, "30d": 30 * day, "1d12h": 36 * time.Hour, "2d30m": 48*time.Hour + 30*time.Minute,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "d", "1d-1h", "1d+1h", "1h1d", "-1d", "1.5d", "1dd", "99999d9999999h", "100000d", "12", "soon"} {
		_, err := parseDuration(text)
		assert.Error(t, err, text)
	}
}

func TestShownDurations(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"1m": time.Minute, "1h": time.Hour, "12h": 12 * time.Hour, "24h": day, "30d": 30 * day, "365d": 365 * day, "1h30m": 90 * time.Minute,
		"1m30s": 90 * time.Second, "1h0m1s": time.Hour + time.Second, "49h": 49 * time.Hour, "20m": 20 * time.Minute, "10s": 10 * time.Second,
	} {
		assert.Equal(t, want, showDuration(d))
		back, err := parseDuration(want)
		require.NoError(t, err)
		assert.Equal(t, d, back)
	}
}
