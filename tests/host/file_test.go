//go:build host

package host

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnOwnerReachesItsFolder makes the folders of a service in each order in which a deployment
// can: Pulumi makes at once what does not depend on each other.
func TestAnOwnerReachesItsFolder(t *testing.T) {
	const deep, data = "/opt/homelab/grafana/provisioning/dashboards/host.json", "/opt/homelab/grafana/data"
	put := []string{"/usr/local/sbin/homelab-file", "put", "0444", "root:root", deep}
	directory := []string{"/usr/local/sbin/homelab-file", "directory", "0700", "nobody:nogroup", data}
	for name, order := range map[string][][]string{
		"a deep file first": {put, directory},
		"the folder first":  {directory, put},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for _, command := range order {
				m.must(t, command...)
			}
			m.must(t, "setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "touch", data+"/grafana.db")
			for folder, mode := range map[string]os.FileMode{
				"/opt/homelab/grafana":                         0o755,
				"/opt/homelab/grafana/provisioning":            0o755,
				"/opt/homelab/grafana/provisioning/dashboards": 0o755,
				data: 0o700,
				deep: 0o444,
			} {
				info, err := os.Stat(m.at(folder))
				require.NoError(t, err)
				assert.Equal(t, mode, info.Mode().Perm(), folder)
			}
		})
	}
}
