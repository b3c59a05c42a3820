package boxes

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/sftp"
)

const createOrWrite = os.O_CREATE | os.O_WRONLY

// sftp serves SFTP until the client has had enough. base is where the home is: / on port 22, /home
// on port 23.
func (s *session) sftp(base string) int {
	t, err := s.account.open()
	if err != nil {
		return 1
	}
	defer t.close()
	h := &sftpHandler{tree: t, base: base}
	server := sftp.NewRequestServer(s.channel, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}, sftp.WithStartDirectory(base))
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// sftpHandler is a tree in the terms of the sftp package.
type sftpHandler struct {
	tree *tree
	base string
}

// path is where a client's path is in the home.
func (h *sftpHandler) path(name string) (string, error) {
	name = path.Clean("/" + name)
	if h.base == "/" || name == h.base {
		return "/" + strings.TrimPrefix(name, h.base), nil
	}
	if inside, ok := strings.CutPrefix(name, h.base+"/"); ok {
		return "/" + inside, nil
	}
	if name == "/" {
		return "", syscall.EACCES
	}
	return "", syscall.ENOENT
}

// failure is how OpenSSH's server reports what SFTP has no number for, such as a full box.
func failure(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, io.EOF) {
		return err
	}
	return sftp.ErrSSHFxFailure
}

func (h *sftpHandler) open(r *sftp.Request) (*sftpFile, error) {
	name, err := h.path(r.Filepath)
	if err != nil {
		return nil, err
	}
	asked, flags := r.Pflags(), os.O_RDONLY
	switch {
	case asked.Read && (asked.Write || asked.Append):
		flags = os.O_RDWR
	case asked.Write || asked.Append:
		flags = os.O_WRONLY
	}
	if asked.Creat {
		flags |= os.O_CREATE
	}
	if asked.Trunc {
		flags |= os.O_TRUNC
	}
	if asked.Excl {
		flags |= os.O_EXCL
	}
	f, err := h.tree.openFile(name, flags, 0o644)
	if err != nil {
		return nil, failure(err)
	}
	f.append = asked.Append
	return &sftpFile{f}, nil
}

// Fileread opens a file for reading.
func (h *sftpHandler) Fileread(r *sftp.Request) (io.ReaderAt, error) { return h.opened(r) }

// Filewrite opens a file for writing.
func (h *sftpHandler) Filewrite(r *sftp.Request) (io.WriterAt, error) { return h.opened(r) }

// OpenFile opens a file for both.
func (h *sftpHandler) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) { return h.opened(r) }

func (h *sftpHandler) opened(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	f, err := h.open(r)
	if err != nil {
		return nil, err // and no file: a nil pointer in an interface would be one
	}
	return f, nil
}

// sftpFile reports errors as OpenSSH's server does.
type sftpFile struct{ *file }

// ReadAt reads.
func (f *sftpFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.file.ReadAt(p, at)
	return n, failure(err)
}

// WriteAt writes.
func (f *sftpFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.file.WriteAt(p, at)
	return n, failure(err)
}

// Filecmd changes something that is not the content of a file.
func (h *sftpHandler) Filecmd(r *sftp.Request) error {
	name, err := h.path(r.Filepath)
	if err != nil && r.Method != "Symlink" {
		return err
	}
	var target string
	if r.Target != "" {
		if target, err = h.path(r.Target); err != nil {
			return err
		}
	}
	switch r.Method {
	case "Setstat":
		return failure(h.setStat(name, r))
	case "Rename":
		return failure(h.tree.rename(name, target, false))
	case "Rmdir":
		return failure(h.tree.remove(name, true))
	case "Mkdir":
		return failure(h.tree.mkdir(name, 0o755))
	case "Remove":
		return failure(h.tree.remove(name, false))
	case "Link":
		return failure(h.tree.link(name, target))
	case "Symlink":
		return failure(h.tree.symlink(r.Filepath, target))
	}
	return sftp.ErrSSHFxOpUnsupported
}

// PosixRename moves a file to the place of another.
func (h *sftpHandler) PosixRename(r *sftp.Request) error {
	from, err := h.path(r.Filepath)
	if err != nil {
		return err
	}
	to, err := h.path(r.Target)
	if err != nil {
		return err
	}
	return failure(h.tree.rename(from, to, true))
}

func (h *sftpHandler) setStat(name string, r *sftp.Request) error {
	which, is := r.AttrFlags(), r.Attributes()
	if which.UidGid {
		return syscall.EPERM // everything belongs to the account
	}
	if which.Size {
		if err := h.tree.truncate(name, int64(is.Size)); err != nil {
			return err
		}
	}
	if which.Permissions {
		if err := h.tree.chmod(name, is.FileMode()); err != nil {
			return err
		}
	}
	if which.Acmodtime {
		return h.tree.chtimes(name, time.Unix(int64(is.Atime), 0), time.Unix(int64(is.Mtime), 0))
	}
	return nil
}

// StatVFS is the box's size, in blocks of a kilobyte.
func (h *sftpHandler) StatVFS(*sftp.Request) (*sftp.StatVFS, error) {
	space := h.tree.account.box.space
	free, err := space.free()
	if err != nil {
		return nil, failure(err)
	}
	space.mu.Lock()
	defer space.mu.Unlock()
	left := uint64(max(free, 0)) >> 10
	return &sftp.StatVFS{Bsize: 1 << 10, Frsize: 1 << 10, Blocks: uint64(space.size) >> 10, Bfree: left, Bavail: left, Namemax: 255}, nil
}

// Filelist lists a folder, or describes what a path leads to.
func (h *sftpHandler) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Filepath == "/" && h.base != "/" {
		info, err := h.tree.stat("/")
		if r.Method == "Stat" {
			return infos{named{info, "/"}}, failure(err)
		}
		return infos{named{info, path.Base(h.base)}}, failure(err)
	}
	name, err := h.path(r.Filepath)
	if err != nil {
		return nil, err
	}
	if r.Method == "Stat" {
		info, err := h.tree.stat(name)
		return infos{info}, failure(err)
	}
	list, err := h.tree.list(name)
	return infos(list), failure(err)
}

// Lstat describes what is at a path itself.
func (h *sftpHandler) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	name, err := h.path(r.Filepath)
	if err != nil {
		r.Method = "Stat"
		return h.Filelist(r)
	}
	info, err := h.tree.lstat(name)
	return infos{info}, failure(err)
}

// Readlink returns what a link says.
func (h *sftpHandler) Readlink(link string) (string, error) {
	name, err := h.path(path.Join(h.base, link))
	if path.IsAbs(link) {
		name, err = h.path(link)
	}
	if err != nil {
		return "", err
	}
	target, err := h.tree.readlink(name)
	return target, failure(err)
}

// infos is a list of entries in the terms of the sftp package.
type infos []fs.FileInfo

// ListAt copies entries, from one on.
func (l infos) ListAt(into []fs.FileInfo, from int64) (int, error) {
	if from >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(into, l[from:])
	if n < len(into) {
		return n, io.EOF
	}
	return n, nil
}

// named is an entry under another name.
type named struct {
	fs.FileInfo
	name string
}

// Name is the other name.
func (n named) Name() string { return n.name }
