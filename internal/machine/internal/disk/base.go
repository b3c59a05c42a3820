// Package disk makes the disks of virtual machines: a base disk with Debian 13, built once into the
// user's cache, and for each machine a disk of its own that begins as the base disk.
package disk

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"homelab/internal/machine/internal/qemu"
)

// Options say what goes into a base disk and where it is kept.
type Options struct {
	// Cache is the folder in which base disks are kept; it is made where it is missing. It is safe
	// to delete while no machine runs. Required.
	Cache string
	// Mirror is Debian's mirror. Default: http://deb.debian.org/debian.
	Mirror string
	// Offline takes the newest base disk of these options that is in the cache, and asks nobody.
	Offline bool
	// Files are put on the disk as they are, beside Debian's. Default: none.
	Files []File
	// Substitutes are packages of Debian's to be built anew under other names. Default: none.
	Substitutes []Substitute
	// Progress gets lines about what takes time. Default: nobody.
	Progress io.Writer
}

// File is a file of the base disk.
type File struct {
	// Path is absolute. Required.
	Path string
	// Mode is its permissions. Required.
	Mode fs.FileMode
	// Content is what is in it.
	Content []byte
}

// Substitute is a package that has the content of one of Debian's, with its scripts and
// dependencies, under the name of a vendor's, which Debian's own conflicts with.
type Substitute struct {
	// Debian is the name of Debian's package. Required.
	Debian string
	// Name is the vendor's. Required.
	Name string
	// Epoch makes the version higher than any of Debian's.
	Epoch int
}

// Image is a base disk: nothing ever writes to it.
type Image struct {
	// Kernel and Initrd are those of the disk's Debian.
	Kernel, Initrd string
	// Append is the kernel's command line.
	Append string
	// Packages are the files of the substitutes. They are not installed on the disk.
	Packages []string
	// Built says how long each step of the build took, whenever that was.
	Built []Step

	disk string
}

// Step is one step of a build.
type Step struct {
	// Name says what was done.
	Name string `json:"name"`
	// Took is how long, in nanoseconds where it is JSON.
	Took time.Duration `json:"took"`
}

const (
	defaultMirror = "http://deb.debian.org/debian"
	suite         = "trixie"
	diskName      = "disk.raw"
	kernelName    = "vmlinuz"
	initrdName    = "initrd"
	stepsName     = "steps.json"
	packagesName  = "packages"
)

// commandLine boots the disk's first partition and prints on the serial console, as the kernels of
// Hetzner's servers do.
const commandLine = "root=LABEL=root ro console=tty0 console=ttyS0"

//go:embed files
var files embed.FS

// Base returns the base disk for these options, and builds it where it is missing: that takes
// minutes, needs root (debootstrap), and Debian's mirror.
func Base(ctx context.Context, o Options) (_ Image, err error) {
	if o.Cache == "" {
		return Image{}, errors.New("building a base disk: no cache folder")
	}
	if o.Mirror == "" {
		o.Mirror = defaultMirror
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	recipe, err := o.recipe()
	if err != nil {
		return Image{}, err
	}
	if o.Offline {
		return newest(o.Cache, recipe)
	}
	release, err := fetchRelease(ctx, o.Mirror)
	if err != nil {
		return Image{}, err
	}
	name := recipe + "-" + release
	if image, err := read(filepath.Join(o.Cache, name)); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return Image{}, fmt.Errorf("making the cache of base disks: %w", err)
	}
	lock := flock.New(filepath.Join(o.Cache, name+".lock"))
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return Image{}, fmt.Errorf("waiting for another process that builds the base disk: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if image, err := read(filepath.Join(o.Cache, name)); err == nil {
		return image, nil
	}
	if err := build(ctx, o, release, filepath.Join(o.Cache, name)); err != nil {
		return Image{}, fmt.Errorf("building a base disk: %w", err)
	}
	return read(filepath.Join(o.Cache, name))
}

// recipe is the hash of all that this program puts on a disk.
func (o Options) recipe() (string, error) {
	hash := sha256.New()
	// Lengths go in with the texts, so that no two different lists hash the same bytes.
	add := func(parts ...string) {
		for _, part := range parts {
			fmt.Fprintf(hash, "%d:%s\n", len(part), part)
		}
	}
	add(o.Mirror, suite)
	add(packages...)
	add("without")
	add(unwanted...)
	add(diskSize)
	err := fs.WalkDir(files, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		add(path, string(content))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the files of a base disk: %w", err)
	}
	add("substitutes", substituteScript, fmt.Sprintf("%+v", o.Substitutes))
	for _, f := range o.Files {
		if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path {
			return "", fmt.Errorf("building a base disk: %q is not an absolute path", f.Path)
		}
		add(f.Path, f.Mode.String(), string(f.Content))
	}
	return hex.EncodeToString(hash.Sum(nil))[:24], nil
}

// fetchRelease is the hash of what Debian's mirror says of the release. It changes with each point
// release; the packages of a disk are those of the mirror then.
func fetchRelease(ctx context.Context, mirror string) (string, error) {
	address := mirror + "/dists/" + suite + "/InRelease"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("asking Debian's mirror for its release: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking Debian's mirror for its release: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking Debian's mirror for its release: %s answers %s", address, response.Status)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(response.Body, 8<<20)); err != nil {
		return "", fmt.Errorf("reading %s: %w", address, err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:24], nil
}

// read returns the base disk of a folder, which is whole or absent.
func read(folder string) (Image, error) {
	steps, err := os.ReadFile(filepath.Join(folder, stepsName))
	if err != nil {
		return Image{}, fmt.Errorf("reading a base disk: %w", err)
	}
	image := Image{
		Kernel: filepath.Join(folder, kernelName), Initrd: filepath.Join(folder, initrdName), Append: commandLine, disk: filepath.Join(folder, diskName),
	}
	if image.Packages, err = filepath.Glob(filepath.Join(folder, packagesName, "*.deb")); err != nil {
		return Image{}, fmt.Errorf("reading the packages of a base disk: %w", err)
	}
	if err := json.Unmarshal(steps, &image.Built); err != nil {
		return Image{}, fmt.Errorf("reading %s of a base disk: %w", stepsName, err)
	}
	return image, nil
}

// newest is the base disk of that recipe that was built last.
func newest(cache, recipe string) (Image, error) {
	folders, err := filepath.Glob(filepath.Join(cache, recipe+"-*", stepsName))
	if err != nil {
		return Image{}, fmt.Errorf("looking for a base disk: %w", err)
	}
	if len(folders) == 0 {
		return Image{}, fmt.Errorf("there is no base disk in %s yet: build it once with Debian's mirror, without offline", cache)
	}
	built := func(path string) time.Time {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{} // deleted meanwhile
		}
		return info.ModTime()
	}
	slices.SortFunc(folders, func(a, b string) int { return built(b).Compare(built(a)) })
	return read(filepath.Dir(folders[0]))
}

// Overlay makes a machine's own disk of that many gigabytes at path: what the machine writes is
// there, and what it does not write is the base disk's. The file grows with what is written.
func (i Image) Overlay(ctx context.Context, path string, sizeGB int) error {
	program, err := qemu.Program("qemu-img")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("making the disk %s: it exists", path)
	}
	if sizeGB < minimumGB {
		return fmt.Errorf("making the disk %s: %d GB, and Debian alone needs %d", path, sizeGB, minimumGB)
	}
	said, err := exec.CommandContext(ctx, program, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", i.disk, path, fmt.Sprintf("%dG", sizeGB)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the disk %s: %w: %s", path, err, strings.TrimSpace(string(said)))
	}
	return nil
}
