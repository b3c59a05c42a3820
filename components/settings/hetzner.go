package settings

// What Hetzner offers, as far as this program may ask for it. The API would refuse anything else only in
// the middle of a deployment. The tables were written by hand, not read from the API:
// when Hetzner adds something, or something is missing, this is the place to add it.

// serverType is what a server of that type has.
type serverType struct{ memoryMiB, diskGB int }

// serverTypes are the server types with x86 processors. Those with Arm processors
// (cax…) are left out: nothing here has been tried on them.
var serverTypes = map[string]serverType{
	"cx23": {4 << 10, 40}, "cx33": {8 << 10, 80}, "cx43": {16 << 10, 160}, "cx53": {32 << 10, 320},
	"cpx11": {2 << 10, 40}, "cpx21": {4 << 10, 80}, "cpx31": {8 << 10, 160}, "cpx41": {16 << 10, 240}, "cpx51": {32 << 10, 360},
	"cpx12": {2 << 10, 40}, "cpx22": {4 << 10, 80}, "cpx32": {8 << 10, 160}, "cpx42": {16 << 10, 320}, "cpx52": {24 << 10, 480}, "cpx62": {32 << 10, 640},
	"ccx13": {8 << 10, 80}, "ccx23": {16 << 10, 160}, "ccx33": {32 << 10, 240}, "ccx43": {64 << 10, 360}, "ccx53": {128 << 10, 600}, "ccx63": {192 << 10, 960},
}

// systemMiB is the memory that containers cannot have: the system, Docker, the tailnet and the mount of the media.
const systemMiB = 1 << 10

// serverLocations are where servers can be.
var serverLocations = []string{"ash", "fsn1", "hel1", "hil", "nbg1", "sin"}

// boxLocations are where Storage Boxes can be.
var boxLocations = []string{"fsn1", "hel1"}

// boxSnapshots are the Storage Box types and how many snapshots a snapshot plan may keep on each.
var boxSnapshots = map[string]int{"bx11": 10, "bx21": 20, "bx31": 30, "bx41": 40}

// serverImages are the system images the host's set-up is written for.
var serverImages = []string{"debian-13"}
