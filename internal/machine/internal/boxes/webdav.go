package boxes

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/webdav"
)

// A real box's WebDAV is Apache's (bug reports show its pages); where the library of this one
// differs, it is made to do as mod_dav does.

// connKey is where a request finds its connection.
type connKey struct{}

// serveWebDAV answers port 443 until it is closed.
func (b *box) serveWebDAV(l *listening) {
	var working sync.WaitGroup
	joined := &memberships{of: map[net.Conn][]*account{}}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			working.Add(1)
			defer working.Done()
			b.answer(w, r, l, joined)
		}),
		TLSConfig:         &tls.Config{GetCertificate: b.server.options.Certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(b.server.options.Log.Handler(), slog.LevelDebug),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				joined.end(c)
			}
		},
		// HTTP/1.1 alone: with HTTP/2 the account's ten connections would be no limit.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	_ = server.ServeTLS(reachableOnly{l, b}, "", "") // it ends when the port is closed
	_ = server.Close()
	working.Wait()
}

// reachableOnly hangs up on clients that may not see the box.
type reachableOnly struct {
	*listening
	box *box
}

// Accept returns the next connection of somebody who may see the box.
func (l reachableOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.box.reachable(c.RemoteAddr()) {
			return c, err
		}
		_ = c.Close() // whoever it is was told nothing
	}
}

// memberships are the accounts that a connection has logged in to.
type memberships struct {
	mu sync.Mutex
	of map[net.Conn][]*account
}

func (m *memberships) add(c net.Conn, a *account) error {
	if err := a.join(c); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.of[c] {
		if known == a {
			return nil
		}
	}
	m.of[c] = append(m.of[c], a)
	return nil
}

func (m *memberships) end(c net.Conn) {
	m.mu.Lock()
	accounts := m.of[c]
	delete(m.of, c)
	m.mu.Unlock()
	for _, a := range accounts {
		a.leave(c)
	}
}

// changing are the methods that alter something.
var changing = map[string]bool{
	http.MethodPut: true, http.MethodDelete: true, "MKCOL": true, "COPY": true, "MOVE": true, "PROPPATCH": true, "LOCK": true, "UNLOCK": true, http.MethodPost: true,
	http.MethodPatch: true,
}

// answer serves one request.
func (b *box) answer(w http.ResponseWriter, r *http.Request, l *listening, joined *memberships) {
	name, password, _ := r.BasicAuth()
	a := b.account(name)
	client := r.Context().Value(connKey{}).(net.Conn)
	if a == nil || !a.checkPassword(password) || !a.webdav || !a.reachable(client.RemoteAddr()) {
		if name != "" {
			b.server.options.Log.Info("no login by WebDAV", "client", r.RemoteAddr)
			b.delay(l)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="Storage Box"`)
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if err := joined.add(client, a); err != nil {
		w.Header().Set("Connection", "close")
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		return
	}
	// A client that is still sending would not see the answer. Apache reads to the end, too.
	defer func() { _, _ = io.Copy(io.Discard, r.Body) }()
	if a.readonly && changing[r.Method] {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	if depth := strings.ToLower(r.Header.Get("Depth")); r.Method == "PROPFIND" && (depth == "" || depth == "infinity") {
		http.Error(w, "Forbidden", http.StatusForbidden) // Apache's default
		return
	}
	t, err := a.open()
	if err != nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	defer t.close()
	u := &upload{}
	patience := b.server.options.Patience
	control := http.NewResponseController(w)
	r.Body = &watchedBody{r.Body, u, func() error { return control.SetReadDeadline(time.Now().Add(patience)) }}
	handler := &webdav.Handler{FileSystem: davFiles{t, u}, LockSystem: b.lockSystem(a.home)}
	handler.ServeHTTP(&status{w, u, func() error { return control.SetWriteDeadline(time.Now().Add(patience)) }}, r)
}

// upload is what went wrong while a request wrote.
type upload struct{ full, denied, cut bool }

func (u *upload) note(err error) error {
	u.full = u.full || errors.Is(err, errFull)
	u.denied = u.denied || errors.Is(err, fs.ErrPermission)
	return err
}

// watchedBody notices a client that stops in the middle.
type watchedBody struct {
	io.ReadCloser
	upload *upload
	wait   func() error // begins the time that the client has
}

// Read reads on.
func (b *watchedBody) Read(p []byte) (int, error) {
	if err := b.wait(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.upload.cut = true
	}
	return n, err
}

// status says what Apache says where the library has a status that is less exact.
type status struct {
	http.ResponseWriter
	upload *upload
	wait   func() error // begins the time that the client has
}

// Write sends a part of the body.
func (s *status) Write(p []byte) (int, error) {
	if err := s.wait(); err != nil {
		return 0, err
	}
	return s.ResponseWriter.Write(p)
}

// WriteHeader sends the status.
func (s *status) WriteHeader(code int) {
	switch {
	case code < 400:
	case s.upload.full:
		code = http.StatusInsufficientStorage
	case s.upload.denied:
		code = http.StatusForbidden
	}
	s.ResponseWriter.WriteHeader(code)
}

// davFiles is a tree in the terms of the webdav package.
type davFiles struct {
	tree   *tree
	upload *upload
}

// unfinished begins the name of an upload that is not complete, as in mod_dav_fs.
const unfinished = ".davfs.tmp"

// Mkdir makes a folder.
func (d davFiles) Mkdir(_ context.Context, name string, mode fs.FileMode) error {
	return d.upload.note(d.tree.mkdir(name, mode&0o755))
}

// OpenFile opens a file or folder. What is written anew takes its place when it is complete.
func (d davFiles) OpenFile(_ context.Context, name string, flags int, mode fs.FileMode) (webdav.File, error) {
	if flags&os.O_TRUNC == 0 {
		f, err := d.tree.openFile(name, flags, mode&0o644)
		if err != nil {
			return nil, d.upload.note(err)
		}
		return &davFile{f}, nil
	}
	if info, err := d.tree.stat(name); err == nil && info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	temporary := path.Join(path.Dir(path.Clean("/"+name)), unfinished+rand.Text()[:6])
	f, err := d.tree.openFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode&0o644)
	if err != nil {
		return nil, d.upload.note(err)
	}
	return &davUpload{file: f, upload: d.upload, temporary: temporary, name: name}, nil
}

// RemoveAll removes a file or a folder with all that is in it.
func (d davFiles) RemoveAll(_ context.Context, name string) error {
	return d.upload.note(d.tree.removeAll(name))
}

// Rename moves a file or folder.
func (d davFiles) Rename(_ context.Context, from, to string) error {
	return d.upload.note(d.tree.rename(from, to, true))
}

// Stat describes what is at a path.
func (d davFiles) Stat(_ context.Context, name string) (fs.FileInfo, error) {
	info, err := d.tree.stat(name)
	if err != nil {
		return nil, err
	}
	return davInfo{info}, nil
}

// davFile is an open file or folder.
type davFile struct{ *file }

// Stat describes it.
func (f *davFile) Stat() (fs.FileInfo, error) {
	info, err := f.file.Stat()
	if err != nil {
		return nil, err
	}
	return davInfo{info}, nil
}

// Readdir lists it, without uploads that are not complete.
func (f *davFile) Readdir(n int) ([]fs.FileInfo, error) {
	entries, err := f.file.Readdir(n)
	var out []fs.FileInfo
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), unfinished) {
			out = append(out, davInfo{e})
		}
	}
	return out, err
}

// davUpload is a file that is being written.
type davUpload struct {
	*file
	upload          *upload
	temporary, name string
	failed          bool
}

// Write writes on.
func (f *davUpload) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.failed = f.failed || err != nil
	return n, f.upload.note(err)
}

// ReadFrom would pass by Write.
func (f *davUpload) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

// Close puts the file in its place, or leaves nothing of it.
func (f *davUpload) Close() error {
	err := f.file.Close()
	if err == nil && !f.failed && !f.upload.cut {
		err = f.tree.rename(f.temporary, f.name, true)
		if err == nil {
			return nil
		}
	}
	return f.upload.note(errors.Join(err, f.tree.remove(f.temporary, false)))
}

// davInfo knows the type of a file by its name: looking into each file of a folder would be slow.
type davInfo struct{ fs.FileInfo }

// ContentType is the type.
func (i davInfo) ContentType(context.Context) (string, error) {
	if t := mime.TypeByExtension(path.Ext(i.Name())); t != "" {
		return t, nil
	}
	return "application/octet-stream", nil
}
