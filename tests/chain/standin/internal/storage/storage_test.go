package storage_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/storage"
	"homelab/tests/chain/standin/internal/totp"
)

func TestOutlivesARestart(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "db"), time.Now()
	clock := func() time.Time { return now }
	s, err := storage.Open(path, "the key", clock)
	require.NoError(t, err)
	_, err = s.Device("admin")
	require.ErrorIs(t, err, storage.ErrNoDevice)
	require.NoError(t, s.SaveDevice("admin", storage.Device{Device: totp.Device{Secret: "JBSWY3DPEHPK3PXP"}}))
	again, err := s.Use("admin", 7)
	require.NoError(t, err)
	require.False(t, again)

	s, err = storage.Open(path, "the key", clock)
	require.NoError(t, err)
	d, err := s.Device("admin")
	require.NoError(t, err)
	assert.Equal(t, "JBSWY3DPEHPK3PXP", d.Secret)
	again, err = s.Use("admin", 7)
	require.NoError(t, err)
	assert.True(t, again)
	again, err = s.Use("guest", 7)
	require.NoError(t, err)
	assert.False(t, again)

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "JBSWY3DPEHPK3PXP")
	assert.NotContains(t, string(data), "admin")
	_, err = storage.Open(path, "another key", clock)
	require.ErrorContains(t, err, "does not appear to be valid")
	_, err = storage.Open(filepath.Join(path, "x"), "the key", clock)
	require.Error(t, err)
}

func TestForgetsWhatIsOld(t *testing.T) {
	now := time.Now()
	s, err := storage.Open(filepath.Join(t.TempDir(), "db"), "the key", func() time.Time { return now })
	require.NoError(t, err)
	addr := netip.MustParseAddr("203.0.113.5")
	require.NoError(t, s.Append(storage.Attempt{Time: now, Addr: addr}))
	require.NoError(t, s.SaveBan(storage.Ban{Addr: addr, Expires: now.Add(time.Minute)}))
	all := func(storage.Attempt) bool { return true }
	assert.Len(t, s.Attempts(now.Add(-time.Second), all), 1)
	_, banned := s.Banned(func(storage.Ban) bool { return true })
	assert.True(t, banned)
	now = now.Add(2 * time.Minute)
	_, banned = s.Banned(func(storage.Ban) bool { return true })
	assert.False(t, banned)
	now = now.Add(72 * time.Hour)
	require.NoError(t, s.SaveMethod("admin", "totp"))
	assert.Empty(t, s.Attempts(time.Time{}, all))
	assert.Equal(t, "totp", s.Method("admin"))
}

func TestCodesAreUsedOnce(t *testing.T) {
	now := time.Now()
	s, err := storage.Open(filepath.Join(t.TempDir(), "db"), "the key", func() time.Time { return now })
	require.NoError(t, err)
	addr := netip.MustParseAddr("203.0.113.5")
	require.NoError(t, s.SaveCode("id", "admin", addr, "ABCDEFGH", now.Add(time.Minute)))
	require.ErrorIs(t, s.ConsumeCode("guest", addr, "ABCDEFGH"), storage.ErrCodeUnknown)
	require.ErrorIs(t, s.ConsumeCode("admin", addr.Next(), "ABCDEFGH"), storage.ErrCodeUnknown)
	require.NoError(t, s.ConsumeCode("admin", addr, "ABCDEFGH"))
	require.ErrorIs(t, s.ConsumeCode("admin", addr, "ABCDEFGH"), storage.ErrCodeConsumed)
	require.ErrorIs(t, s.RevokeCode("id"), storage.ErrCodeConsumed)
	require.ErrorIs(t, s.RevokeCode("other"), storage.ErrCodeUnknown)
	require.NoError(t, s.SaveCode("id 2", "admin", addr, "BCDEFGHJ", now.Add(time.Minute)))
	require.NoError(t, s.RevokeCode("id 2"))
	require.ErrorIs(t, s.ConsumeCode("admin", addr, "BCDEFGHJ"), storage.ErrCodeRevoked)
	require.NoError(t, s.SaveCode("id 3", "admin", addr, "CDEFGHJK", now.Add(time.Minute)))
	now = now.Add(time.Hour)
	require.ErrorIs(t, s.ConsumeCode("admin", addr, "CDEFGHJK"), storage.ErrCodeExpired)
}
