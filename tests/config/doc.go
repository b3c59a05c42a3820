// Package config lets the real programs judge the configuration that the gateway renders: the golden files, with only
// paths and addresses changed. It takes minutes the first time, when the programs are built, so it needs the build tag
// chain: go test -tags chain ./tests/config/...
//
// On PATH it needs fail2ban-client and fail2ban-regex (Debian's package fail2ban).
package config
