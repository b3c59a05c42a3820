package storage

import "homelab/internal/boxkeys"

// SSHPort is where every box speaks SSH, SFTP and BorgBackup.
const SSHPort = boxkeys.Port

// KnownHosts is what an SSH client must know of a box's server: Hetzner's published keys, under its
// name on SSHPort, and no other.
func KnownHosts(server string) string { return boxkeys.KnownHosts(server) }
