// Package torrent renders the torrent client's configuration.
package torrent

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"path"
	"regexp"
	"strings"

	"homelab/components/internal/validate"
)

// Settings is what qBittorrent is told before its first start. It rewrites the file itself, so what
// people change in it stays.
type Settings struct {
	// Port is the TCP port of its API and pages.
	Port int
	// Username and Password are the only login.
	Username, Password string
	// Salt is 16 bytes; the same salt and password make the same file.
	Salt []byte
	// Interface is the network interface that torrents are bound to; while it is not there,
	// qBittorrent is mute.
	Interface string
	// SavePath is for what is complete, TempPath for what is coming in; both absolute.
	SavePath, TempPath string
	// Names are the host names by which people and other services reach it. It answers under no
	// other, against pages that rebind a name of their own to its address.
	Names []string
}

const (
	saltBytes  = 16
	iterations = 100_000 // qBittorrent's own number: src/base/utils/password.cpp
	keyBytes   = 64
)

// plain is a value that means itself in an INI file as Qt reads it, where quotes, backslashes,
// commas and semicolons are syntax.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._-]+$`)

// Config writes qBittorrent.conf, as versions 4.5 to 5.2 read it.
func Config(s Settings) (string, error) {
	p := validate.Of("qBittorrent.conf")
	for _, v := range []struct{ name, value string }{
		{"user name", s.Username}, {"interface", s.Interface}, {"folder of complete torrents", s.SavePath}, {"folder of incoming torrents", s.TempPath},
	} {
		p.Require(plain.MatchString(v.value), "the %s %q is not a plain word", v.name, v.value)
	}
	for _, v := range []struct{ name, value string }{{"complete", s.SavePath}, {"incoming", s.TempPath}} {
		p.Require(path.IsAbs(v.value) && path.Clean(v.value) == v.value, "the folder of %s torrents %q is not an absolute path", v.name, v.value)
	}
	p.Require(len(s.Names) > 0, "it has no host name")
	for _, name := range s.Names {
		p.Require(plain.MatchString(name), "the host name %q is not a plain word", name)
	}
	p.Require(s.Port > 0 && s.Port < 1<<16, "%d is not a port", s.Port)
	p.Require(len(s.Password) >= 16, "the password has fewer than 16 characters")
	p.Require(len(s.Salt) == saltBytes, "the salt has %d bytes, not %d", len(s.Salt), saltBytes)
	if err := p.Err(); err != nil {
		return "", err
	}
	key, err := pbkdf2.Key(sha512.New, s.Password, s.Salt, iterations, keyBytes)
	if err != nil {
		return "", fmt.Errorf("hashing the password of qBittorrent: %w", err)
	}
	hash := base64.StdEncoding.EncodeToString(s.Salt) + ":" + base64.StdEncoding.EncodeToString(key)
	var out strings.Builder
	for _, section := range []struct {
		name string
		keys [][2]string
	}{
		{"BitTorrent", [][2]string{
			{`Session\DefaultSavePath`, s.SavePath},
			{`Session\DisableAutoTMMByDefault`, "false"},
			{`Session\Interface`, s.Interface},
			{`Session\InterfaceName`, s.Interface},
			// Radarr and Sonarr set priorities, which are refused without a queue.
			{`Session\QueueingSystemEnabled`, "true"},
			{`Session\TempPath`, s.TempPath},
			{`Session\TempPathEnabled`, "true"},
		}},
		{"LegalNotice", [][2]string{{"Accepted", "true"}}},
		{"Network", [][2]string{{"PortForwardingEnabled", "false"}}},
		{"Preferences", [][2]string{
			{`WebUI\Address`, "*"},
			{`WebUI\AuthSubnetWhitelistEnabled`, "false"},
			{`WebUI\CSRFProtection`, "true"},
			{`WebUI\ClickjackingProtection`, "true"},
			{`WebUI\HostHeaderValidation`, "true"},
			// The tunnel's container shares the loopback, and says there which port is forwarded.
			{`WebUI\LocalHostAuth`, "false"},
			{`WebUI\Password_PBKDF2`, `"@ByteArray(` + hash + `)"`},
			{`WebUI\Port`, fmt.Sprint(s.Port)},
			{`WebUI\ServerDomains`, `"` + strings.Join(s.Names, ";") + `"`},
			{`WebUI\UPnP`, "false"},
			{`WebUI\Username`, s.Username},
		}},
	} {
		fmt.Fprintf(&out, "[%s]\n", section.name)
		for _, k := range section.keys {
			fmt.Fprintf(&out, "%s=%s\n", k[0], k[1])
		}
		out.WriteByte('\n')
	}
	return out.String(), nil
}
