// Package substitutes reads a folder of container images for a rehearsal that reaches no registry:
// archives as `docker save` writes them, and images.json, which says which image each one stands
// for.
package substitutes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// IndexFile is the name of the index in the folder.
const IndexFile = "images.json"

// Version is the version of the index that this package reads and writes.
const Version = 1

// Index is the content of images.json.
type Index struct {
	// Version is Version.
	Version int `json:"version"`
	// Images are the images that the folder has.
	Images []Image `json:"images"`
}

// Image is one image of the folder.
type Image struct {
	// Image is what the deployment asks for: repository:tag@sha256:…, or homelab/NAME:DIGEST for an
	// image that it builds itself, whose digest names the files it is built from.
	Image string `json:"image"`
	// Archive is the name of the archive in the folder. Several images may have the same one.
	Archive string `json:"archive"`
	// SHA256 is the archive's, as hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Instead says what runs in the place of the real image. Empty: the real image.
	Instead string `json:"instead"`
}

var (
	pinnedName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*@sha256:[0-9a-f]{64}$`)
	builtName  = regexp.MustCompile(`^homelab/[a-z0-9-]+:[0-9a-f]{16}$`)
	// builtFor is a name of a built image in a deployment: the machine follows it.
	builtFor = regexp.MustCompile(`^(homelab/[a-z0-9-]+:[0-9a-f]{16})-[A-Za-z0-9_.-]+$`)
	digits   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Folder is a folder of substitutes. Make it with Open.
type Folder struct {
	path  string
	index Index
}

// Open reads a folder and checks all of it. The error names everything that is wrong.
func Open(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	index, err := Read(path)
	if err != nil {
		return nil, fmt.Errorf("reading the images in %s: %w", path, err)
	}
	problems := index.problems()
	sums := map[string]string{} // by archive
	for _, i := range index.Images {
		if !filepath.IsLocal(i.Archive) {
			continue // a problem already
		}
		if _, seen := sums[i.Archive]; !seen {
			if sums[i.Archive], err = sum(filepath.Join(path, i.Archive)); err != nil {
				problems = append(problems, err.Error())
			}
		}
		if found := sums[i.Archive]; found != "" && found != i.SHA256 {
			problems = append(problems, fmt.Sprintf("%s: %s has the SHA-256 %s, not %s: make the folder anew", i.Image, i.Archive, found, i.SHA256))
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("the images in %s cannot be used:\n  %s", path, strings.Join(problems, "\n  "))
	}
	return &Folder{path, index}, nil
}

// Read reads a folder's index without judging it. What it does not know is an error. The error
// matches fs.ErrNotExist when there is no index.
func Read(path string) (Index, error) {
	text, err := os.ReadFile(filepath.Join(path, IndexFile))
	if err != nil {
		return Index{}, err
	}
	// The version first: another one may have fields of its own.
	var version struct{ Version int }
	if err := json.Unmarshal(text, &version); err != nil {
		return Index{}, fmt.Errorf("%s: %w", IndexFile, err)
	}
	if version.Version != Version {
		return Index{}, fmt.Errorf("%s has version %d, and this program reads version %d: make the folder anew", IndexFile, version.Version, Version)
	}
	var index Index
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&index); err != nil {
		return Index{}, fmt.Errorf("%s: %w", IndexFile, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Index{}, fmt.Errorf("%s: something follows the index", IndexFile)
	}
	return index, nil
}

// Write writes a folder's index, sorted, in one step. An index that Open would refuse for what it
// says is an error.
func Write(path string, images []Image) error {
	index := Index{Version: Version, Images: slices.Clone(images)}
	slices.SortFunc(index.Images, func(a, b Image) int { return strings.Compare(a.Image, b.Image) })
	if problems := index.problems(); len(problems) > 0 {
		return fmt.Errorf("writing %s: %s", IndexFile, strings.Join(problems, "; "))
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(path, IndexFile)
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// problems are those that show without the archives.
func (index Index) problems() (problems []string) {
	seen := map[string]bool{}
	for n, i := range index.Images {
		add := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("images[%d]: %s", n, fmt.Sprintf(format, args...)))
		}
		if !pinnedName.MatchString(i.Image) && !builtName.MatchString(i.Image) {
			add("%q is neither repository:tag@sha256:… nor homelab/NAME:DIGEST", i.Image)
		}
		if seen[i.Image] {
			add("%s is there twice", i.Image)
		}
		seen[i.Image] = true
		if !filepath.IsLocal(i.Archive) {
			add("archive %q is not the name of a file in the folder", i.Archive)
		}
		if !digits.MatchString(i.SHA256) {
			add("sha256 %q is not 64 hexadecimal digits", i.SHA256)
		}
		if strings.ContainsFunc(i.Instead, func(r rune) bool { return r < ' ' }) {
			add("instead is not one line")
		}
	}
	return problems
}

func sum(path string) (_ string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Path is the folder's absolute path.
func (f *Folder) Path() string { return f.path }

// Instead are the notes of the images that are not the real ones, sorted, each once.
func (f *Folder) Instead() []string {
	var notes []string
	for _, i := range f.index.Images {
		if i.Instead != "" {
			notes = append(notes, i.Instead)
		}
	}
	slices.Sort(notes)
	return slices.Compact(notes)
}

// Images are the images that the folder has as it is now: it may have been made anew since Open.
func (f *Folder) Images() ([]Image, error) {
	index, err := f.now()
	return index.Images, err
}

func (f *Folder) now() (Index, error) {
	index, err := Read(f.path)
	if err != nil {
		return Index{}, fmt.Errorf("reading the images in %s: %w", f.path, err)
	}
	return index, nil
}

// Image is the folder's image of that name, which is the one that the deployment gives it. The error
// matches fs.ErrNotExist when the folder has none. A folder that was made anew meanwhile counts as it
// is now.
func (f *Folder) Image(name string) (Image, error) {
	index, err := f.now()
	if err != nil {
		return Image{}, err
	}
	wanted := name
	built := builtFor.FindStringSubmatch(name)
	if built != nil {
		wanted = built[1]
	}
	for _, i := range index.Images {
		if i.Image == wanted {
			return i, nil
		}
	}
	if built != nil && index.hasOther(wanted) {
		return Image{}, fmt.Errorf("%s has the image made from other files than the deployment's: make the folder anew", f.path)
	}
	return Image{}, fmt.Errorf("%s has no image %s: %w", f.path, name, fs.ErrNotExist)
}

// Archive opens the archive of an image, as Image finds it.
func (f *Folder) Archive(name string) (io.ReadCloser, error) {
	image, err := f.Image(name)
	if err != nil {
		return nil, err
	}
	return f.Open(image)
}

// Open opens the archive of one of the folder's images. Whoever reads to the end of an archive that
// has changed since images.json was written gets an error there.
func (f *Folder) Open(image Image) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(f.path, image.Archive))
	if err != nil {
		// Not "there is none": the index says that there is.
		return nil, fmt.Errorf("opening the archive of %s: %s", image.Image, err)
	}
	return &verified{file: file, hash: sha256.New(), want: image.SHA256}, nil
}

// hasOther reports whether the index has a built image of the same name with another digest.
func (index Index) hasOther(built string) bool {
	name, _, _ := strings.Cut(built, ":")
	return slices.ContainsFunc(index.Images, func(i Image) bool { return strings.HasPrefix(i.Image, name+":") })
}

// verified is a file whose end is an error when its content is not the expected one.
type verified struct {
	file *os.File
	hash hash.Hash
	want string
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.file.Read(p)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if found := hex.EncodeToString(v.hash.Sum(nil)); found != v.want {
			return n, fmt.Errorf("%s has the SHA-256 %s, not %s: make the folder anew", v.file.Name(), found, v.want)
		}
	}
	return n, err
}

func (v *verified) Close() error { return v.file.Close() }
