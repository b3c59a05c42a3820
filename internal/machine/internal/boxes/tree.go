package boxes

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Where the snapshots appear in the main account's home. Nobody writes there.
const (
	zfsFolder    = ".zfs"
	zfsSnapshots = ".zfs/snapshot"
)

// snapshotFolder reports whether a path relative to the box is the snapshots' folder or below it.
func snapshotFolder(rel string) bool {
	return rel == zfsFolder || strings.HasPrefix(rel, zfsFolder+"/")
}

// tree is the home of an account as a file system that no path and no link leaves. Paths are
// absolute with slashes; / is the home. Its errors are those that a client may see.
type tree struct {
	account   *account
	root      *os.Root
	snapshots *os.Root // nil unless the account sees them
}

// open opens the account's home. A home that is gone, or has become a link out of the box, is an
// error.
func (a *account) open() (*tree, error) {
	whole, err := os.OpenRoot(a.box.data())
	if err != nil {
		return nil, err
	}
	defer whole.Close()
	root, err := whole.OpenRoot(a.home)
	if err != nil {
		return nil, err
	}
	t := &tree{account: a, root: root}
	if a.zfs {
		if t.snapshots, err = os.OpenRoot(a.box.snapshots()); err != nil {
			_ = root.Close() // the first error counts
			return nil, err
		}
	}
	return t, nil
}

func (t *tree) close() {
	_ = t.root.Close() // nothing was written through the handles of folders
	if t.snapshots != nil {
		_ = t.snapshots.Close()
	}
}

// relative is a path as os.Root wants it.
func relative(name string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+name), "/"); rel != "" {
		return rel
	}
	return "."
}

// place finds the folder that a path is in, and the path there.
func (t *tree) place(name string) (*os.Root, string) {
	rel := relative(name)
	if t.snapshots == nil {
		return t.root, rel
	}
	if rel == zfsSnapshots {
		return t.snapshots, "."
	}
	if inside, ok := strings.CutPrefix(rel, zfsSnapshots+"/"); ok {
		return t.snapshots, inside
	}
	return t.root, rel
}

// visible makes an error of os.Root one that a client may see: a path that would lead out of the
// home leads nowhere, as it does for a server that has the home as its root.
func visible(err error) error {
	var errno syscall.Errno
	var escape *fs.PathError
	if errors.As(err, &escape) && !errors.As(err, &errno) && !errors.Is(err, fs.ErrClosed) && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: escape.Op, Path: escape.Path, Err: syscall.ENOENT}
	}
	var link *os.LinkError
	if errors.As(err, &link) && !errors.As(err, &errno) {
		return &os.LinkError{Op: link.Op, Old: link.Old, New: link.New, Err: syscall.ENOENT}
	}
	return err
}

// change runs something that alters the home at a path, unless the account may not.
func (t *tree) change(name string, do func(rel string) error) error {
	rel := relative(name)
	if t.account.readonly || t.snapshots != nil && snapshotFolder(rel) {
		return syscall.EACCES
	}
	t.account.box.freeze.RLock()
	defer t.account.box.freeze.RUnlock()
	return visible(do(rel))
}

// keep refuses to remove or move the home of a sub-account, or what it lies in.
func (t *tree) keep(rel string) error {
	whole := filepath.Join(t.account.home, rel)
	if rel == "." || slices.ContainsFunc(t.account.box.homes(), func(home string) bool {
		return home == whole || strings.HasPrefix(home, whole+"/")
	}) {
		return syscall.EACCES
	}
	return nil
}

func (t *tree) stat(name string) (fs.FileInfo, error) {
	root, rel := t.place(name)
	info, err := root.Stat(rel)
	return info, visible(err)
}

func (t *tree) lstat(name string) (fs.FileInfo, error) {
	root, rel := t.place(name)
	info, err := root.Lstat(rel)
	return info, visible(err)
}

func (t *tree) readlink(name string) (string, error) {
	root, rel := t.place(name)
	target, err := root.Readlink(rel)
	return target, visible(err)
}

// list returns the entries of a folder, in order.
func (t *tree) list(name string) ([]fs.FileInfo, error) {
	root, rel := t.place(name)
	dir, err := root.Open(rel)
	if err != nil {
		return nil, visible(err)
	}
	defer dir.Close()
	entries, err := dir.Readdir(-1)
	if err != nil {
		return nil, visible(err)
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// writing are the flags with which a file is more than read.
const writing = os.O_WRONLY | os.O_RDWR | os.O_CREATE | os.O_TRUNC | os.O_APPEND

// openFile opens a file; what it takes counts against the box's size.
func (t *tree) openFile(name string, flags int, mode fs.FileMode) (*file, error) {
	if flags&writing == 0 {
		root, rel := t.place(name)
		// A named pipe would wait for its other end.
		f, err := root.OpenFile(rel, flags|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, visible(err)
		}
		return &file{File: f, tree: t}, nil
	}
	var out *file
	err := t.change(name, func(rel string) error {
		if flags&os.O_TRUNC != 0 {
			defer t.account.box.space.changed()
		}
		f, err := t.root.OpenFile(rel, flags|syscall.O_NONBLOCK, mode)
		if err == nil {
			out = &file{File: f, tree: t}
		}
		return err
	})
	return out, err
}

func (t *tree) mkdir(name string, mode fs.FileMode) error {
	return t.change(name, func(rel string) error { return t.root.Mkdir(rel, mode) })
}

// remove removes a file or a link, or an empty folder if that is what is wanted.
func (t *tree) remove(name string, folder bool) error {
	return t.change(name, func(rel string) error {
		info, err := t.root.Lstat(rel)
		if err != nil {
			return err
		}
		if info.IsDir() != folder {
			if folder {
				return &fs.PathError{Op: "rmdir", Path: name, Err: syscall.ENOTDIR}
			}
			return &fs.PathError{Op: "unlink", Path: name, Err: syscall.EISDIR}
		}
		if err := t.keep(rel); err != nil {
			return err
		}
		defer t.account.box.space.changed()
		return t.root.Remove(rel)
	})
}

func (t *tree) removeAll(name string) error {
	return t.change(name, func(rel string) error {
		if err := t.keep(rel); err != nil {
			return err
		}
		defer t.account.box.space.changed()
		return t.root.RemoveAll(rel)
	})
}

// rename moves a file or folder; over says whether it may take the place of another.
func (t *tree) rename(from, to string, over bool) error {
	if t.snapshots != nil && snapshotFolder(relative(to)) {
		return syscall.EACCES
	}
	return t.change(from, func(rel string) error {
		if err := t.keep(rel); err != nil {
			return err
		}
		target := relative(to)
		if _, err := t.root.Lstat(target); err == nil && !over {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EEXIST}
		}
		defer t.account.box.space.changed()
		return t.root.Rename(rel, target)
	})
}

func (t *tree) link(from, to string) error {
	if t.snapshots != nil && snapshotFolder(relative(from)) {
		return syscall.EXDEV
	}
	return t.change(to, func(rel string) error { return t.root.Link(relative(from), rel) })
}

// symlink makes a link with any target; it is followed only inside the home.
func (t *tree) symlink(target, name string) error {
	return t.change(name, func(rel string) error { return t.root.Symlink(target, rel) })
}

func (t *tree) chmod(name string, mode fs.FileMode) error {
	return t.change(name, func(rel string) error { return t.root.Chmod(rel, mode.Perm()) })
}

func (t *tree) chtimes(name string, accessed, modified time.Time) error {
	return t.change(name, func(rel string) error { return t.root.Chtimes(rel, accessed, modified) })
}

func (t *tree) truncate(name string, size int64) error {
	f, err := t.openFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.resize(size)
}
