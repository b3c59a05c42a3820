package sources

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// DebianHost is the name of Debian's mirror.
const DebianHost = "deb.debian.org"

// Debian is Debian's mirror through a folder of this computer: what never changes is fetched once.
type Debian struct {
	// Folder keeps what was fetched. Required.
	Folder string
	// Mirror is where it is fetched from, without a path: both archives, /debian and
	// /debian-security, are below it. Default: http://deb.debian.org.
	Mirror string
	// Offline answers from the folder alone.
	Offline bool
}

// ServeHTTP answers as Debian's mirror does.
func (d *Debian) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	archive, _, _ := strings.Cut(name, "/")
	if r.Method != http.MethodGet || !filepath.IsLocal(name) || (archive != "debian" && archive != "debian-security") {
		http.NotFound(w, r)
		return
	}
	kept := filepath.Join(d.Folder, filepath.FromSlash(name))
	_, err := os.Stat(kept)
	if !d.Offline && (err != nil || !immutable(name)) {
		status, err := d.fetch(r, name, kept)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if status != http.StatusOK {
			http.Error(w, "Debian's mirror answers "+http.StatusText(status), status)
			return
		}
	}
	if info, err := os.Stat(kept); err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, kept)
}

// immutable reports whether the mirror never changes what it has under that name.
func immutable(name string) bool {
	return strings.Contains(name, "/pool/") || strings.Contains(name, "/by-hash/")
}

// fetch gets a file from the mirror. The file kept is whole, or the one before.
func (d *Debian) fetch(r *http.Request, name, kept string) (status int, err error) {
	mirror := d.Mirror
	if mirror == "" {
		mirror = "http://" + DebianHost
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, mirror+"/"+name, nil)
	if err != nil {
		return 0, fmt.Errorf("asking Debian's mirror for %s: %w", name, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking Debian's mirror for %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return 0, fmt.Errorf("keeping %s: %w", name, err)
	}
	file, err := os.CreateTemp(filepath.Dir(kept), ".fetching-")
	if err != nil {
		return 0, fmt.Errorf("keeping %s: %w", name, err)
	}
	defer func() {
		if remove := os.Remove(file.Name()); remove != nil && !errors.Is(remove, fs.ErrNotExist) {
			err = errors.Join(err, remove)
		}
	}()
	_, copied := io.Copy(file, response.Body)
	if err := errors.Join(copied, file.Chmod(0o644), file.Close()); err != nil {
		return 0, fmt.Errorf("keeping %s: %w", name, err)
	}
	if err := os.Rename(file.Name(), kept); err != nil {
		return 0, fmt.Errorf("keeping %s: %w", name, err)
	}
	return http.StatusOK, nil
}
