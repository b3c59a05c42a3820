package rehearsal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/boxkeys"
)

// own are host keys as BoxKeys returns them; what they are does not matter here.
var own = []string{"ssh-ed25519 AAAAed", "ssh-rsa AAAArsa", "ecdsa-sha2-nistp521 AAAAec"}

func TestPinnedKeysBecomeTheRehearsals(t *testing.T) {
	program := boxkeys.KnownHosts("u1-sub1.your-storagebox.de")
	assert.True(t, PinsBoxes(program))
	got, err := PinBoxes(program, own)
	require.NoError(t, err)
	assert.Equal(t, "[u1-sub1.your-storagebox.de]:23 ssh-ed25519 AAAAed\n[u1-sub1.your-storagebox.de]:23 ssh-rsa AAAArsa\n"+
		"[u1-sub1.your-storagebox.de]:23 ecdsa-sha2-nistp521 AAAAec\n", got)
	assert.False(t, PinsBoxes(got))

	published := boxkeys.Published()[0].String()
	for text, want := range map[string]string{
		"box.example,[box.example]:23 " + published: "box.example,[box.example]:23 ssh-ed25519 AAAAed", // port 22 has no brackets
		"box " + published + " a comment\n":         "box ssh-ed25519 AAAAed a comment\n",
		"a\n\nbox " + published + "\r\nb":           "a\n\nbox ssh-ed25519 AAAAed\r\nb",
	} {
		got, err := PinBoxes(text, own)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// What is not Hetzner's published key in a list of hosts goes to the machine as it is.
func TestEveryOtherKeyStays(t *testing.T) {
	published := boxkeys.Published()[0]
	for _, text := range []string{
		"", "no keys at all\n",
		"[box.example]:23 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq0000000000000000000000000000000000000000000\n",
		"[box.example]:23 " + published.String() + "AAAA\n",               // a longer one
		"[box.example]:23 " + strings.TrimSuffix(published.String(), "s"), // a shorter one
		"[box.example]:23 ssh-rsa " + published.Blob + "\n",               // of another type
		"# box.example " + published.Blob + "\n# " + published.String(),
		published.String() + "\n", // authorized_keys: not a host
		"@revoked box.example " + published.String() + "\n",
	} {
		got, err := PinBoxes(text, own)
		require.NoError(t, err)
		assert.Equal(t, text, got)
	}
}

func TestAKeyWithoutItsLikeIsAnError(t *testing.T) {
	_, err := PinBoxes(boxkeys.KnownHosts("box.example"), own[:2])
	require.ErrorContains(t, err, "no host key of type ecdsa-sha2-nistp521")
	_, err = PinBoxes("", []string{"nonsense"})
	require.ErrorContains(t, err, `"nonsense" is no public key`)
}
