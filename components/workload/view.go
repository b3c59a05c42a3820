package workload

import "homelab/components/internal/validate"

// View is a part of the machine that a container reads. There are few, and each shows more than a
// container's own: see what each says of itself.
type View struct{ path, target, reason string }

// Journal is the machine's journal, for a program that ships logs. It belongs to root.
func Journal(reason string) View { return View{"/var/log/journal", "/var/log/journal", reason} }

// ControlGroups are what the kernel counts for each container: memory, processor time, input and
// output.
func ControlGroups(reason string) View { return View{"/sys/fs/cgroup", "/sys/fs/cgroup", reason} }

// EngineSocket is Docker's socket. Who reaches it is root on the machine, and mounting it read-only
// changes nothing of that. So it is for one container only, which lets few questions through to it:
// a test of the repository's rules holds every package but monitoring off.
func EngineSocket(reason string) View {
	return View{"/run/docker.sock", "/var/run/docker.sock", reason}
}

func (v View) validate(p *validate.Problems) {
	p.Require(v.path != "", "a view must be made by workload.Journal, workload.ControlGroups or workload.EngineSocket")
	p.Require(v.path == "" || v.reason != "", "the view of %s needs a reason", v.path)
}
