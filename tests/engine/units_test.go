package engine

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/policy/rules"
)

const commandType = "command:remote:Command"

var (
	putUnit = regexp.MustCompile(`homelab-unit put (\S+)$`)
	putFile = regexp.MustCompile(`homelab-file put \S+ \S+ (/\S+)$`)
	// setting is a line of a unit. Of a program, what systemd is to do with its failure comes before
	// the path.
	setting = regexp.MustCompile(`^([A-Za-z]+)=[-@:+!|]*(.*)$`)
)

// The machine has systemd check a unit before it is put in its place: what it runs and what it
// requires must be there. A simulated machine takes any order, and a real one met the wrong one.
func TestUnitsComeAfterWhatTheyName(t *testing.T) {
	w := open(t)
	up(t, w)
	graph := exported(t, w)
	puts := map[string]*rules.Resource{} // by the name of a unit, or the path of a file
	for _, command := range graph.Of(commandType) {
		for _, pattern := range []*regexp.Regexp{putUnit, putFile} {
			if found := pattern.FindStringSubmatch(command.Text("create")); found != nil {
				puts[found[1]] = command
			}
		}
	}
	judged := 0
	for unit, put := range puts {
		if path.IsAbs(unit) {
			continue
		}
		for _, named := range namedBy(unit, put.Text("stdin")) {
			other := puts[named]
			if other == nil {
				assert.False(t, strings.HasPrefix(named, "/opt/homelab/") || strings.HasPrefix(named, "homelab"), "%s names %s, which nothing puts there", unit, named)
				continue // Debian's own, or of the first boot
			}
			assert.True(t, graph.Needs(put, other), "%s is put without waiting for %s", unit, named)
			judged++
		}
	}
	require.Greater(t, judged, 20, "hardly any unit names another")
}

// namedBy are the units that a unit requires, and the programs that it runs.
func namedBy(unit, text string) (named []string) {
	starts := path.Ext(unit) == ".timer"
	for line := range strings.Lines(text) {
		found := setting.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			continue
		}
		switch words := strings.Fields(found[2]); found[1] {
		case "Requires", "Requisite", "BindsTo":
			named = append(named, words...)
		case "Unit":
			named, starts = append(named, words...), false
		case "ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost":
			named = append(named, words[0])
		}
	}
	if starts {
		named = append(named, strings.TrimSuffix(unit, ".timer")+".service")
	}
	return named
}
