package totp

import (
	"encoding/base32"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The values are those of RFC 6238's appendix B, cut to six digits.
func TestCodesAreThoseOfTheStandard(t *testing.T) {
	secret := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
	for seconds, want := range map[int64]string{59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"} {
		code, err := Code(secret, time.Unix(seconds, 0))
		require.NoError(t, err)
		assert.Equal(t, want, code)
	}
	_, err := Code("1", time.Now())
	require.Error(t, err)
}
