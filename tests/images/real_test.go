//go:build images

package images

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Docker fetches or builds every image whose program has a check, and runs it.
func TestEveryProgramInItsImage(t *testing.T) {
	program, err := exec.LookPath("docker")
	require.NoError(t, err, "install Docker")
	d := docker{program: program}
	out, err := d.run(t.Context(), "version")
	require.NoError(t, err, "Docker does not answer: %s", out)
	for name, changes := range deployments {
		t.Run(name, func(t *testing.T) {
			of := deploy(t, changes)
			for _, c := range of.containers {
				t.Run(c.Name, func(t *testing.T) {
					k, known := checkOf(c.Name)
					require.True(t, known)
					if k.none != "" {
						t.Skip("no check: " + k.none)
					}
					assert.NoError(t, d.judge(t.Context(), of, c, k))
				})
			}
		})
	}
}
