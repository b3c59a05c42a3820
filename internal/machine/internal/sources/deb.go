package sources

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// debFile is a file that a package installs.
type debFile struct {
	path    string // absolute
	mode    int64
	content []byte
	// config says that what somebody changed on the machine stays.
	config bool
}

// deb is a Debian package, as far as the substitutes need one.
type deb struct {
	name, version, architecture string
	depends                     []string
	description                 string
	files                       []debFile
	scripts                     map[string][]byte // of the maintainer: postinst, prerm, postrm

	// fields and content are those of a package that is there already.
	fields  string
	content []byte
}

// readDeb reads a package that was built with gzip.
func readDeb(file string) (deb, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return deb{}, fmt.Errorf("reading a package: %w", err)
	}
	fields, err := readControl(content)
	if err != nil {
		return deb{}, fmt.Errorf("reading the package %s: %w", file, err)
	}
	out := deb{fields: fields, content: content}
	for line := range strings.Lines(fields) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			out.name = value
		case "Version":
			out.version = value
		case "Architecture":
			out.architecture = value
		}
	}
	if out.name == "" || out.version == "" || out.architecture == "" {
		return deb{}, fmt.Errorf("reading the package %s: it does not say what it is", file)
	}
	return out, nil
}

// readControl finds the file control: in the archive's second member.
func readControl(content []byte) (string, error) {
	rest, ok := bytes.CutPrefix(content, []byte(arMagic))
	for ok && len(rest) >= arHeader {
		name := strings.TrimSpace(string(rest[:16]))
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil || size < 0 || size > len(rest)-arHeader {
			return "", fmt.Errorf("the member %s has no size", name)
		}
		body := rest[arHeader : arHeader+size]
		if strings.TrimSuffix(name, "/") == "control.tar.gz" {
			return readFromArchive(body, "control")
		}
		rest = rest[min(len(rest), arHeader+size+size%2):]
	}
	return "", errors.New("it has no control.tar.gz")
}

func readFromArchive(compressed []byte, name string) (string, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return "", err
	}
	archive := tar.NewReader(unpacked)
	for {
		header, err := archive.Next()
		if err != nil {
			return "", fmt.Errorf("looking for the file %s: %w", name, err)
		}
		if path.Clean(header.Name) == name {
			text, err := io.ReadAll(archive)
			return string(text), err
		}
	}
}

const (
	arMagic  = "!<arch>\n"
	arHeader = 60 // bytes before each member
)

// control is the package's description of itself.
func (d deb) control() string {
	if d.fields != "" {
		return d.fields
	}
	lines := []string{
		"Package: " + d.name, "Version: " + d.version, "Architecture: " + d.architecture, "Maintainer: homelab rehearsal <rehearsal@example.com>",
		"Section: admin", "Priority: optional",
	}
	if len(d.depends) > 0 {
		lines = append(lines, "Depends: "+strings.Join(d.depends, ", "))
	}
	return strings.Join(append(lines, "Description: "+d.description), "\n") + "\n"
}

// build writes the package: an archive of the kind of ar(1), with three members (deb(5)). The same
// package is the same bytes.
func (d deb) build() ([]byte, error) {
	if d.content != nil {
		return d.content, nil
	}
	control := []debFile{{path: "/control", mode: 0o644, content: []byte(d.control())}}
	var configs []string
	for _, f := range d.files {
		if f.config {
			configs = append(configs, f.path)
		}
	}
	if len(configs) > 0 {
		control = append(control, debFile{path: "/conffiles", mode: 0o644, content: []byte(strings.Join(configs, "\n") + "\n")})
	}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		if script, ok := d.scripts[name]; ok {
			control = append(control, debFile{path: "/" + name, mode: 0o755, content: script})
		}
	}
	out := bytes.NewBufferString(arMagic)
	if err := member(out, "debian-binary", []byte("2.0\n")); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		name  string
		files []debFile
	}{{"control.tar.gz", control}, {"data.tar.gz", d.files}} {
		packed, err := pack(m.files)
		if err != nil {
			return nil, fmt.Errorf("packing %s of %s: %w", m.name, d.name, err)
		}
		if err := member(out, m.name, packed); err != nil {
			return nil, fmt.Errorf("packing %s of %s: %w", m.name, d.name, err)
		}
	}
	return out.Bytes(), nil
}

// member adds one file to an ar archive: sixty bytes of header, and an even number of bytes.
func member(out *bytes.Buffer, name string, content []byte) error {
	if _, err := fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(content)); err != nil {
		return err
	}
	out.Write(content)
	if len(content)%2 == 1 {
		out.WriteByte('\n')
	}
	return nil
}

// pack makes a compressed tar archive, with the folders of the files before them.
func pack(files []debFile) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	var folders []string
	for _, f := range files {
		for folder := path.Dir(f.path); folder != "/"; folder = path.Dir(folder) {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders)
	for _, folder := range append([]string{"/"}, slices.Compact(folders)...) {
		name := "." + strings.TrimSuffix(folder, "/") + "/"
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, Format: tar.FormatGNU}); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "." + f.path, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatGNU}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
