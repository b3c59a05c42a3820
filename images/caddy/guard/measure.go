package guard

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Measure{})
	httpcaddyfile.RegisterHandlerDirective("measure", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		host, err := oneArgument(h.Dispenser)
		return &Measure{Host: host}, err
	})
}

// Measure measures how long a site's answers take to begin, and what they are, all layers behind it
// included. In a Caddyfile:
//
//	measure requests.example.com
//
// Caddy's own option per_host is not used: it takes the label from the request, and over TLS also
// one that the configuration does not name (shouldAllowHostMetrics, Caddy 2.11.9). The name must be
// that of the handshake, but a port after it is not compared with anything, so that a visitor could
// make a dozen series with every request.
type Measure struct {
	// Host is the site's name in the metrics; required.
	Host string `json:"host"`
}

// CaddyModule returns the module's ID and constructor.
func (Measure) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.measure", New: func() caddy.Module { return new(Measure) }}
}

// Provision loads the app, which shows what is measured.
func (m *Measure) Provision(ctx caddy.Context) error {
	if m.Host == "" {
		return errors.New("measure: no host")
	}
	_, err := load(ctx)
	return err
}

// ServeHTTP passes the request on.
func (m *Measure) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	watch := &stopwatch{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r, host: m.Host, began: time.Now()}
	err := next.ServeHTTP(watch, r)
	switch failed := (caddyhttp.HandlerError{}); {
	case errors.As(err, &failed) && failed.StatusCode != 0:
		watch.stop(failed.StatusCode)
	case err != nil:
		watch.stop(http.StatusInternalServerError)
	default:
		watch.stop(http.StatusOK) // nobody wrote: the server does, with this
	}
	return err
}

// stopwatch stops when the answer begins.
type stopwatch struct {
	*caddyhttp.ResponseWriterWrapper
	request *http.Request
	host    string
	began   time.Time
	stopped bool
}

// WriteHeader writes the header. What comes before the answer itself does not count.
func (s *stopwatch) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		s.stop(status)
	}
	s.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes the header first, if nobody has.
func (s *stopwatch) Write(p []byte) (int, error) {
	s.stop(http.StatusOK)
	return s.ResponseWriterWrapper.Write(p)
}

// ReadFrom writes the header first, if nobody has.
func (s *stopwatch) ReadFrom(r io.Reader) (int64, error) {
	s.stop(http.StatusOK)
	return s.ResponseWriterWrapper.ReadFrom(r)
}

func (s *stopwatch) stop(status int) {
	if !s.stopped {
		s.stopped = true
		counted.answered(s.request, s.host, status, time.Since(s.began).Seconds())
	}
}

var (
	_ caddy.Provisioner           = (*Measure)(nil)
	_ caddyhttp.MiddlewareHandler = (*Measure)(nil)
	_ http.ResponseWriter         = (*stopwatch)(nil)
)
