package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInventory(t *testing.T) {
	h := &Host{}
	for _, d := range []Data{
		{Folder: "/opt/homelab/b", Databases: []string{"z.db", "a.db"}},
		{Folder: "/opt/homelab/a", Disposable: "a cache"},
		{Folder: "/opt/homelab/c", Disposable: "a cache"},
		{Folder: "/opt/homelab/c", Databases: []string{"c.db"}},
		{Folder: "/opt/homelab/b", Databases: []string{"a.db", "m.db"}},
	} {
		require.NoError(t, h.Declare(d))
	}
	want := []Data{
		{Folder: "/opt/homelab/a", Disposable: "a cache"},
		{Folder: "/opt/homelab/b", Databases: []string{"a.db", "m.db", "z.db"}},
		{Folder: "/opt/homelab/c", Databases: []string{"c.db"}},
	}
	assert.Equal(t, want, h.Inventory())
	assert.Equal(t, want, h.Inventory())
	assert.ErrorContains(t, h.Declare(Data{Folder: "/opt/homelab/late"}), "declaring /opt/homelab/late: the backup was made before; make it last")
}
