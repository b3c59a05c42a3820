// Package buildfolder names what is in a folder that an image is built from.
package buildfolder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Digest is the SHA-256 of the names and contents of the regular files of a folder, in order of
// their names, as hexadecimal digits. A folder without a Dockerfile is an error. Tests are not part
// of the image, but leaving files out by pattern would be a second list beside .dockerignore, so
// everything counts.
func Digest(folder string) (string, error) {
	root := os.DirFS(folder)
	var names []string
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, "Dockerfile") {
		return "", fmt.Errorf("no Dockerfile in %s", folder)
	}
	slices.Sort(names)
	sum := sha256.New()
	for _, name := range names {
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%d:%s%d:", len(name), name, len(content))
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Tag is the part of a digest that the tag of an image has.
func Tag(digest string) string { return digest[:16] }
