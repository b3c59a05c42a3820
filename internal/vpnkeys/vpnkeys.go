// Package vpnkeys holds the WireGuard keys of a rehearsal's VPN. It uses the standard library only:
// the stand-in for the program that makes the tunnel and the server at its other end are in modules
// of their own, and both must know the keys.
//
// A deployment declares a provider's public key, whose private half only the provider has. So a
// rehearsal checks the declared keys, and uses these. They are no secret.
package vpnkeys

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// Bytes is the size of every key of WireGuard, public, private or preshared.
const Bytes = 32

// Server returns the private key of the rehearsal's VPN server.
func Server() *ecdh.PrivateKey { return derived("server") }

// Client returns the private key of whoever is a client of the rehearsal's VPN server: it has no
// other.
func Client() *ecdh.PrivateKey { return derived("client") }

// derived makes the private key of one end. X25519 clamps every 32 bytes to a key.
func derived(end string) *ecdh.PrivateKey {
	sum := sha256.Sum256([]byte("the " + end + " of a homelab rehearsal's VPN"))
	key, err := ecdh.X25519().NewPrivateKey(sum[:])
	if err != nil {
		panic(err) // only another length is an error
	}
	return key
}

// Text returns a key as WireGuard's files have it.
func Text(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// errKey names nothing of the text: it may be a secret.
var errKey = errors.New("no WireGuard key: it must be 32 bytes in base64, 44 characters that end with =")

// Check reports what is not a key in the form that WireGuard's files have.
func Check(text string) error {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != Bytes || len(text) != base64.StdEncoding.EncodedLen(Bytes) {
		return errKey
	}
	return nil
}
