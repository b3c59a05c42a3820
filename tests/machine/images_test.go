//go:build machine

package machine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"homelab/internal/substitutes"
)

// machineImages makes the images, or finds them made, and those of a service of the operator's own.
func (l *lab) machineImages() {
	l.t.Helper()
	cmd, out := l.command(l.t.Context(), "machine", "images", l.images)
	require.NoError(l.t, cmd.Run(), "%s", out)
	l.ownImages()
}

// ownImages are two versions of an image that is nobody else's, with what runs in that of Node
// exporter.
func (l *lab) ownImages() (names [2]string) {
	l.t.Helper()
	index, err := substitutes.Read(l.images)
	require.NoError(l.t, err)
	at := slices.IndexFunc(index.Images, func(i substitutes.Image) bool {
		return strings.Contains(i.Image, "/node-exporter:")
	})
	require.GreaterOrEqual(l.t, at, 0)
	original, err := os.ReadFile(filepath.Join(l.images, index.Images[at].Archive))
	require.NoError(l.t, err)
	all := slices.DeleteFunc(index.Images, func(i substitutes.Image) bool {
		return strings.HasPrefix(i.Image, "registry.example.com/")
	})
	for n := range names {
		version := fmt.Sprint(n + 1)
		archive, err := labelled(original, version)
		require.NoError(l.t, err)
		sum := hexSum(archive)
		names[n] = fmt.Sprintf("registry.example.com/exporter:%s@sha256:%s", version, sum)
		file := "own-" + version + ".tar"
		require.NoError(l.t, os.WriteFile(filepath.Join(l.images, file), archive, 0o600))
		all = append(all, substitutes.Image{Image: names[n], Archive: file, SHA256: sum})
	}
	require.NoError(l.t, substitutes.Write(l.images, all))
	return names
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// labelled is the archive of an image with another label, which is another image.
func labelled(archive []byte, version string) ([]byte, error) {
	type entry struct {
		header  *tar.Header
		content []byte
	}
	var all []entry
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{header, content})
	}
	named := func(name string) (*entry, error) {
		at := slices.IndexFunc(all, func(e entry) bool { return e.header.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("no %s in the archive", name)
		}
		return &all[at], nil
	}
	manifest, err := named("manifest.json")
	if err != nil {
		return nil, err
	}
	var images []map[string]any
	if err := json.Unmarshal(manifest.content, &images); err != nil {
		return nil, err
	}
	config, err := named(images[0]["Config"].(string))
	if err != nil {
		return nil, err
	}
	var image map[string]any
	if err := json.Unmarshal(config.content, &image); err != nil {
		return nil, err
	}
	image["config"].(map[string]any)["Labels"] = map[string]string{"version": version}
	if config.content, err = json.Marshal(image); err != nil {
		return nil, err
	}
	config.header.Name = hexSum(config.content) + ".json"
	images[0]["Config"] = config.header.Name
	if manifest.content, err = json.Marshal(images); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range all {
		e.header.Size = int64(len(e.content))
		if err := w.WriteHeader(e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
