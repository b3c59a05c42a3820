package totp_test

import (
	"encoding/base32"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/totp"
)

// The examples of RFC 6238, appendix B.
func TestReferenceValues(t *testing.T) {
	const digits = "1234567890123456789012345678901234567890123456789012345678901234"
	for algorithm, c := range map[string]struct {
		size  int
		codes map[int64]string
	}{
		"SHA1":   {20, map[int64]string{59: "94287082", 1111111109: "07081804", 20000000000: "65353130"}},
		"SHA256": {32, map[int64]string{59: "46119246", 1111111109: "68084774", 20000000000: "77737706"}},
		"SHA512": {64, map[int64]string{59: "90693936", 1111111109: "25091201", 20000000000: "47863826"}},
	} {
		secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(digits[:c.size]))
		d := totp.Device{Algorithm: algorithm, Digits: 8, Period: 30, Secret: secret}
		for at, code := range c.codes {
			ok, step, err := d.Validate(code, time.Unix(at, 0), 0)
			require.NoError(t, err)
			assert.True(t, ok, "%s at %d", algorithm, at)
			assert.Equal(t, uint64(at/30), step)
			ok, _, err = d.Validate(code, time.Unix(at+30, 0), 0)
			require.NoError(t, err)
			assert.False(t, ok)
			ok, _, err = d.Validate(code, time.Unix(at+30, 0), 1)
			require.NoError(t, err)
			assert.True(t, ok)
		}
	}
}

func TestURI(t *testing.T) {
	d := totp.Device{Issuer: "example.com", User: "admin", Algorithm: "SHA1", Digits: 6, Period: 30, Secret: totp.NewSecret(32)}
	key, err := otp.NewKeyFromURL(d.URI())
	require.NoError(t, err)
	assert.Equal(t, d.Secret, key.Secret())
	assert.Equal(t, "example.com", key.Issuer())
	assert.Equal(t, "admin", key.AccountName())
	assert.NotEqual(t, d.Secret, totp.NewSecret(32))
	d.Secret = strings.ToLower(d.Secret) + "!"
	_, _, err = d.Validate("123456", time.Now(), 1)
	require.Error(t, err)
}
