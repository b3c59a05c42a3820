package boxes

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// authorizedKeys is where an account's keys are, in its home.
const authorizedKeys = ".ssh/authorized_keys"

// maxKeyFile is more than anybody's list of keys has.
const maxKeyFile = 1 << 20

// grant is what a key may do. A forced command takes the place of whatever is asked for.
type grant struct {
	forced  bool
	command string
}

// keyGrant finds a key in the account's list. Port 22 reads keys in the format of RFC 4716 and no
// Ed25519, port 23 those of OpenSSH (docs.hetzner.com/storage/storage-box/backup-space-ssh-keys).
func (a *account) keyGrant(key ssh.PublicKey, port uint16, client net.Addr) (*grant, error) {
	content, err := a.keyFile()
	if err != nil {
		return nil, err
	}
	wanted := key.Marshal()
	if port == sftpPort {
		if key.Type() != ssh.KeyAlgoED25519 && slices.ContainsFunc(rfc4716(content), func(k []byte) bool { return bytes.Equal(k, wanted) }) {
			return &grant{}, nil
		}
		return nil, errDenied
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxKeyFile)
	for lines.Scan() {
		listed, _, options, _, err := ssh.ParseAuthorizedKey(lines.Bytes())
		if err != nil || !bytes.Equal(listed.Marshal(), wanted) {
			continue
		}
		if g, err := parseOptions(options, client); err == nil {
			return g, nil
		}
	}
	return nil, errDenied
}

// keyFile reads the list, unless others could write to it: so does OpenSSH by default (inferred for
// the real box).
func (a *account) keyFile() ([]byte, error) {
	t, err := a.open()
	if err != nil {
		return nil, err
	}
	defer t.close()
	for _, name := range []string{".", path.Dir(authorizedKeys), authorizedKeys} {
		info, err := t.stat(name)
		if err != nil {
			return nil, err
		}
		if info.Mode().Perm()&0o022 != 0 {
			return nil, fmt.Errorf("%s: others may write to %s", a.username, name)
		}
	}
	f, err := t.openFile(authorizedKeys, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// harmless are the options that take away, or give, what a box never offers.
var harmless = map[string]bool{
	"restrict": true, "agent-forwarding": true, "no-agent-forwarding": true, "port-forwarding": true, "no-port-forwarding": true, "pty": true, "no-pty": true,
	"user-rc": true, "no-user-rc": true, "x11-forwarding": true, "no-x11-forwarding": true,
}

// parseOptions reads a key's options. As in OpenSSH, one that is not understood makes the key
// worthless.
func parseOptions(options []string, client net.Addr) (*grant, error) {
	g := &grant{}
	for _, option := range options {
		name, value, valued := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if !valued && harmless[name] {
			continue
		}
		text, quoted := strings.CutPrefix(value, `"`)
		text, closed := strings.CutSuffix(text, `"`)
		if !quoted || !closed {
			return nil, fmt.Errorf("the option %s of a key is not understood", name)
		}
		text = strings.ReplaceAll(text, `\"`, `"`)
		switch name {
		case "command":
			if g.forced {
				return nil, fmt.Errorf("a key with two commands")
			}
			g.forced, g.command = true, text
		case "from":
			if !matches(text, client) {
				return nil, errDenied
			}
		default:
			return nil, fmt.Errorf("the option %s of a key is not understood", name)
		}
	}
	return g, nil
}

// matches reports whether a client is in a list of addresses, networks and patterns, and not in one
// that ! precedes.
func matches(list string, client net.Addr) bool {
	at, err := netip.ParseAddrPort(client.String())
	if err != nil {
		return false
	}
	address, found := at.Addr().Unmap(), false
	for _, pattern := range strings.Split(list, ",") {
		pattern, not := strings.CutPrefix(pattern, "!")
		hit := false
		if network, err := netip.ParsePrefix(pattern); err == nil {
			hit = network.Contains(address)
		} else if ok, err := path.Match(pattern, address.String()); err == nil {
			hit = ok
		}
		if hit && not {
			return false
		}
		found = found || hit
	}
	return found
}

// rfc4716 returns the keys of a file that are in that format; everything else is passed over.
func rfc4716(content []byte) [][]byte {
	var keys [][]byte
	var body strings.Builder
	inside, header := false, false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "---- BEGIN SSH2 PUBLIC KEY ----":
			inside, header = true, false
			body.Reset()
		case line == "---- END SSH2 PUBLIC KEY ----" && inside:
			if key, err := base64.StdEncoding.DecodeString(body.String()); err == nil {
				keys = append(keys, key)
			}
			inside = false
		case inside && (header || strings.Contains(line, ":")):
			header = strings.HasSuffix(line, `\`) // a header goes on in the next line
		case inside:
			body.WriteString(line)
		}
	}
	return keys
}
