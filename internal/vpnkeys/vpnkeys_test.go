package vpnkeys

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothEndsHaveAKeyOfTheirOwn(t *testing.T) {
	assert.False(t, Server().Equal(Client()))
	assert.True(t, Server().Equal(Server()), "the two modules must come to the same key")
	one, err := Server().ECDH(Client().PublicKey())
	require.NoError(t, err)
	other, err := Client().ECDH(Server().PublicKey())
	require.NoError(t, err)
	assert.Equal(t, one, other)
	for _, key := range [][]byte{Server().Bytes(), Server().PublicKey().Bytes(), Client().Bytes(), Client().PublicKey().Bytes()} {
		assert.NoError(t, Check(Text(key)))
	}
}

func TestCheck(t *testing.T) {
	const good = "8xKxGrN0tKq0b0cSTm6xyTpHrrTm5R1sSbUYzX8UrG4="
	require.NoError(t, Check(good))
	for name, wrong := range map[string]string{
		"empty":                        "",
		"one byte less":                Text(make([]byte, Bytes-1)),
		"one byte more":                Text(make([]byte, Bytes+1)),
		"hexadecimal":                  strings.Repeat("ab", Bytes),
		"without padding":              strings.TrimSuffix(good, "="),
		"a line break":                 good + "\n",
		"a line break in it":           good[:20] + "\n" + good[20:],
		"a character of another code":  strings.Replace(good, "8", "-", 1),
		"bits that belong to no bytes": strings.Replace(good, "4=", "5=", 1),
	} {
		err := Check(wrong)
		require.Error(t, err, name)
		if wrong != "" {
			assert.NotContains(t, err.Error(), wrong, "it may be a secret")
		}
	}
}
