package substitute

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifest is manifest.json of an archive as `docker save` writes it.
type manifest struct {
	Config   string
	RepoTags []string // nil: the engine knows the image by its ID, until somebody names it
	Layers   []string
}

// writeArchive writes an archive of one image. Equal images are equal byte for byte.
func writeArchive(w io.Writer, config ocispec.ImageConfig, layers []blob) error {
	image := ocispec.Image{
		Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}, Config: config, RootFS: ocispec.RootFS{Type: "layers"},
	}
	m := manifest{}
	for _, l := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, digest.NewDigestFromEncoded(digest.SHA256, l.digest))
		image.History = append(image.History, ocispec.History{CreatedBy: "homelab machine images"})
		m.Layers = append(m.Layers, l.digest+".tar")
	}
	text, err := json.Marshal(image)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	m.Config = hex.EncodeToString(sum[:]) + ".json"
	index, err := json.Marshal([]manifest{m})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	add := func(name string, size int64, content io.Reader) error {
		if err := out.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatGNU,
		}); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	}
	if err := add(m.Config, int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	for _, l := range layers {
		file, err := os.Open(l.path)
		if err != nil {
			return err
		}
		err = add(l.digest+".tar", l.size, file)
		_ = file.Close() // it was only read
		if err != nil {
			return err
		}
	}
	if err := add("manifest.json", int64(len(index)), bytes.NewReader(index)); err != nil {
		return err
	}
	return out.Close()
}

// saveArchive writes an archive to a file in one step, and returns its SHA-256.
func saveArchive(name string, config ocispec.ImageConfig, layers []blob) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(name), ".archive-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already, unless something failed
	hash := sha256.New()
	if err := writeArchive(io.MultiWriter(file, hash), config, layers); err != nil {
		_ = file.Close()
		return "", err
	}
	if err := file.Chmod(0o644); err != nil {
		_ = file.Close()
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), os.Rename(file.Name(), name)
}
