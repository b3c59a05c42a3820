// Package config lets the real programs judge the configuration that the gateway renders: the
// golden files, with only paths and addresses changed. It takes minutes the first time, when the
// programs are built, so it needs the build tag chain: go test -tags chain ./tests/config/...
//
// It needs root, for a network of its own, and Debian's packages fail2ban, nftables and util-linux.
package config
