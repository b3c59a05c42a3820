package service

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/workload"
)

const (
	// seedFolder is where a container finds its seeds, and the program that puts them in place.
	seedFolder   = "/etc/homelab"
	startProgram = "start"
)

// startHead puts a seed in place unless it is there already: what the service has changed in its
// own file stays, until this program has something else to say.
const startHead = `# Puts the files of this deployment in place, then becomes the program that is named: start PROGRAM...
set -eu

place() {
  seed=$1 target=$2 last=$2.homelab
  if [ ! -e "$target" ] || ! cmp -s "$seed" "$last"; then
    mkdir -p "${target%/*}"
    ( umask 077; cat "$seed" >"$target.new"; cat "$seed" >"$last.new" )
    mv "$target.new" "$target"
    mv "$last.new" "$last"
  fi
}

`

// seeds is the folder of the files that a service rewrites itself; nil if there are none. The
// container is replaced when one of them changes.
func seeds(def Definition, given Given) (*workload.Folder, error) {
	if len(def.Seeds) == 0 {
		return nil, nil
	}
	out := workload.Folder{Base: "seed", Target: seedFolder}
	var start strings.Builder
	start.WriteString(startHead)
	for _, f := range slices.SortedFunc(slices.Values(def.Seeds), func(a, b File) int { return strings.Compare(a.Target, b.Target) }) {
		content, err := f.Content(given)
		if err != nil {
			return nil, fmt.Errorf("rendering %s of %s: %w", f.Target, def.Name, err)
		}
		base := path.Base(f.Target)
		if base == startProgram || slices.ContainsFunc(out.Files, func(other workload.File) bool { return other.Base == base }) {
			return nil, fmt.Errorf("two seeds of %s are called %s", def.Name, base)
		}
		out.Files = append(out.Files, workload.File{Base: base, Name: def.Name + "-seed-" + base, Content: content})
		fmt.Fprintf(&start, "place %s/%s %s\n", seedFolder, base, f.Target)
	}
	start.WriteString("exec \"$@\"\n")
	out.Files = append(out.Files, workload.File{Base: startProgram, Name: def.Name + "-start", Content: pulumi.String(start.String())})
	return &out, nil
}
