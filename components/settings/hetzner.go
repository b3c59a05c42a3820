package settings

import "slices"

// What Hetzner offers, as far as this program may ask for it. The API would refuse anything else
// only in the middle of a deployment. The tables are written by hand, not read from the API: when
// Hetzner adds something, or something is missing, this is the place to add it. Which location
// sells which server type is as in Hetzner's price list of 21 October 2025, in a published
// comparison of its prices by location.

// The groups of locations that sell the same server types.
var (
	europe    = []string{"fsn1", "hel1", "nbg1"}
	america   = []string{"ash", "hil"}
	singapore = []string{"sin"}
)

// serverLocations are where servers can be.
var serverLocations = together(america, europe, singapore)

// together returns the values of all lists, sorted.
func together(lists ...[]string) []string {
	return slices.Sorted(slices.Values(slices.Concat(lists...)))
}

// serverType is what a server of that type has, and the locations that sell it.
type serverType struct {
	memoryMiB, diskGB int
	at                []string
}

// armPrefix begins the names of the server types with Arm processors. They are left out of the
// table: nothing here has been tried on them.
const armPrefix = "cax"

// serverTypes are the server types with x86 processors.
var serverTypes = map[string]serverType{
	"cx23": {4 << 10, 40, europe}, "cx33": {8 << 10, 80, europe},
	"cx43": {16 << 10, 160, europe}, "cx53": {32 << 10, 320, europe},

	"cpx11": {2 << 10, 40, america}, "cpx21": {4 << 10, 80, america}, "cpx31": {8 << 10, 160, america},
	"cpx41": {16 << 10, 240, america}, "cpx51": {32 << 10, 360, america},

	"cpx12": {2 << 10, 40, singapore},
	"cpx22": {4 << 10, 80, together(europe, singapore)}, "cpx32": {8 << 10, 160, together(europe, singapore)},
	"cpx42": {16 << 10, 320, together(europe, singapore)}, "cpx52": {24 << 10, 480, together(europe, singapore)},
	"cpx62": {32 << 10, 640, together(europe, singapore)},

	"ccx13": {8 << 10, 80, serverLocations}, "ccx23": {16 << 10, 160, serverLocations},
	"ccx33": {32 << 10, 240, serverLocations}, "ccx43": {64 << 10, 360, serverLocations},
	"ccx53": {128 << 10, 600, serverLocations}, "ccx63": {192 << 10, 960, serverLocations},
}

// typesAt returns the server types that a location sells, sorted.
func typesAt(location string) []string {
	var out []string
	for _, name := range sortedKeys(serverTypes) {
		if slices.Contains(serverTypes[name].at, location) {
			out = append(out, name)
		}
	}
	return out
}

// systemMiB is the memory that containers cannot have: the system, Docker, the tailnet and the
// mount of the media.
const systemMiB = 1 << 10

// boxLocations are where Storage Boxes can be.
var boxLocations = []string{"fsn1", "hel1"}

// boxSnapshots are the Storage Box types and how many snapshots a snapshot plan may keep on each:
// what Hetzner's API calls automatic_snapshot_limit (docs.hetzner.cloud, Storage Box types;
// docs.hetzner.com/storage/storage-box/snapshots).
var boxSnapshots = map[string]int{"bx11": 10, "bx21": 20, "bx31": 30, "bx41": 40}

// serverImages are the system images the host's set-up is written for.
var serverImages = []string{"debian-13"}
