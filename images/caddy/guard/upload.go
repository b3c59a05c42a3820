package guard

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// uploadHead is how much of an upload is inspected, in bytes: enough for whatever a file begins
	// with, and for what passes for a file.
	uploadHead = 64 << 10
	// uploadStep is how far an upload may be ahead of the rate that it must come with, in bytes.
	uploadStep = 1 << 20
)

// Upload is where files come in that may be larger than what is inspected whole: of a file only the
// beginning is inspected, and the rest goes to the service as it comes. A file is a body that no
// service reads as text, a form or a document: see opaque.
type Upload struct {
	// Path begins the paths: itself, and what is below it. Required.
	Path string `json:"path"`
	// Limit is the largest body, in bytes; more than that of the inspection. Required.
	Limit int64 `json:"limit"`
	// Methods are the methods, of POST, PUT and PATCH; at least one.
	Methods []string `json:"methods"`
}

var uploadPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]+$`)

func (u *Upload) unmarshal(d *caddyfile.Dispenser) (err error) {
	arguments := d.RemainingArgs()
	if len(arguments) < 3 {
		return d.ArgErr()
	}
	u.Path, u.Methods = arguments[0], arguments[2:]
	if u.Limit, err = size(arguments[1]); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (u *Upload) check(inspected int64) error {
	var problems []error
	if !uploadPath.MatchString(u.Path) || path.Clean(u.Path) != u.Path {
		problems = append(problems, fmt.Errorf("upload: %q is not a plain path below /", u.Path))
	}
	if u.Limit <= inspected {
		problems = append(problems, fmt.Errorf("upload %s: %d bytes are inspected whole", u.Path, u.Limit))
	}
	if len(u.Methods) == 0 {
		problems = append(problems, fmt.Errorf("upload %s: no method", u.Path))
	}
	for _, m := range u.Methods {
		if m != http.MethodPost && m != http.MethodPut && m != http.MethodPatch {
			problems = append(problems, fmt.Errorf("upload %s: the method %q", u.Path, m))
		}
	}
	return errors.Join(problems...)
}

// takes reports whether the request may be such an upload, but for what its body is.
func (u *Upload) takes(r *http.Request) bool {
	target := r.URL.EscapedPath()
	below, ok := strings.CutPrefix(target, u.Path)
	return ok && (below == "" || below[0] == '/') && slices.Contains(u.Methods, r.Method) && plain(below)
}

// plain reports whether everybody reads the rest of a path alike: no segment is empty or of dots,
// or has something in it that passes for the end of one.
func plain(below string) bool {
	if below == "" {
		return true
	}
	for _, segment := range strings.Split(below[1:], "/") {
		decoded, err := url.PathUnescape(segment)
		odd := strings.ContainsFunc(decoded, func(c rune) bool {
			return c < ' ' || c == 0x7f || strings.ContainsRune(`/\;?%#`, c)
		})
		if err != nil || odd || decoded == "" || decoded == "." || decoded == ".." {
			return false
		}
	}
	return true
}

// opaque reports whether no service reads text, a form or a document from a body of this type.
func (c content) opaque() bool {
	if isXML(c.kind) {
		return false
	}
	family, _, _ := strings.Cut(c.kind, "/")
	return c.kind == "application/octet-stream" || c.kind == "application/offset+octet-stream" ||
		family == "image" || family == "audio" || family == "video"
}

// upload returns the declared upload that the request is, or nil.
func (i *Inspect) upload(r *http.Request, kind content) *Upload {
	if !kind.opaque() {
		return nil
	}
	for n := range i.Uploads {
		if i.Uploads[n].takes(r) && r.ContentLength <= i.Uploads[n].Limit {
			return &i.Uploads[n]
		}
	}
	return nil
}

// stream inspects the beginning of an upload, and passes it on with the rest that is to come.
func (i *Inspect) stream(w http.ResponseWriter, r *http.Request, client netip.Addr, next caddyhttp.Handler) error {
	budget, owner := i.pool(r, client)
	release, ok := budget.take(r.Context(), owner, uploadHead)
	if !ok {
		w.Header().Set("Retry-After", "5")
		return i.refuse(w, r, http.StatusTooManyRequests, verdictTooMuchHeld)
	}
	defer release()
	rest := &paced{body: r.Body, length: r.ContentLength, began: time.Now(), deadline: http.NewResponseController(w).SetReadDeadline}
	defer rest.finish()
	head := make([]byte, min(uploadHead, r.ContentLength))
	if _, err := io.ReadFull(rest, head); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return i.refuse(w, r, http.StatusRequestTimeout, verdictTooSlow)
		}
		return i.refuse(w, r, http.StatusBadRequest, verdictNotInspectable)
	}
	if status, verdict := outcome(r.Context(), i.app.inspector.inspect(r.Context(), r, client, head)); status != 0 {
		return i.refuse(w, r, status, verdict)
	}
	i.count(r, verdictPartial)
	r.Body = &streamed{head: &held{rest: head, release: release}, rest: rest}
	out := &ending{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r, body: rest}
	err := next.ServeHTTP(out, r)
	out.end()
	return err
}

// ending ends the connection of HTTP/1.1 with an answer that comes before the end of the upload: what
// is left of the body would be read as the next request. net/http does so by itself, but does not
// recognize the body that Caddy has put in the place of its own (Go 1.26, Caddy 2.11.9).
type ending struct {
	*caddyhttp.ResponseWriterWrapper
	request *http.Request
	body    *paced
}

// WriteHeader writes the header of an answer.
func (e *ending) WriteHeader(status int) {
	if status >= http.StatusOK {
		e.end()
	}
	e.ResponseWriterWrapper.WriteHeader(status)
}

func (e *ending) end() {
	if e.request.ProtoMajor == 1 && !e.body.ended.Load() {
		e.Header().Set("Connection", "close")
	}
}

// paced is a body that must keep coming: whoever is slower than bodyRate loses the connection.
type paced struct {
	body     io.ReadCloser
	length   int64
	began    time.Time
	deadline func(time.Time) error

	came, allowed int64
	ended         atomic.Bool

	mu       sync.Mutex
	finished bool
}

// bound sets when the body must have come on, or takes the bound away.
func (p *paced) bound(until time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return errors.New("the request has ended")
	}
	if err := p.deadline(until); err != nil {
		return fmt.Errorf("bounding the time of the body: %w", err)
	}
	return nil
}

// finish keeps deadlines from being set from now on. A transport may read on when the request has
// ended; its deadlines would then be those of the connection's next request, or, over HTTP/2, a nil
// pointer (Go 1.26).
func (p *paced) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
}

// Read reads what has come.
func (p *paced) Read(b []byte) (int, error) {
	if p.came >= p.allowed && p.allowed < p.length {
		p.allowed = min(p.came+uploadStep, p.length)
		if p.came == 0 {
			p.allowed = min(uploadHead, p.length)
		}
		if err := p.bound(p.began.Add(allowance(p.allowed))); err != nil {
			return 0, err
		}
	}
	n, err := p.body.Read(b)
	p.came += int64(n)
	if errors.Is(err, io.EOF) {
		// The next request of the connection has its own time.
		if err := p.bound(time.Time{}); err != nil {
			return n, err
		}
		p.ended.Store(true)
	}
	return n, err
}

// Close closes the body.
func (p *paced) Close() error { return p.body.Close() }

// streamed is an upload: the beginning, which was inspected, and the rest, which comes.
type streamed struct {
	head *held
	rest *paced
	past bool
}

// Read reads what was inspected, and then what has come.
func (s *streamed) Read(b []byte) (int, error) {
	if !s.past {
		n, err := s.head.Read(b)
		if err == nil {
			return n, nil
		}
		s.past = true
	}
	return s.rest.Read(b)
}

// Close forgets what was inspected, and closes the rest.
func (s *streamed) Close() error { return errors.Join(s.head.Close(), s.rest.Close()) }
