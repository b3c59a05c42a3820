// Package memory is what the containers of the security chain may use. The gateway gives them their
// limits by it, and the settings subtract it from what the server has, before anything is deployed.
package memory

// Limits of the chain's containers, in MiB.
const (
	// Authelia hashes passwords with argon2id: each login under way takes 64 MiB.
	Authelia = 512
	// AutheliaStore holds sessions, of a few hundred bytes each.
	AutheliaStore = 128
	// Caddy holds connections, CrowdSec's decisions, and request bodies until they are inspected,
	// 65 MB of them at most.
	Caddy = 512
	// CrowdSec holds its scenarios, the decisions of the community, and AppSec's rules.
	CrowdSec = 512
)

// Chain is the sum of the limits, in MiB.
const Chain = Authelia + AutheliaStore + Caddy + CrowdSec

// Limits of what comes with some services only, in MiB.
const (
	// VPN holds the tunnel's buffers and a resolver's cache.
	VPN = 256
	// Wiring holds one answer of an API at a time.
	Wiring = 128
	// Recyclarr holds the guides, and git what it fetches of them.
	Recyclarr = 512
)
