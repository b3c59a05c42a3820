package substitutes

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	valkey = "docker.io/valkey/valkey:9.1.2-alpine@sha256:" + strings.Repeat("a", 64)
	caddy  = "homelab/caddy:0123456789abcdef"
)

// folder makes a folder with two images.
func folder(t *testing.T) string {
	t.Helper()
	path := t.TempDir()
	require.NoError(t, Write(path, []Image{
		{Image: caddy, Archive: "caddy.tar", SHA256: put(t, path, "caddy.tar", "our caddy")},
		{Image: valkey, Archive: "valkey.tar", SHA256: put(t, path, "valkey.tar", "a valkey"), Instead: "Valkey 8 in the place of 9"},
	}))
	return path
}

func put(t *testing.T, folder, name, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func content(t *testing.T, f *Folder, name string) (string, error) {
	t.Helper()
	archive, err := f.Archive(name)
	require.NoError(t, err)
	text, err := io.ReadAll(archive)
	require.NoError(t, archive.Close())
	return string(text), err
}

func TestImagesAreFoundByTheNamesOfADeployment(t *testing.T) {
	path := folder(t)
	f, err := Open(path)
	require.NoError(t, err)
	assert.Equal(t, path, f.Path())
	image, err := f.Image(caddy + "-4711")
	require.NoError(t, err)
	assert.Equal(t, "caddy.tar", image.Archive)
	all, err := f.Images()
	require.NoError(t, err)
	assert.Len(t, all, 2)
	for name, want := range map[string]string{valkey: "a valkey", caddy + "-4711": "our caddy", caddy + "-srv-1.eu": "our caddy"} {
		text, err := content(t, f, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, text, name)
	}
	for _, name := range []string{
		strings.Replace(valkey, "aaa", "bbb", 1), "docker.io/valkey/valkey:9.1.2-alpine", "homelab/home:0123456789abcdef-1", "other/caddy:0123456789abcdef-1", "",
	} {
		_, err := f.Archive(name)
		require.ErrorIs(t, err, fs.ErrNotExist, name)
	}
	// A build there would need a registry, and the error would be about that.
	_, err = f.Archive("homelab/caddy:ffffffffffffffff-4711")
	require.ErrorContains(t, err, "made from other files than the deployment's: make the folder anew")
	require.NotErrorIs(t, err, fs.ErrNotExist)
}

func TestNotesAreSortedAndOnce(t *testing.T) {
	path := t.TempDir()
	sum := put(t, path, "x.tar", "x")
	image := func(name, instead string) Image {
		return Image{Image: name + ":1@sha256:" + strings.Repeat("b", 64), Archive: "x.tar", SHA256: sum, Instead: instead}
	}
	require.NoError(t, Write(path, []Image{image("c", "b instead"), image("a", "c instead"), image("b", ""), image("d", "b instead")}))
	f, err := Open(path)
	require.NoError(t, err)
	assert.Equal(t, []string{"b instead", "c instead"}, f.Instead())
}

func TestEveryProblemOfAFolderIsNamed(t *testing.T) {
	path := t.TempDir()
	good := put(t, path, "good.tar", "x")
	text := `{"version": 1, "images": [
	{"image": "redis:latest", "archive": "good.tar", "sha256": "` + good + `", "instead": ""},
	{"image": "` + valkey + `", "archive": "../outside.tar", "sha256": "` + good + `", "instead": ""},
	{"image": "` + valkey + `", "archive": "good.tar", "sha256": "abc", "instead": "two\nlines"},
	{"image": "` + caddy + `", "archive": "gone.tar", "sha256": "` + good + `", "instead": ""},
	{"image": "homelab/home:0123456789abcdef", "archive": "good.tar", "sha256": "` + strings.Repeat("0", 64) + `", "instead": ""}
]}`
	require.NoError(t, os.WriteFile(filepath.Join(path, IndexFile), []byte(text), 0o644))
	_, err := Open(path)
	require.Error(t, err)
	for _, want := range []string{
		`images[0]: "redis:latest" is neither repository:tag@sha256:… nor homelab/NAME:DIGEST`,
		`images[1]: archive "../outside.tar" is not the name of a file in the folder`,
		"images[2]: " + valkey + " is there twice",
		`images[2]: sha256 "abc" is not 64 hexadecimal digits`,
		"images[2]: instead is not one line",
		"gone.tar: no such file or directory",
		"homelab/home:0123456789abcdef: good.tar has the SHA-256 " + good + ", not 000000",
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestAnIndexThatCannotBeRead(t *testing.T) {
	path := t.TempDir()
	_, err := Open(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	for text, want := range map[string]string{
		`{`:                             "unexpected end",
		`{"version": 2, "pictures": 1}`: "version 2, and this program reads version 1: make the folder anew",
		`{"images": []}`:                "version 0",
		`{"version": 1, "image": []}`:   `unknown field "image"`,
		`{"version": 1, "images": [{"note": ""}]}`: `unknown field "note"`,
		`{"version": 1, "images": []} []`:          "after top-level value",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(path, IndexFile), []byte(text), 0o644))
		_, err := Open(path)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestWhatChangesWhileTheFolderIsInUse(t *testing.T) {
	path := folder(t)
	f, err := Open(path)
	require.NoError(t, err)

	put(t, path, "valkey.tar", "half a valk")
	_, err = content(t, f, valkey)
	require.ErrorContains(t, err, "make the folder anew", "an archive that is not the index's is not run")

	require.NoError(t, Write(path, []Image{{Image: valkey, Archive: "new.tar", SHA256: put(t, path, "new.tar", "another valkey")}}))
	text, err := content(t, f, valkey)
	require.NoError(t, err)
	assert.Equal(t, "another valkey", text, "a folder made anew counts at once")
	all, err := f.Images()
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, "new.tar", all[0].Archive)

	require.NoError(t, os.Remove(filepath.Join(path, "new.tar")))
	_, err = f.Archive(valkey)
	require.ErrorContains(t, err, "new.tar")
	require.NotErrorIs(t, err, fs.ErrNotExist, "the index says that there is one")

	require.NoError(t, os.Remove(filepath.Join(path, IndexFile)))
	_, err = f.Images()
	require.ErrorContains(t, err, "reading the images in "+path)
}

func TestAnIndexIsNotWrittenWrong(t *testing.T) {
	path := folder(t)
	before, err := os.ReadFile(filepath.Join(path, IndexFile))
	require.NoError(t, err)
	require.ErrorContains(t, Write(path, []Image{{Image: "x"}}), `"x" is neither`)
	after, err := os.ReadFile(filepath.Join(path, IndexFile))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}
