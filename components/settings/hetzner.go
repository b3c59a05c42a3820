package settings

// What Hetzner offers, as far as this program may ask for it. The API would refuse anything else only in
// the middle of a deployment. The tables were written by hand, not read from the API:
// when Hetzner adds something, or something is missing, this is the place to add it.

// serverTypes are the server types with x86 processors and their memory in MiB. Those with Arm processors
// (cax…) are left out: nothing here has been tried on them.
var serverTypes = map[string]int{
	"cx23": 4 << 10, "cx33": 8 << 10, "cx43": 16 << 10, "cx53": 32 << 10,
	"cpx11": 2 << 10, "cpx21": 4 << 10, "cpx31": 8 << 10, "cpx41": 16 << 10, "cpx51": 32 << 10,
	"cpx12": 2 << 10, "cpx22": 4 << 10, "cpx32": 8 << 10, "cpx42": 16 << 10, "cpx52": 24 << 10, "cpx62": 32 << 10,
	"ccx13": 8 << 10, "ccx23": 16 << 10, "ccx33": 32 << 10, "ccx43": 64 << 10, "ccx53": 128 << 10, "ccx63": 192 << 10,
}

// reservedMiB is the memory of the server that services cannot have: the system and the security chain.
const reservedMiB = 1 << 10

// serverLocations are where servers can be.
var serverLocations = []string{"ash", "fsn1", "hel1", "hil", "nbg1", "sin"}

// boxLocations are where Storage Boxes can be.
var boxLocations = []string{"fsn1", "hel1"}

// boxSnapshots are the Storage Box types and how many snapshots a snapshot plan may keep on each.
var boxSnapshots = map[string]int{"bx11": 10, "bx21": 20, "bx31": 30, "bx41": 40}

// serverImages are the system images the host's set-up is written for.
var serverImages = []string{"debian-13"}
