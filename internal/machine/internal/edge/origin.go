package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"homelab/internal/cloudflare"
	"homelab/internal/rehearsal"
)

// Cloudflare's limits for origins, and its answers of its own about them.
// https://developers.cloudflare.com/fundamentals/reference/connection-limits
const (
	connectTimeout = 19 * time.Second
	answerTimeout  = 120 * time.Second

	statusUnknown     = 520
	statusDown        = 521
	statusSilent      = 522
	statusUnreachable = 523
	statusSlow        = 524
	statusHandshake   = 525
	statusCertificate = 526
)

// errNoTime is the error of an origin that takes too long to accept a connection.
var errNoTime = errors.New("the origin did not accept the connection in time")

// serve makes what serves a zone: its connections to origins show its certificate.
func (e *Edge) serve(z *zone) *inForce {
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return e.dialOrigin(ctx, z, address) },
		TLSClientConfig:     e.towardsOrigin(z),
		TLSHandshakeTimeout: connectTimeout, ResponseHeaderTimeout: answerTimeout, IdleConnTimeout: time.Minute,
		ForceAttemptHTTP2: true, DisableCompression: true,
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, Rewrite: z.rewrite, FlushInterval: -1, ErrorLog: e.options.ErrorLog, ErrorHandler: originFailed,
		ModifyResponse: func(r *http.Response) error {
			for name := range z.answers {
				r.Header.Del(name) // Cloudflare's own is there
			}
			for _, name := range []string{"Server", "Cf-Ray", "Cf-Cache-Status"} {
				r.Header.Del(name)
			}
			return nil
		},
	}
	return &inForce{zone: z, proxy: proxy, close: transport.CloseIdleConnections}
}

// towardsOrigin is the configuration of a connection to an origin. The client certificate is shown
// whatever authority the origin names.
func (e *Edge) towardsOrigin(z *zone) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: e.options.Authority.Pool()}
	if !z.verify {
		config.InsecureSkipVerify = true // what the setting ssl = full means
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if z.certificate == nil {
			return &tls.Certificate{}, nil
		}
		return z.certificate, nil
	}
	return config
}

// dialOrigin connects to one of a hostname's addresses.
func (e *Edge) dialOrigin(ctx context.Context, z *zone, address string) (net.Conn, error) {
	name, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, errNoTime)
	defer cancel()
	err = fmt.Errorf("%s has no address", name)
	for _, a := range z.origins[name] {
		from := rehearsal.EdgeOriginIPv4
		if a.Is6() {
			from = rehearsal.EdgeOriginIPv6
		}
		var conn net.Conn
		if conn, err = e.options.Dial(ctx, "tcp", from, netip.AddrPortFrom(a, uint16(number))); err == nil {
			return conn, nil
		}
	}
	if errors.Is(context.Cause(ctx), errNoTime) {
		err = errNoTime
	}
	return nil, err
}

// rewrite makes the request to the origin out of a visitor's.
func (z *zone) rewrite(p *httputil.ProxyRequest) {
	v, _ := p.In.Context().Value(visitKey{}).(*passing)
	path := writtenPath(p.In)
	if z.asNormal {
		path = v.path
	}
	u := &url.URL{Scheme: v.scheme(), Host: net.JoinHostPort(v.host(), strconv.Itoa(int(port(p.In)))), RawQuery: p.In.URL.RawQuery, ForceQuery: p.In.URL.ForceQuery}
	u.Path, u.RawPath = path, path
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path = plain
	}
	p.Out.URL, p.Out.Host = u, p.In.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, there := p.In.Header[name]; there { // a proxy of Go's drops them
			p.Out.Header[name] = slices.Clone(values)
		}
	}
	cloudflare.Stamp(p.Out.Header, v.visitor.String(), v.scheme(), v.ray)
	p.Out.Header.Del("CF-IPCountry")
	p.Out.Header["CF-IPCountry"] = []string{v.country}
}

// writtenPath is a request's path as the visitor wrote it.
func writtenPath(r *http.Request) string {
	text := r.RequestURI
	if !strings.HasPrefix(text, "/") {
		if text = r.URL.EscapedPath(); text == "" { // of a whole URL, or of *
			return "/"
		}
	}
	path, _, _ := strings.Cut(text, "?")
	return path
}

// originFailed answers for an origin that did not.
func originFailed(w http.ResponseWriter, _ *http.Request, err error) {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, 0)
		return
	}
	status := originStatus(err)
	w.Header().Set("Cache-Control", "private, no-store")
	http.Error(w, fmt.Sprintf("error code: %d", status), status)
}

// originStatus is Cloudflare's answer to what went wrong.
func originStatus(err error) int {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &certificate):
		return statusCertificate
	case errors.As(err, &record), errors.As(err, &op) && op.Op == "remote error": // an alert
		return statusHandshake
	case errors.Is(err, errNoTime):
		return statusSilent
	case errors.Is(err, syscall.ECONNREFUSED):
		return statusDown
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return statusUnreachable
	case errors.Is(err, os.ErrDeadlineExceeded), strings.Contains(err.Error(), "timeout awaiting response headers"):
		return statusSlow
	}
	return statusUnknown
}
