package probe

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

// insideName is who looks from inside.
const insideName = "nobody, inside"

// insideScript is run as root, and tries what somebody without rights could.
//
//go:embed inside.sh
var insideScript string

// The lines of the script's answer.
const (
	sayFilter       = "filter"
	sayMetadataRoot = "metadata-root"
	sayMetadata     = "metadata-nobody"
	saySocket       = "docker-socket"
	sayDocker       = "docker-nobody"
)

// socketMode is how Debian's and Docker's packages make the socket: its group may do on the machine
// whatever root may, so nobody else is in it but who deploys.
const socketMode = "660 root docker"

// lookFromInside is one pass as a user without rights.
func (r *Running) lookFromInside(ctx context.Context, _ int) {
	within, cancel := context.WithTimeout(ctx, insideDeadline)
	defer cancel()
	power := r.record.power()
	text, err := r.options.Root(within, insideScript)
	if ctx.Err() != nil {
		return // the end; this pass does not count
	}
	var said map[string]string
	if err == nil {
		said, err = readInside(text)
	}
	if err != nil {
		r.record.missed(insideName, err)
		return
	}
	r.judgeInside(said)
	r.record.passed(insideName, power, 0, false)
}

// readInside reads the script's answer: each line once, and no other.
func readInside(text string) (map[string]string, error) {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if _, twice := said[key]; twice || !found {
			return nil, fmt.Errorf("the script said %q", text)
		}
		said[key] = value
	}
	for _, key := range []string{sayFilter, sayMetadataRoot, sayMetadata, saySocket, sayDocker} {
		if _, ok := said[key]; !ok {
			return nil, fmt.Errorf("the script said nothing of %s: %q", key, text)
		}
	}
	return said, nil
}

func (r *Running) judgeInside(said map[string]string) {
	filtered := said[sayFilter] == "yes"
	if said[sayMetadata] == "reached" {
		// Until the filter is loaded in the first boot, nothing but root's own set-up runs.
		what := "metadata service, before the packet filter"
		if filtered {
			what = "metadata service"
		}
		r.record.saw(Finding{Where: insideName, Protocol: "tcp", Port: 80, Answer: Open, What: what}, !filtered)
	}
	if said[sayMetadataRoot] == "reached" {
		// Else the silence towards others would say nothing.
		r.record.saw(Finding{Where: insideName, Protocol: "tcp", Port: 80, Answer: Open, What: "metadata service, as root"}, true)
	}
	if mode := said[saySocket]; mode != "absent" {
		r.record.saw(Finding{Where: insideName, Protocol: "unix", Answer: Refused, What: "Docker's socket is " + mode}, mode == socketMode)
	}
	if said[sayDocker] == "reached" {
		r.record.saw(Finding{Where: insideName, Protocol: "unix", Answer: Open, What: "Docker's socket"}, false)
	}
}
