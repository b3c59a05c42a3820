// Package web is the HTTP server: the page, its data as JSON, its assets, and the health check.
package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"homelab/images/home/internal/monitor"
	"homelab/images/home/internal/page"
	"homelab/images/home/internal/view"
)

//go:embed templates/home.html
var templates embed.FS

// DefaultRefresh is how often a page that is open asks for states.
const DefaultRefresh = 30 * time.Second

// policy lets the page load and ask nothing but this server, and run no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Site answers visitors.
type Site struct {
	page     *page.Page
	snapshot func() monitor.Snapshot
	options  Options
	template *template.Template
	assets   *assets
}

// Options change how a Site works. The zero value is good.
type Options struct {
	// Refresh is how often an open page asks for states; DefaultRefresh if 0.
	Refresh time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Log gets what goes wrong; nil for none.
	Log *slog.Logger
	// Answered is called after each answer to a visitor; nil for nothing.
	Answered func(code int)
}

// New returns a Site with a page, and states from a snapshot.
func New(p *page.Page, snapshot func() monitor.Snapshot, options Options) (*Site, error) {
	if options.Refresh == 0 {
		options.Refresh = DefaultRefresh
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Answered == nil {
		options.Answered = func(int) {}
	}
	t, err := template.New("home.html").Funcs(template.FuncMap{"monogram": monogram, "hue": hue}).ParseFS(templates, "templates/home.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the page's template: %w", err)
	}
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	return &Site{page: p, snapshot: snapshot, options: options, template: t, assets: a}, nil
}

// Handler answers /healthz to anybody, and everything else only to whom the proxy names.
func (s *Site) Handler() http.Handler {
	site := http.NewServeMux()
	site.HandleFunc("GET /{$}", s.home)
	site.HandleFunc("GET /api/state", s.state)
	site.HandleFunc("GET /assets/{digest}/{name}", s.assets.serve)
	all := http.NewServeMux()
	all.Handle("/", s.counted(headers(authenticated(site))))
	// It says nothing of the system, and the container's health check has no login.
	all.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	})
	return all
}

// headers sets what every answer has.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		// What one visitor sees is nobody else's.
		h.Set("Cache-Control", "private, no-store")
		next.ServeHTTP(w, r)
	})
}

// counted tells how requests were answered.
func (s *Site) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counter{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(c, r)
		s.options.Answered(c.code)
	})
}

type counter struct {
	http.ResponseWriter
	code int
}

func (c *counter) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// now returns what the visitor of a request sees.
func (s *Site) now(r *http.Request) (view.State, view.Visitor) {
	visitor := visitorOf(r)
	state := view.Make(s.page, s.snapshot(), visitor, s.options.Now())
	// New assets are a new page, too.
	state.Layout += "-" + s.assets.digest
	return state, visitor
}

// state answers GET /api/state; docs/home.md describes it.
func (s *Site) state(w http.ResponseWriter, r *http.Request) {
	state, _ := s.now(r)
	data, err := json.Marshal(state)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.write(w, append(data, '\n'))
}

// section is a group of services with a heading.
type section struct {
	ID, Title string
	Services  []view.Service
}

// content is what the template gets.
type content struct {
	view.State
	Domain   string
	Visitor  view.Visitor
	Refresh  int // seconds
	Assets   string
	Sections []section
}

func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	c := content{Domain: s.page.Domain, Refresh: max(1, int(s.options.Refresh/time.Second)), Assets: "/assets/" + s.assets.digest}
	c.State, c.Visitor = s.now(r)
	services, tools := section{ID: "services", Title: "Services"}, section{ID: "tools", Title: "Account and tools"}
	for _, e := range c.Services {
		if e.Layer == page.Service || e.Layer == page.VPN {
			services.Services = append(services.Services, e)
		} else {
			tools.Services = append(tools.Services, e)
		}
	}
	for _, part := range []section{services, tools} {
		if len(part.Services) > 0 {
			c.Sections = append(c.Sections, part)
		}
	}
	var out bytes.Buffer
	if err := s.template.Execute(&out, c); err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	s.write(w, out.Bytes())
}

func (s *Site) write(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	// An error is a visitor who has gone.
	_, _ = w.Write(data)
}

func (s *Site) fail(w http.ResponseWriter, err error) {
	s.options.Log.Error("an answer could not be made", "error", err.Error())
	http.Error(w, "500: the page could not be made; the log says why.", http.StatusInternalServerError)
}

// monogram is the first letter of a title.
func monogram(title string) string {
	first, _ := utf8.DecodeRuneInString(title)
	return strings.ToUpper(string(first))
}

// hue is the number of the color that a name always has, of twelve.
func hue(name string) uint64 {
	digest := fnv.New64a()
	_, _ = digest.Write([]byte(name))
	// The upper bits depend on every letter.
	return digest.Sum64() >> 24 % 12
}
