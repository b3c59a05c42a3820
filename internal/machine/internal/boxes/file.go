package boxes

import (
	"io"
	"os"
	"sync"
)

// file is an open file of a box. What makes it larger must fit into the box.
type file struct {
	*os.File
	tree   *tree
	append bool // every write goes to the end

	mu sync.Mutex // writes are one after another, so that growth is counted once
}

// WriteAt writes at a place, or at the end of a file that is appended to.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	box := f.tree.account.box
	box.freeze.RLock()
	defer box.freeze.RUnlock()
	info, err := f.File.Stat()
	if err != nil {
		return 0, err
	}
	if f.append {
		at = info.Size()
	}
	if err := box.space.reserve(at + int64(len(p)) - info.Size()); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

// Write writes at the file's own position.
func (f *file) Write(p []byte) (int, error) {
	at, err := f.File.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n, err := f.WriteAt(p, at)
	if _, seek := f.File.Seek(int64(n), io.SeekCurrent); err == nil {
		err = seek
	}
	return n, err
}

// ReadFrom would pass by Write.
func (f *file) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

// resize cuts the file off or makes it longer.
func (f *file) resize(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	box := f.tree.account.box
	box.freeze.RLock()
	defer box.freeze.RUnlock()
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	if err := box.space.reserve(size - info.Size()); err != nil {
		return err
	}
	if size < info.Size() {
		defer box.space.changed()
	}
	return f.File.Truncate(size)
}
