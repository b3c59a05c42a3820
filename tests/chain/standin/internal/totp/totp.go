// Package totp makes and checks time-based one-time passwords (RFC 6238).
package totp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash"
	"net/url"
	"strconv"
	"time"
)

// Device is one enrolled authenticator.
type Device struct {
	Issuer    string
	User      string
	Algorithm string
	Digits    int
	// Period is for how many seconds a code holds.
	Period int
	// Secret is the key in base32 without padding.
	Secret string
}

// NewSecret returns size random bytes in base32.
func NewSecret(size int) string {
	key := make([]byte, size)
	// The standard library's reader never fails.
	_, _ = rand.Read(key)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key)
}

// URI returns what an authenticator reads from the QR code.
func (d Device) URI() string {
	values := url.Values{}
	values.Set("secret", d.Secret)
	values.Set("issuer", d.Issuer)
	values.Set("algorithm", d.Algorithm)
	values.Set("digits", strconv.Itoa(d.Digits))
	values.Set("period", strconv.Itoa(d.Period))
	uri := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + d.Issuer + ":" + d.User, RawQuery: values.Encode()}
	return uri.String()
}

func (d Device) hash() func() hash.Hash {
	switch d.Algorithm {
	case "SHA256":
		return sha256.New
	case "SHA512":
		return sha512.New
	default:
		return sha1.New
	}
}

func (d Device) code(key []byte, step uint64) string {
	mac := hmac.New(d.hash(), key)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], step)
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := uint64(binary.BigEndian.Uint32(sum[offset:offset+4]) & 0x7fffffff)
	modulus := uint64(1)
	for range d.Digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", d.Digits, number%modulus)
}

// Validate reports whether the code is right at now, or up to skew periods before or after, and of
// which step it is. An error means that the device's secret cannot be read.
func (d Device) Validate(code string, now time.Time, skew int) (ok bool, step uint64, err error) {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(d.Secret)
	if err != nil {
		return false, 0, fmt.Errorf("reading the secret of %s: %w", d.User, err)
	}
	current := now.Unix() / int64(d.Period)
	for i := -skew; i <= skew; i++ {
		candidate := uint64(current + int64(i))
		if subtle.ConstantTimeCompare([]byte(d.code(key, candidate)), []byte(code)) == 1 {
			ok, step = true, candidate
		}
	}
	return ok, step, nil
}
