package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
)

//go:embed assets
var embedded embed.FS

// types are the content types of the assets, by extension. mime would ask files of the system.
var types = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// assets are the page's files.
type assets struct {
	files map[string][]byte
	// digest is part of their addresses, so that a browser never uses those of another version.
	digest string
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string][]byte{}}
	entries, err := fs.ReadDir(embedded, "assets")
	if err != nil {
		return nil, fmt.Errorf("reading the assets: %w", err)
	}
	digest := sha256.New()
	for _, entry := range entries {
		data, err := fs.ReadFile(embedded, path.Join("assets", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading the assets: %w", err)
		}
		if types[path.Ext(entry.Name())] == "" {
			return nil, fmt.Errorf("reading the assets: %s has no content type", entry.Name())
		}
		fmt.Fprintf(digest, "%s %d\n%s", entry.Name(), len(data), data)
		a.files[entry.Name()] = data
	}
	a.digest = hex.EncodeToString(digest.Sum(nil))[:12]
	return a, nil
}

func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	data, ok := a.files[r.PathValue("name")]
	if !ok || r.PathValue("digest") != a.digest {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(r.PathValue("name"))])
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	// An error is a visitor who has gone.
	_, _ = w.Write(data)
}
