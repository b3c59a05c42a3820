package rules

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// bind is a file or folder of the machine in a container.
type bind struct {
	source, target string
	readOnly       bool
}

func binds(c *Resource) []bind {
	var out []bind
	for _, m := range c.At("mounts").List() {
		if m.text("type") == "bind" {
			out = append(out, bind{path.Clean(m.text("source")), path.Clean(m.text("target")), m.At("readOnly").True()})
		}
	}
	for _, v := range c.At("volumes").List() {
		if source := v.text("hostPath"); source != "" {
			out = append(out, bind{path.Clean(source), path.Clean(v.text("containerPath")), v.At("readOnly").True()})
		}
	}
	return out
}

func bindSources(c *Resource) []string {
	var out []string
	for _, b := range binds(c) {
		out = append(out, b.source)
	}
	return out
}

// Folders of the machine's own.
var machineFolders = []string{
	"/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/sys", "/usr", "/var/lib/docker", "/var/log", "/var/run",
	"/run/docker.sock", "/run/containerd", "/run/log", "/run/systemd",
}

// engineSocket finds sockets of container engines.
var engineSocket = regexp.MustCompile(`/(?:docker|containerd|podman)\.sock$`)

func (b bind) isSocket() bool { return engineSocket.MatchString(b.source) }

// ofMachine reports whether a container has a folder of the machine's own, something in one, or
// what holds one.
func (b bind) ofMachine() bool {
	return b.isSocket() || slices.ContainsFunc(machineFolders, func(folder string) bool {
		return within(b.source, folder) || within(folder, b.source) || b.source == "/"
	})
}

// ownFolders are what some programs are there to read of the machine.
var ownFolders = map[string][]string{
	alloy:    {"/var/log/journal", "/run/log/journal"},
	promtail: {"/var/log/journal", "/run/log/journal"},
	cadvisor: {"/sys/fs/cgroup"},
}

// mayRead reports whether a container reads, and only reads, of the machine what its program is
// there for. What the program before the engine's socket lets through is the rule engine-socket's
// to judge.
func (g *Graph) mayRead(c *Resource, b bind) bool {
	if b.isSocket() {
		return b.readOnly && g.isSocketProxy(c)
	}
	return b.readOnly && slices.Contains(ownFolders[g.program(c)], b.source)
}

// logReaders are the programs that read what others log.
var logReaders = []string{alloy, promtail, crowdsec}

// judgeShares judges what a container has in common with others. Whoever writes to a folder keeps
// it; the others are judged.
func judgeShares(g *Graph, c *Resource, out *report) {
	reads := slices.ContainsFunc(logReaders, func(program string) bool { return slices.Contains(g.running(program), c) })
	for _, b := range binds(c) {
		logs := b.readOnly && reads && slices.Contains([]string{"log", "logs"}, path.Base(b.source))
		if logs || forSeveral(b) {
			continue
		}
		for _, other := range g.Of(typeContainer) {
			if other == c {
				continue
			}
			for _, o := range binds(other) {
				if (within(b.source, o.source) || within(o.source, b.source)) && (b.readOnly || !o.readOnly) {
					out.fail(c, "%s has %s, and %s has %s", c.Name(), b.source, other.Name(), o.source)
				}
			}
		}
	}
}

// forSeveral reports whether a folder is for several containers by design: the library, what comes
// in, and the gates. Other rules judge who has these, and who has a folder of the machine's own.
func forSeveral(b bind) bool {
	return within(b.source, libraryFolder) || downloadsFolder.MatchString(b.source) || strings.HasPrefix(b.source, gatesFolder) || b.ofMachine()
}

// inside returns the command that writes the file that a container finds at a path, or nil.
func (g *Graph) inside(c *Resource, target string) *Resource {
	for _, b := range binds(c) {
		if rest, ok := strings.CutPrefix(target, b.target); ok && (rest == "" || rest[0] == '/') {
			if file := g.layers.files[b.source+rest]; file != nil {
				return file
			}
		}
	}
	return nil
}
