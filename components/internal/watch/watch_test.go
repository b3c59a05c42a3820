package watch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
)

func TestTheExampleIsValid(t *testing.T) {
	require.NoError(t, example.Model().Validate())
}

func TestEveryProblemIsReported(t *testing.T) {
	for problem, change := range map[string]func(m *watch.Model){
		"two subjects are called caddy":        func(m *watch.Model) { m.Subjects[6].Name = "caddy" },
		"not sorted by name":                   func(m *watch.Model) { m.Subjects[0], m.Subjects[1] = m.Subjects[1], m.Subjects[0] },
		"either metrics or a reason for none":  func(m *watch.Model) { m.Subjects[0].NoMetrics = "none" },
		"its metrics have no path":             func(m *watch.Model) { m.Subjects[0].Target.Path = "" },
		"uses sonarr, which is not there":      func(m *watch.Model) { m.Subjects[0].Uses = []string{"sonarr"} },
		"is behind tun, which is not there":    func(m *watch.Model) { m.Subjects[0].Behind = "tun" },
		"is measured by x, which is not there": func(m *watch.Model) { m.Subjects[0].Exporter = "x" },
		`"machine" is not a container's layer`: func(m *watch.Model) { m.Subjects[0].Layer = watch.Machine },
		"no memory limit":                      func(m *watch.Model) { m.Subjects[0].MemoryMiB = 0 },
		"nothing would be kept":                func(m *watch.Model) { m.Retention.LogsDays = 0 },
		"is not a log shipper":                 func(m *watch.Model) { m.Shipper = "" },
	} {
		m := example.Model()
		change(&m)
		assert.ErrorContains(t, m.Validate(), problem)
	}
}
