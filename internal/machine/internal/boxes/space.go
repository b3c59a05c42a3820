package boxes

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// errFull is what a full box answers: ZFS's quota, not a full disk (inferred).
const errFull = syscall.EDQUOT

// space is how full a box is. It counts in advance what the servers write, and looks at the disk
// before it refuses anything, and after programs of clients have run.
type space struct {
	box *box

	mu         sync.Mutex
	size, used int64
	stale      bool // something may have become smaller
	counted    time.Time
}

func (s *space) resize(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = size
}

// changed says that the count may be wrong.
func (s *space) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
}

// reserve takes room for growth, or returns errFull.
func (s *space) reserve(growth int64) error {
	if growth <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+growth > s.size || s.stale && s.counted.IsZero() {
		if err := s.recount(); err != nil {
			return err
		}
	}
	if s.used+growth > s.size {
		return errFull
	}
	s.used += growth
	return nil
}

// recount looks at the disk, unless nothing can have changed since a moment ago.
func (s *space) recount() error {
	if !s.stale && time.Since(s.counted) < time.Second {
		return nil
	}
	used, err := usage(s.box)
	if err != nil {
		return err
	}
	s.used, s.stale, s.counted = used, false, time.Now()
	return nil
}

// count returns how much is in use now.
func (s *space) count() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
	err := s.recount()
	return s.used, err
}

// free returns how much is left; less than nothing if a client's program went over the size.
func (s *space) free() (int64, error) {
	used, err := s.count()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size - used, err
}

// content is what makes two versions of a file the same.
type content struct {
	size     int64
	modified time.Time
}

// usage is the size of all files, and of those in snapshots that are no longer the same: a snapshot
// takes no room until something is changed or deleted
// (docs.hetzner.com/storage/storage-box/snapshots).
func usage(b *box) (int64, error) {
	live, total, err := measure(b.data(), nil, nil)
	if err != nil {
		return 0, err
	}
	names, err := b.snapshotNames()
	if err != nil {
		return 0, err
	}
	before := map[string]content{}
	for _, name := range names {
		files, only, err := measure(filepath.Join(b.snapshots(), name), live, before)
		if err != nil {
			return 0, err
		}
		total, before = total+only, files
	}
	return total, nil
}

// measure returns the files of a folder by their paths, and the size of those that neither of the
// two others has. Hard links count once.
func measure(dir string, others ...map[string]content) (map[string]content, int64, error) {
	files, total, seen := map[string]content{}, int64(0), map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return gone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return gone(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
			if seen[stat.Ino] {
				return nil
			}
			seen[stat.Ino] = true
		}
		is := content{info.Size(), info.ModTime()}
		rel := path[len(dir):]
		files[rel] = is
		for _, other := range others {
			if was, ok := other[rel]; ok && was.size == is.size && was.modified.Equal(is.modified) {
				return nil
			}
		}
		total += is.size
		return nil
	})
	return files, total, err
}

// gone forgives what a client removed in the meantime.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Between these numbers of bytes that a program of a client was sent, the disk is looked at again.
// A real box notices a full quota late as well: ZFS says so of its quotas.
const (
	minMeter = 64 << 10
	maxMeter = 1 << 30
)

// meter passes on what a client sends to a program, until the box is full.
type meter struct {
	from  io.Reader
	space *space
	left  int64 // bytes until the next look
	began bool
	full  func() // called once when the box is full
}

// Read reads on, or returns errFull.
func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		free, err := m.space.free()
		if err != nil {
			return 0, err
		}
		if free <= 0 && m.began {
			m.full()
			return 0, errFull
		}
		m.began = true
		m.left = min(max(free/2, minMeter), maxMeter)
	}
	n, err := m.from.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}
