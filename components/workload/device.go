package workload

import "homelab/components/internal/validate"

// Device is a device of the machine in a container, made by Tunnel or Graphics. There are no
// others, because most devices are root on the machine by another name.
type Device struct{ path, reason string }

// Tunnel is the device of network tunnels, for a program that makes one; reason says which.
func Tunnel(reason string) Device { return Device{"/dev/net/tun", reason} }

// Graphics are the graphics cards, for a program that transcodes on them; reason says what. The
// container does not start on a machine without one.
func Graphics(reason string) Device { return Device{"/dev/dri", reason} }

func (d Device) validate(p *validate.Problems) {
	p.Require(d.path != "", "a device must be made by workload.Tunnel or workload.Graphics")
	p.Require(d.path == "" || d.reason != "", "device %s needs a reason", d.path)
}
