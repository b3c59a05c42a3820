//go:build machine

package firstboot

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// timetable is how long each step took, as a table for docs/rehearsal.md.
func (m *machine) timetable() string {
	rows := []string{"", "| step | took |", "|---|---|"}
	add := func(step, took string) { rows = append(rows, fmt.Sprintf("| %s | %s |", step, took)) }
	for _, step := range m.world.image.Built {
		add("base disk, once: "+step.Name, step.Took.Round(100*time.Millisecond).String())
	}
	// "Startup finished in 8.4s (kernel) + 30.1s (initrd) + 4min 2.5s (userspace) = 4min 41s"
	startup := strings.TrimPrefix(m.root(bootPatience, "systemd-analyze time | head -n 1"), "Startup finished in ")
	for _, part := range regexp.MustCompile(`([\d.a-z ]+) \((\w+)\)`).FindAllStringSubmatch(startup, -1) {
		add(part[2], strings.TrimSpace(part[1]))
	}
	for _, stage := range regexp.MustCompile(`Finished stage: \((.+)\) ([\d.]+) seconds`).FindAllStringSubmatch(m.root(bootPatience, "cloud-init analyze show"), -1) {
		add("cloud-init: "+stage[1], stage[2]+" s")
	}
	// apt's own history of what the bootstrap installed.
	history := m.root(bootPatience, "cat /var/log/apt/history.log")
	entry := regexp.MustCompile(`Start-Date: (\S+  \S+)\nCommandline: (.+)\n(?:[^\n]+\n)*?End-Date: (\S+  \S+)`)
	const layout = "2006-01-02  15:04:05"
	for _, e := range entry.FindAllStringSubmatch(history, -1) {
		begin, errBegin := time.Parse(layout, e[1])
		end, errEnd := time.Parse(layout, e[3])
		if errBegin == nil && errEnd == nil {
			_, what, _ := strings.Cut(e[2], "--force-confold ")
			add("bootstrap: "+what, end.Sub(begin).String())
		}
	}
	return strings.Join(rows, "\n")
}
