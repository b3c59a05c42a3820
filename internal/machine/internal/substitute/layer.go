package substitute

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// entry is a file, folder or link of a layer.
type entry struct {
	kind     byte // as tar has it
	mode     int64
	uid, gid int
	content  []byte
	source   string // a file on this computer, in the place of content
	target   string // of a link
}

// layer is the content of one layer of an image, by absolute path. Folders above what it has come
// along, as root's.
type layer map[string]entry

func (l layer) file(name string, mode int64, content []byte) {
	l[name] = entry{kind: tar.TypeReg, mode: mode, content: content}
}

// program is an executable of this computer.
func (l layer) program(name, source string) {
	l[name] = entry{kind: tar.TypeReg, mode: 0o755, source: source}
}

func (l layer) link(name, target string) {
	l[name] = entry{kind: tar.TypeSymlink, mode: 0o777, target: target}
}

func (l layer) folder(name string, mode int64, uid, gid int) {
	l[name] = entry{kind: tar.TypeDir, mode: mode, uid: uid, gid: gid}
}

// tree has the files of a folder on this computer, with the mode given.
func (l layer) tree(name, source string, mode int64) error {
	return walk(source, func(relative string, info os.FileInfo) error {
		file := path.Join(name, relative)
		switch {
		case info.IsDir():
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path.Join(source, relative))
			if err != nil {
				return err
			}
			l.link(file, target)
		case info.Mode().IsRegular():
			l[file] = entry{kind: tar.TypeReg, mode: mode, source: path.Join(source, relative)}
		default:
			return fmt.Errorf("%s is neither file nor folder nor link", path.Join(source, relative))
		}
		return nil
	})
}

// write writes the layer as a tar archive. Equal layers are equal byte for byte: names are in
// order, and there is no time in it.
func (l layer) write(w io.Writer) error {
	all := layer{}
	for name, e := range l {
		if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
			return fmt.Errorf("%q is not the clean path of a file", name)
		}
		for parent := path.Dir(name); parent != "/"; parent = path.Dir(parent) {
			if above, ok := l[parent]; !ok {
				all.folder(parent, 0o755, 0, 0)
			} else if above.kind != tar.TypeDir {
				return fmt.Errorf("%s is below %s, which is not a folder", name, parent)
			}
		}
		all[name] = e
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	out := tar.NewWriter(w)
	for _, name := range names {
		if err := all[name].write(out, strings.TrimPrefix(name, "/")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return out.Close()
}

func (e entry) write(out *tar.Writer, name string) (err error) {
	header := &tar.Header{
		Typeflag: e.kind, Name: name, Linkname: e.target, Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: int64(len(e.content)),
		ModTime: time.Unix(0, 0), Format: tar.FormatGNU,
	}
	if e.kind == tar.TypeDir {
		header.Name += "/"
	}
	var content io.Reader = bytes.NewReader(e.content)
	if e.source != "" {
		file, err := os.Open(e.source)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		info, err := file.Stat()
		if err != nil {
			return err
		}
		content, header.Size = file, info.Size()
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return err
}

// blob is a layer that was written to a file.
type blob struct {
	path   string
	digest string // SHA-256, as hexadecimal digits
	size   int64
}

// blob writes the layer to a file of the folder.
func (l layer) blob(folder string) (_ blob, err error) {
	file, err := os.CreateTemp(folder, "layer-")
	if err != nil {
		return blob{}, err
	}
	hash := sha256.New()
	if err := l.write(io.MultiWriter(file, hash)); err != nil {
		_ = file.Close() // the folder goes
		return blob{}, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return blob{}, err
	}
	return blob{file.Name(), hex.EncodeToString(hash.Sum(nil)), info.Size()}, file.Close()
}
