package caddyfile

import (
	"fmt"

	"homelab/components/gateway/internal/site"
)

const (
	kibibyte = 1 << 10
	megabyte = 1000 * 1000
)

// portalMaxBody bounds what a visitor may send to the portal, in bytes: forms and small JSON
// documents.
const portalMaxBody = 64 * kibibyte

// Pools of the memory in which request bodies wait for their inspection.
const (
	// portalPool is the portal's own: nothing that is sent elsewhere keeps anybody from logging in.
	portalPool = "portal"
	// openPool is for visitors whom nobody knows, at services with a login of their own and on open
	// paths.
	openPool = "open"
	// knownPool is for users whom the portal has let in.
	knownPool = "known"
)

// Hold bounds the request bodies that the proxy holds at one time for one kind of visitor.
type Hold struct {
	// Name is the pool's name.
	Name string
	// TotalBytes is what all of them may take.
	TotalBytes int
	// ShareBytes is what those of one visitor may take: an address, an IPv6 network of 64 bits, or
	// a user.
	ShareBytes int
}

// Total is TotalBytes as the Caddyfile says it.
func (h Hold) Total() string { return bytesOf(h.TotalBytes) }

// Share is ShareBytes as the Caddyfile says it.
func (h Hold) Share() string { return bytesOf(h.ShareBytes) }

// Holds returns every pool. One visitor always has room for the largest body, and never takes all
// of it.
func Holds() []Hold {
	const largest = site.MaxBodyLimitMB * megabyte
	return []Hold{
		{portalPool, 64 * portalMaxBody, 4 * portalMaxBody},
		{openPool, 2 * largest, largest},
		{knownPool, 4 * largest, 2 * largest},
	}
}

// HeldBytes returns what all request bodies together may take of the proxy's memory.
func HeldBytes() (sum int) {
	for _, h := range Holds() {
		sum += h.TotalBytes
	}
	return sum
}

// bytesOf returns a size in the largest unit in which it is a whole number.
func bytesOf(n int) string {
	switch {
	case n%megabyte == 0:
		return fmt.Sprintf("%dMB", n/megabyte)
	case n%kibibyte == 0:
		return fmt.Sprintf("%dKiB", n/kibibyte)
	}
	return fmt.Sprintf("%dB", n)
}
