// Package substitute makes the folder of container images that a rehearsal runs: the deployment's
// own programs, built from this checkout, the real programs of others as far as they can be built
// or are in Debian, and stand-ins for the rest.
package substitute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"homelab/internal/substitutes"
	"homelab/internal/toolchain"
)

// Options say where images are made.
type Options struct {
	// Folder is where they go; it is made where it is missing. Images of it that stand for
	// themselves stay: somebody with Docker has put them there. Required.
	Folder string
	// Cache is the folder in which Debian's programs are kept. Required.
	Cache string
	// Authority is the certificate of the rehearsal's authority, in PEM, which images believe beside
	// those that they come with. Required.
	Authority []byte
	// Progress gets lines about what takes time. Default: nobody.
	Progress io.Writer
}

// builder makes one folder.
type builder struct {
	Options
	cache  string // of this package
	root   string // of the checkout
	work   string // what is gone at the end
	debian debian
	blobs  map[string]blob // layers that images share
	out    []substitutes.Image
}

// plan is an image to be made.
type plan struct {
	// image is what the deployment asks for; see substitutes.Image.
	image string
	// name is that of the archive.
	name   string
	config ocispec.ImageConfig
	// on are the names of the layers below.
	on []string
	// debian are Debian's programs that it has.
	debian []string
	// fill adds what is its own.
	fill func(ctx context.Context, l layer) error
	// instead says what runs in the place of what.
	instead string
}

// Names of the layers that images share.
const (
	baseLayer  = "base"
	shellLayer = "shell"
)

// Build makes the folder. It needs a checkout and Go, Linux on x86-64, and the first time root,
// debootstrap and Debian's mirror.
func Build(ctx context.Context, o Options) (err error) {
	if o.Folder == "" || o.Cache == "" || len(o.Authority) == 0 {
		return errors.New("images need a folder, a cache and an authority")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("images are built for the machine on Linux on x86-64, not on %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	b := &builder{Options: o, cache: filepath.Join(o.Cache, "substitutes"), blobs: map[string]blob{}}
	if b.root, err = toolchain.Root(); err != nil {
		return err
	}
	for _, folder := range []string{b.Folder, b.cache} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if b.work, err = os.MkdirTemp(b.Folder, ".building-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	there, err := kept(b.Folder)
	if err != nil {
		return err
	}
	if b.debian, err = openDebian(ctx, b); err != nil {
		return fmt.Errorf("programs of Debian: %w", err)
	}
	plans, err := b.plans(ctx)
	if err != nil {
		return err
	}
	b.out = there
	for _, p := range plans {
		if slices.ContainsFunc(there, func(i substitutes.Image) bool { return i.Image == p.image }) {
			b.say("%s: the real image stays", p.name)
			continue
		}
		if err := b.make(ctx, p); err != nil {
			return fmt.Errorf("image %s: %w", p.name, err)
		}
		b.say("%s: %s", p.name, said(p.instead))
	}
	if err := substitutes.Write(b.Folder, b.out); err != nil {
		return err
	}
	if missing := b.missing(); len(missing) > 0 {
		b.say("no substitute: %s", strings.Join(missing, ", "))
	}
	return nil
}

func said(instead string) string {
	if instead == "" {
		return "built from this checkout"
	}
	return instead
}

func (b *builder) say(format string, args ...any) {
	if b.Progress != nil {
		_, _ = fmt.Fprintf(b.Progress, format+"\n", args...) // who follows may have gone
	}
}

// kept are the images of a folder that stand for themselves: pinned, and without a note.
func kept(folder string) (there []substitutes.Image, err error) {
	index, err := substitutes.Read(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what %s has: %w", folder, err)
	}
	for _, i := range index.Images {
		if i.Instead == "" && strings.Contains(i.Image, "@") {
			there = append(there, i)
		}
	}
	return there, nil
}

// missing are the deployment's images that the folder lacks.
func (b *builder) missing() (names []string) {
	for _, i := range deployed {
		if !slices.ContainsFunc(b.out, func(made substitutes.Image) bool { return made.Image == i.Reference() }) {
			names = append(names, i.Reference())
		}
	}
	return names
}

// make makes one image.
func (b *builder) make(ctx context.Context, p plan) error {
	l := layer{}
	for _, name := range p.debian {
		if err := b.debian.program(ctx, l, name); err != nil {
			return err
		}
	}
	if err := p.fill(ctx, l); err != nil {
		return err
	}
	var layers []blob
	for _, name := range p.on {
		below, err := b.shared(ctx, name)
		if err != nil {
			return err
		}
		layers = append(layers, below)
	}
	own, err := l.blob(b.work)
	if err != nil {
		return err
	}
	archive := p.name + ".tar"
	sum, err := saveArchive(filepath.Join(b.Folder, archive), p.config, append(layers, own))
	if err != nil {
		return err
	}
	b.out = append(b.out, substitutes.Image{Image: p.image, Archive: archive, SHA256: sum, Instead: p.instead})
	return os.Remove(own.path)
}

// shared returns a layer that several images have.
func (b *builder) shared(ctx context.Context, name string) (blob, error) {
	if found, ok := b.blobs[name]; ok {
		return found, nil
	}
	fill := map[string]func(context.Context) (layer, error){baseLayer: b.base, shellLayer: b.shell}[name]
	l, err := fill(ctx)
	if err != nil {
		return blob{}, err
	}
	b.blobs[name], err = l.blob(b.work)
	return b.blobs[name], err
}

// walk visits all below a folder, by the path relative to it.
func walk(folder string, visit func(relative string, info os.FileInfo) error) error {
	return filepath.WalkDir(folder, func(path string, found fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(relative), info)
	})
}
