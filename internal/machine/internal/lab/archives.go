package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"homelab/internal/machine/internal/qemu"
	"homelab/internal/substitutes"
)

// archivesFile is the content of a machine's disk of archives, in the machine's folder. It is made
// anew each time that the machine is switched on, and removed when it is off.
const archivesFile = "archives.raw"

// shelf is a disk with the archives of a folder of images. It has no file system: archives follow
// each other, so that it is made without root and read without a mount.
type shelf struct {
	path   string
	places map[string]place // by the archive's SHA-256
	// mute: the machine's guest agent did not do as it was told, and is not asked again.
	mute atomic.Bool
}

// place is where on a shelf an archive is, in bytes.
type place struct{ from, size int64 }

// shelfAlignment is where archives begin: at its multiples, and never at the start of the disk, where
// one could be taken for a file system.
const shelfAlignment = 1 << 20

// shelve puts a folder's archives on a shelf. An archive that is not what the folder's index says is
// an error.
func shelve(path string, folder *substitutes.Folder) (_ *shelf, err error) {
	images, err := folder.Images()
	if err != nil || len(images) == 0 {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	out := &shelf{path: path, places: map[string]place{}}
	var end int64
	for _, image := range images {
		if _, there := out.places[image.SHA256]; there {
			continue
		}
		from := (end/shelfAlignment + 1) * shelfAlignment
		size, err := copyTo(io.NewOffsetWriter(file, from), folder, image)
		if err != nil {
			return nil, err
		}
		out.places[image.SHA256] = place{from, size}
		end = from + size
	}
	return out, file.Truncate((end/shelfAlignment + 1) * shelfAlignment) // a disk has whole sectors
}

// remove removes the disk; there may be none.
func (s *shelf) remove() error {
	if s == nil {
		return nil
	}
	return os.Remove(s.path)
}

func copyTo(w io.Writer, folder *substitutes.Folder, image substitutes.Image) (int64, error) {
	archive, err := folder.Open(image)
	if err != nil {
		return 0, err
	}
	defer func() { _ = archive.Close() }() // it was only read
	return io.Copy(w, archive)
}

// fromFolder returns the archive of an image in the folder of a rehearsal. That the folder has none
// is an error here which nobody takes for a reason to ask a registry: a rehearsal has the folder's
// images, or stops.
func (l *Lab) fromFolder(name string) (io.ReadCloser, error) {
	archive, err := l.options.Images.Archive(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has none: homelab machine images makes the folder", l.options.Images.Path())
	}
	return archive, err
}

// agentPatience is how long a machine's guest agent may take to answer at all.
const agentPatience = 3 * time.Minute

// hasAddress succeeds on the machine that has an address, and the disk of archives.
const hasAddress = `test -e "$1" && ip -oneline address show to "$2" | grep -q .`

// loadArchive has the engine load an archive from the machine's own disk.
const loadArchive = `set -o pipefail; dd if="$1" bs=1M iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3" status=none | docker load --quiet`

// loadFromShelf is the way of engine.Options.Load: root on the machine loads the archive from its
// second disk.
func (l *Lab) loadFromShelf(ctx context.Context, host, name string) (string, bool, error) {
	image, err := l.options.Images.Image(name)
	if err != nil {
		return "", false, err
	}
	u, err := url.Parse(host)
	if err != nil {
		return "", false, fmt.Errorf("the engine's host %q: %w", host, err)
	}
	now := l.at(ctx, u.Hostname())
	if now.shelf == nil {
		return "", false, nil
	}
	place, there := now.shelf.places[image.SHA256]
	if !there {
		return "", false, nil // the folder was made anew since the machine was switched on
	}
	result, err := now.vm.Run(ctx, "", "/bin/bash", "-c", loadArchive, "load", qemu.ArchivesDevice,
		strconv.FormatInt(place.from, 10), strconv.FormatInt(place.size, 10))
	switch {
	case ctx.Err() != nil:
		return "", false, context.Cause(ctx)
	case err != nil:
		now.shelf.mute.Store(true)
		l.say("image %s is sent over the tailnet, which is slow: %v", name, err)
		return "", false, nil
	case result.Code != 0:
		return "", false, fmt.Errorf("docker load on the machine ended with %d and said: %s", result.Code, strings.TrimSpace(result.Stderr))
	}
	return result.Stdout, true, nil
}

// at is the machine that has an address and a disk of archives; the zero value when none answers.
// Each is asked: the tailnet knows names, and a server and its replacement may have the same.
func (l *Lab) at(ctx context.Context, address string) powered {
	l.mu.Lock()
	all := map[string]powered{}
	for id, m := range l.machines {
		if m.now.shelf != nil && !m.now.shelf.mute.Load() && m.now.on() {
			all[id] = m.now
		}
	}
	l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		within, cancel := context.WithTimeout(ctx, agentPatience)
		result, err := all[id].vm.Run(within, "", "/bin/bash", "-c", hasAddress, "has", qemu.ArchivesDevice, address)
		cancel()
		if err == nil && result.Code == 0 {
			return all[id]
		}
		if err != nil && ctx.Err() == nil {
			all[id].shelf.mute.Store(true)
			l.say("machine %s is sent its images over the tailnet, which is slow: %v", id, err)
		}
	}
	return powered{}
}

// shelfFor makes the disk of archives of a machine that is about to be switched on; nil when the
// rehearsal has no images of its own.
func (l *Lab) shelfFor(id string) (*shelf, error) {
	if l.options.Images == nil {
		return nil, nil
	}
	made, err := shelve(filepath.Join(l.folder(id), archivesFile), l.options.Images)
	if err != nil {
		return nil, fmt.Errorf("making the disk of images of machine %s: %w", id, err)
	}
	return made, nil
}
