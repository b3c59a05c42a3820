package storage

import (
	"fmt"
	"strings"
)

// SSHPort is where every box speaks SSH, SFTP and BorgBackup.
const SSHPort = 23

// hostKeys are the keys that every box shows on SSHPort. Hetzner publishes the fingerprints of the
// first two (docs.hetzner.com/storage/storage-box/general, SSH host keys); a test compares them.
// All kinds are pinned: Debian's rclone cannot be told which to ask for, and likes the last one
// best.
var hostKeys = []string{
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIICf9svRenC/PLKIL9nk6K/pxQgoiFC41wTNvoIncOxs",
	"ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA5EB5p/5Hp3hGW1oHok+PIOH9Pbn7cnUiGmUEBrCVjnAw+HrKyN8bYVV0dIGllswYXwkG/+bgiBlE6IVIBAq+JwVWu1Sss3KarHY3OvFJ" +
		"UXZoZyRRg/Gc/+LRCE7lyKpwWQ70dbelGRyyJFH36eNv6ySXoUYtGkwlU5IVaHPApOxe4LHPZa/qhSRbPo2hwoh0orCtgejRebNtW5nlx00DNFgsvn8Svz2cIYLxsPVzKgUxs8Zx" +
		"sxgn+Q/UvR7uq4AbAhyBMLxv7DjJ1pc7PJocuTno2Rw9uMZi1gkjbnmiOh6TTXIEWbnroyIhwc8555uto9melEUmWNQ+C+PwAK+MPw==",
	"ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAGK0po6usux4Qv2d8zKZN1dDvbWjxKkGsx7XwFdSUCnF19Q8psHEUWR7C/LtSQ5crU/" +
		"g+tQVRBtSgoUcE8T+FWp5wBxKvWG2X9gD+s9/4zRmDeSJR77W6gSA/+hpOZoSE+4KgNdnbYSNtbZH/dN74EG7GLb/gcIpbUUzPNXpfKl7mQitw==",
}

// KnownHosts is what an SSH client must know of a box's server: the keys of all of them, under its
// name, and no other.
func KnownHosts(server string) string {
	var out strings.Builder
	for _, key := range hostKeys {
		fmt.Fprintf(&out, "[%s]:%d %s\n", server, SSHPort, key)
	}
	return out.String()
}
