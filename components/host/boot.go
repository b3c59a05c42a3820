package host

import (
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// gates is the folder of the gates, in memory: after a boot all are shut.
const gates = "/run/homelab/gates"

// Stage is a container's turn when the machine boots. Docker knows no order: at a boot it starts
// everything whose restart policy is not "no", on failure included, at once, whether the media are
// mounted or not. So each container binds the gate of its stage, a folder without which it cannot
// start, and homelab-containers makes one gate after the other.
type Stage string

// The stages, in their order.
const (
	// StageGuards is for what the portal and the proxy rely on.
	StageGuards Stage = "1-guards"
	// StagePortal is for the portal.
	StagePortal Stage = "2-portal"
	// StageProxy is for the proxy, which lets nobody in while the portal or the detection does not
	// answer.
	StageProxy Stage = "3-proxy"
	// StageServices is for everything else.
	StageServices Stage = "4-services"
)

// stages are all of them, in order, as arguments of homelab-containers.
func stages() []string {
	return []string{string(StageGuards), string(StagePortal), string(StageProxy), string(StageServices)}
}

// Valid reports whether there is such a stage.
func (s Stage) Valid() bool { return slices.Contains(stages(), string(s)) }

// Gate is the folder that exists once it is the stage's turn.
func (s Stage) Gate() string { return gates + "/" + string(s) }

// mediaGate exists as long as the library is mounted and was proven to keep what is written to it.
const mediaGate = gates + "/media"

// Gate is the folder that exists only while the library is mounted. A container that needs the
// library binds it, so it cannot start on the empty folder that the mount point is otherwise.
func (m *Media) Gate() string { return mediaGate }

// TunnelGate is the folder that exists only while the VPN tunnel of that name is healthy. What is
// behind the tunnel binds it.
func TunnelGate(tunnel string) string { return gates + "/tunnel-" + tunnel }

// Gatekeeper is what every container depends on: it exists once the gates are open.
func (h *Host) Gatekeeper() pulumi.Resource { return h.gatekeeper }
