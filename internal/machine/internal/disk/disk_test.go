package disk_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/disk"
)

func TestBaseSaysWhatIsWrong(t *testing.T) {
	_, err := disk.Base(t.Context(), disk.Options{})
	assert.ErrorContains(t, err, "no cache folder")
	_, err = disk.Base(t.Context(), disk.Options{Cache: t.TempDir(), Offline: true})
	assert.ErrorContains(t, err, "there is no base disk in")
	for _, path := range []string{"etc/motd", "/etc/../motd", ""} {
		_, err = disk.Base(t.Context(), disk.Options{Cache: t.TempDir(), Files: []disk.File{{Path: path}}})
		assert.ErrorContains(t, err, "is not an absolute path", path)
	}
	mirror := httptest.NewServer(http.NotFoundHandler())
	defer mirror.Close()
	_, err = disk.Base(t.Context(), disk.Options{Cache: t.TempDir(), Mirror: mirror.URL})
	assert.ErrorContains(t, err, "404")
}

func TestBaseNamesThePackagesOfWhatIsMissing(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("release")) }))
	defer mirror.Close()
	t.Setenv("PATH", t.TempDir())
	_, err := disk.Base(t.Context(), disk.Options{Cache: t.TempDir(), Mirror: mirror.URL})
	for _, pkg := range []string{"debootstrap", "e2fsprogs", "fdisk"} {
		assert.ErrorContains(t, err, "apt-get install --no-install-recommends "+pkg+":")
	}
}

// built puts a base disk into the cache, as a build leaves it.
func built(t *testing.T, options disk.Options) disk.Image {
	t.Helper()
	name, err := options.Name("released")
	require.NoError(t, err)
	folder := filepath.Join(options.Cache, name)
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "packages"), 0o755))
	for name, content := range map[string]string{"disk.raw": "disk", "packages/a.deb": "a", "steps.json": `[{"name": "file system", "took": 1500000000}]`} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	options.Offline = true
	image, err := disk.Base(t.Context(), options)
	require.NoError(t, err)
	return image
}

func TestBaseIsFoundInTheCache(t *testing.T) {
	options := disk.Options{Cache: t.TempDir()}
	image := built(t, options)
	assert.Equal(t, "1.5s", image.Built[0].Took.String())
	require.Len(t, image.Packages, 1)
	assert.Equal(t, "a.deb", filepath.Base(image.Packages[0]))
	assert.Equal(t, "vmlinuz", filepath.Base(image.Kernel))

	for name, other := range map[string]disk.Options{
		"file":       {Files: []disk.File{{Path: "/etc/motd", Mode: 0o644, Content: []byte("hello")}}},
		"mode":       {Files: []disk.File{{Path: "/etc/motd", Mode: 0o600, Content: []byte("hello")}}},
		"mirror":     {Mirror: "http://mirror.example.com/debian"},
		"substitute": {Substitutes: []disk.Substitute{{Debian: "docker.io", Name: "docker-ce", Epoch: 5}}},
	} {
		other.Cache, other.Offline = options.Cache, true
		_, err := disk.Base(t.Context(), other)
		assert.ErrorContains(t, err, "there is no base disk", "another %s is another disk", name)
	}
}

func TestOverlay(t *testing.T) {
	image := built(t, disk.Options{Cache: t.TempDir()})
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	assert.ErrorContains(t, image.Overlay(t.Context(), path, 1), "1 GB, and Debian alone needs")
	require.NoError(t, os.WriteFile(path, []byte("of another machine"), 0o600))
	assert.ErrorContains(t, image.Overlay(t.Context(), path, 20), "it exists")
	t.Setenv("PATH", t.TempDir())
	assert.ErrorContains(t, image.Overlay(t.Context(), path+"2", 20), "apt-get install --no-install-recommends qemu-utils")
}
