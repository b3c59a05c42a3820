package torrent

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is also what tests/host runs the real program with: it reads the golden file.
func sample() Settings {
	return Settings{
		Port: 8080, Username: "admin", Password: "correct-horse-battery", Salt: []byte("0123456789abcdef"), Interface: "tun0",
		SavePath: "/downloads/complete", TempPath: "/downloads/incomplete", Names: []string{"gluetun", "qbittorrent.example.ts.net"},
	}
}

func TestConfig(t *testing.T) {
	const golden = "testdata/qBittorrent.conf.golden"
	rendered, err := Config(sample())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(rendered), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err, "run: go test ./components/media/internal/torrent -update")
	assert.Equal(t, string(want), rendered)
}

// The file has the password's key and not the password.
func TestThePasswordIsHashed(t *testing.T) {
	rendered, err := Config(sample())
	require.NoError(t, err)
	assert.NotContains(t, rendered, sample().Password)
	parts := regexp.MustCompile(`(?m)^WebUI\\Password_PBKDF2="@ByteArray\(([^:]+):([^)]+)\)"$`).FindStringSubmatch(rendered)
	require.Len(t, parts, 3)
	salt, err := base64.StdEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	assert.Equal(t, sample().Salt, salt)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	want, err := pbkdf2.Key(sha512.New, sample().Password, salt, 100_000, 64)
	require.NoError(t, err)
	assert.Equal(t, want, key)
}

func TestOneName(t *testing.T) {
	s := sample()
	s.Names = s.Names[:1]
	rendered, err := Config(s)
	require.NoError(t, err)
	assert.Contains(t, rendered, "WebUI\\ServerDomains=\"gluetun\"\n")
	s.Names = nil
	_, err = Config(s)
	require.ErrorContains(t, err, "it has no host name")
}

// A character that is syntax in the file would be another setting.
func TestConfigThatIsRefused(t *testing.T) {
	with := func(change func(*Settings)) Settings {
		s := sample()
		change(&s)
		return s
	}
	for want, s := range map[string]Settings{
		"0 is not a port":                                 with(func(s *Settings) { s.Port = 0 }),
		"65536 is not a port":                             with(func(s *Settings) { s.Port = 1 << 16 }),
		"the password has fewer than 16 characters":       with(func(s *Settings) { s.Password = "adminadmin" }),
		"the salt has 15 bytes, not 16":                   with(func(s *Settings) { s.Salt = s.Salt[:15] }),
		`the interface "" is not a plain word`:            with(func(s *Settings) { s.Interface = "" }),
		`the folder of incoming torrents "" is not`:       with(func(s *Settings) { s.TempPath = "" }),
		`the folder of complete torrents "relative"`:      with(func(s *Settings) { s.SavePath = "relative" }),
		`the folder of incoming torrents "./incoming"`:    with(func(s *Settings) { s.TempPath = "./incoming" }),
		`the folder of complete torrents "/a/../../etc"`:  with(func(s *Settings) { s.SavePath = "/a/../../etc" }),
		`the host name "a.example;*" is not a plain word`: with(func(s *Settings) { s.Names[0] = "a.example;*" }),
	} {
		_, err := Config(s)
		require.ErrorContains(t, err, want)
	}
	for _, syntax := range []string{"\n", "\r", `"`, "'", `\`, ";", ",", "=", "#", "%", "@", "[", "]", " ", "\t", "\x00", "é"} {
		for name, s := range map[string]Settings{
			"user name":                   with(func(s *Settings) { s.Username += syntax + "x" }),
			"interface":                   with(func(s *Settings) { s.Interface += syntax + "x" }),
			"folder of complete torrents": with(func(s *Settings) { s.SavePath += syntax + "x" }),
			"folder of incoming torrents": with(func(s *Settings) { s.TempPath += syntax + "x" }),
			"host name":                   with(func(s *Settings) { s.Names[1] += syntax + "x" }),
		} {
			_, err := Config(s)
			require.ErrorContains(t, err, name, "%q", syntax)
		}
	}
}
