// Package boxkeys holds the SSH host keys of Hetzner's Storage Boxes. It uses the standard library
// only: the program pins these keys, and a rehearsal on a virtual machine, a module of its own, must
// know which ones they are.
package boxkeys

import (
	"fmt"
	"strings"
)

// Port is where every box speaks SSH, SFTP and BorgBackup.
const Port = 23

// Key is a public host key.
type Key struct {
	// Type is its type as SSH names it, such as ssh-ed25519.
	Type string
	// Blob is the key itself in base64.
	Blob string
}

// String returns the key as files of OpenSSH have it, without a comment.
func (k Key) String() string { return k.Type + " " + k.Blob }

// Parse reads a line of authorized_keys that has no options. A comment is left out.
func Parse(line string) (Key, error) {
	words := strings.Fields(line)
	if len(words) < 2 || !strings.HasPrefix(words[1], "AAAA") {
		return Key{}, fmt.Errorf("%q is no public key", line)
	}
	return Key{words[0], words[1]}, nil
}

// Published returns the keys that every box shows on Port, one of each type. Hetzner publishes the
// fingerprints of the first two (docs.hetzner.com/storage/storage-box/general, SSH host keys); a
// test compares them. All types are pinned: Debian's rclone cannot be told which to ask for, and
// likes the last one best.
func Published() []Key {
	return []Key{
		{"ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIICf9svRenC/PLKIL9nk6K/pxQgoiFC41wTNvoIncOxs"},
		{"ssh-rsa", "AAAAB3NzaC1yc2EAAAABIwAAAQEA5EB5p/5Hp3hGW1oHok+PIOH9Pbn7cnUiGmUEBrCVjnAw+HrKyN8bYVV0dIGllswYXwkG/+bgiBlE6IVIBAq+JwVWu1Sss3KarHY3OvFJ" +
			"UXZoZyRRg/Gc/+LRCE7lyKpwWQ70dbelGRyyJFH36eNv6ySXoUYtGkwlU5IVaHPApOxe4LHPZa/qhSRbPo2hwoh0orCtgejRebNtW5nlx00DNFgsvn8Svz2cIYLxsPVzKgUxs8Zx" +
			"sxgn+Q/UvR7uq4AbAhyBMLxv7DjJ1pc7PJocuTno2Rw9uMZi1gkjbnmiOh6TTXIEWbnroyIhwc8555uto9melEUmWNQ+C+PwAK+MPw=="},
		{"ecdsa-sha2-nistp521", "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAGK0po6usux4Qv2d8zKZN1dDvbWjxKkGsx7XwFdSUCnF19Q8psHEUWR7C/LtSQ5crU/" +
			"g+tQVRBtSgoUcE8T+FWp5wBxKvWG2X9gD+s9/4zRmDeSJR77W6gSA/+hpOZoSE+4KgNdnbYSNtbZH/dN74EG7GLb/gcIpbUUzPNXpfKl7mQitw=="},
	}
}

// KnownHosts is what an SSH client must know of a box's server: the published keys, under its name
// on Port, and no other.
func KnownHosts(server string) string {
	var out strings.Builder
	for _, key := range Published() {
		fmt.Fprintf(&out, "[%s]:%d %s\n", server, Port, key)
	}
	return out.String()
}
