package edge

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cachedExtensions are those of what Cloudflare keeps by itself.
// https://developers.cloudflare.com/cache/concepts/default-cache-behavior
var cachedExtensions = strings.Fields("7z avi avif apk bin bmp bz2 class css csv doc docx dmg ejs eot eps exe flac gif gz ico iso jar jpg jpeg js mid " +
	"midi mkv mp3 mp4 ogg otf pdf pict pls png ppt pptx ps rar svg svgz swf tar tif tiff ttf webm webp woff woff2 xls xlsx zip zst")

const (
	// cacheTime is how long an answer is kept about which the origin says nothing.
	cacheTime = 2 * time.Hour
	// maxCached and maxEntries bound what is kept, in bytes and in answers.
	maxCached  = 1 << 20
	maxEntries = 1000
)

// cache keeps answers for all visitors.
type cache struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// entry is an answer.
type entry struct {
	status int
	header http.Header
	body   []byte
	until  time.Time
}

// serve answers from what is kept, or asks, and keeps the answer if Cloudflare would. Where nothing
// is kept of a request, CF-Cache-Status says why: the answer is DYNAMIC by its kind, or a rule of
// the zone bypasses the cache.
func (c *cache) serve(w http.ResponseWriter, z *zone, v *visit, now func() time.Time, ask func(http.ResponseWriter)) {
	eligible := slices.Contains(cachedExtensions, extension(v.path))
	status := "DYNAMIC"
	for _, r := range z.bypasses {
		if r.holds(v) {
			eligible, status = !r.bypass, "BYPASS"
		}
	}
	if !eligible || v.request.Method != http.MethodGet || v.request.Header.Get("Upgrade") != "" {
		w.Header().Set("CF-Cache-Status", status)
		ask(w)
		return
	}
	key := v.scheme() + "://" + v.host() + v.uri()
	if kept := c.get(key, now()); kept != nil {
		for name, values := range kept.header {
			w.Header()[name] = values
		}
		w.Header().Set("CF-Cache-Status", "HIT")
		w.WriteHeader(kept.status)
		_, _ = w.Write(kept.body) // who does not read it has hung up
		return
	}
	w.Header().Set("CF-Cache-Status", "MISS")
	k := &keeper{ResponseWriter: w, before: w.Header().Clone()}
	ask(k)
	if lifetime := k.lifetime(); lifetime > 0 {
		c.put(key, &entry{k.status, k.header, k.body.Bytes(), now().Add(lifetime)})
	}
}

func (c *cache) get(key string, now time.Time) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil && now.Before(e.until) {
		return e
	}
	return nil
}

func (c *cache) put(key string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxEntries || c.entries == nil {
		c.entries = map[string]*entry{}
	}
	c.entries[key] = e
}

// keeper passes an answer on, and keeps a copy.
type keeper struct {
	http.ResponseWriter

	before http.Header // what the edge itself had set
	status int
	header http.Header
	body   bytes.Buffer
	tooBig bool
}

// WriteHeader implements http.ResponseWriter.
func (k *keeper) WriteHeader(status int) {
	if k.status == 0 && status >= http.StatusOK {
		k.status, k.header = status, k.Header().Clone()
		for name := range k.before {
			k.header.Del(name)
			delete(k.header, name)
		}
	}
	k.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (k *keeper) Write(p []byte) (int, error) {
	if k.status == 0 {
		k.WriteHeader(http.StatusOK)
	}
	if k.tooBig = k.tooBig || k.body.Len()+len(p) > maxCached; !k.tooBig {
		k.body.Write(p)
	}
	return k.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the writer.
func (k *keeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// lifetime is how long Cloudflare would keep the answer; 0 is not at all.
func (k *keeper) lifetime() time.Duration {
	length, err := strconv.Atoi(k.header.Get("Content-Length"))
	cut := err == nil && length != k.body.Len()
	if k.status != http.StatusOK || k.tooBig || cut || len(k.header["Set-Cookie"]) > 0 {
		return 0
	}
	directives := map[string]string{}
	for _, d := range strings.Split(strings.ToLower(strings.Join(k.header.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		directives[name] = value
	}
	for _, never := range []string{"private", "no-store", "no-cache"} {
		if _, there := directives[never]; there {
			return 0
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if value, there := directives[name]; there {
			seconds, err := strconv.Atoi(value)
			if err != nil {
				return 0
			}
			return time.Duration(seconds) * time.Second
		}
	}
	return cacheTime
}
