// Package visitor makes requests the way browsers, Cloudflare and attackers do.
package visitor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"homelab/internal/cloudflare"
)

// Dial connects to an address.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// patience is how long an answer may take; the longest legitimate one is an upstream's dial
// timeout.
const patience = 15 * time.Second

// How long the other side may be silent before Raw takes it that nothing more will come: before the
// first response, and after one.
const (
	firstSilence = 3 * time.Second
	nextSilence  = 300 * time.Millisecond
)

// Place is where requests come from, and how they enter the machine.
type Place struct {
	// Dial connects from the place.
	Dial Dial
	// Listener is the address of the machine's listener that the place talks to.
	Listener string
	// Roots are the authorities that the place believes.
	Roots *x509.CertPool
	// Certificate is the client certificate that the place presents; nil for none.
	Certificate *tls.Certificate
	// Cloudflare adds the headers that Cloudflare sets, for a visitor whose address is Visitor.
	Cloudflare bool
	// Visitor is the address of the person, for Cloudflare to pass on; empty for an edge that says
	// nothing.
	Visitor string
}

// From is the same place with another person behind it.
func (p Place) From(visitor string) Place {
	p.Visitor = visitor
	return p
}

// TLS is the configuration of the place's side of a handshake for a name.
func (p Place) TLS(name string, protocols ...string) *tls.Config {
	config := &tls.Config{ServerName: name, RootCAs: p.Roots, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if p.Certificate != nil {
		config.Certificates = []tls.Certificate{*p.Certificate}
	}
	return config
}

// stamp adds what Cloudflare adds: the visitor's address in a header of its own, replacing what the
// visitor wrote there, and appended to X-Forwarded-For. Every other header passes.
func (p Place) stamp(h http.Header) {
	if !p.Cloudflare {
		return
	}
	cloudflare.Stamp(h, p.Visitor, "https", cloudflare.Ray)
}

// Browser is a person's browser: it keeps cookies and follows no redirect.
type Browser struct {
	place  Place
	client *http.Client
}

// Browser opens a browser without cookies. With protocol "h2" it speaks HTTP/2, otherwise HTTP/1.1.
func (p Place) Browser(protocol string) *Browser {
	jar, _ := cookiejar.New(nil) // it has no error without options
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx, "tcp", p.Listener) },
		// The server's name is filled in per request.
		TLSClientConfig: p.TLS(""), ForceAttemptHTTP2: protocol == "h2", DisableCompression: true,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
	if protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &Browser{p, &http.Client{Transport: transport, Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Transport sends requests as the place does, for a proxy in front of a browser of another kind. It
// stamps them as Cloudflare does if the place is there.
func (p Place) Transport() http.RoundTripper {
	return stamping{p, &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx, "tcp", p.Listener) },
		TLSClientConfig: p.TLS(""), ForceAttemptHTTP2: true, DisableCompression: true,
	}}
}

type stamping struct {
	place Place
	next  http.RoundTripper
}

// RoundTrip sends a request.
func (s stamping) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	s.place.stamp(request.Header)
	return s.next.RoundTrip(request)
}

// Answer is a response with its whole body.
type Answer struct {
	// Status is the response's code.
	Status int
	// Header is the response's.
	Header http.Header
	// Body is at most a megabyte of it.
	Body string
	// Protocol is HTTP/1.1 or HTTP/2.0.
	Protocol string
}

// Request is one request of a browser.
type Request struct {
	// Method is GET if empty.
	Method string
	// URL is https://host/path.
	URL string
	// Host replaces the URL's host in the Host header.
	Host string
	// Header are further headers, sent as they are written.
	Header map[string]string
	// Body is sent with a length.
	Body string
	// Chunked sends the body without one.
	Chunked bool
	// Trailer are headers that follow the body.
	Trailer map[string]string
}

// Do makes a request. An error means that no answer came.
func (b *Browser) Do(ctx context.Context, r Request) (*Answer, error) {
	var body io.Reader
	if r.Body != "" {
		body = strings.NewReader(r.Body)
		if r.Chunked {
			body = io.MultiReader(body) // hides the length
		}
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	if r.Host != "" {
		request.Host = r.Host
	}
	for name, value := range r.Header {
		request.Header[name] = append(request.Header[name], value)
	}
	for name, value := range r.Trailer {
		request.Trailer = http.Header{name: {value}}
	}
	if r.Body != "" && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8") // as a browser asks for a page
	}
	b.place.stamp(request.Header)
	response, err := b.client.Do(request)
	if err != nil {
		return nil, err
	}
	return answer(response)
}

// Get is Do for a plain GET.
func (b *Browser) Get(ctx context.Context, address string) (*Answer, error) {
	return b.Do(ctx, Request{URL: address})
}

// Download gets a file of the given length, and throws it away.
func (b *Browser) Download(ctx context.Context, address string, bytes int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return b.transfer(request, bytes)
}

// Upload sends a file of the given length.
func (b *Browser) Upload(ctx context.Context, address string, bytes int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, io.LimitReader(spaces{}, bytes))
	if err != nil {
		return err
	}
	request.ContentLength = bytes
	request.Header.Set("Content-Type", "application/octet-stream")
	return b.transfer(request, -1)
}

func (b *Browser) transfer(request *http.Request, want int64) error {
	b.place.stamp(request.Header)
	client := *b.client
	client.Timeout = 0
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	got, err := io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || (want >= 0 && got != want) {
		return fmt.Errorf("%s: %d bytes with %s", request.URL, got, response.Status)
	}
	return nil
}

// spaces is an endless file.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Cookie is the value of a cookie that would be sent to the address, or empty.
func (b *Browser) Cookie(address, name string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	for _, cookie := range b.client.Jar.Cookies(parsed) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

// SetCookie gives the browser a cookie, as somebody does who stole or invented one.
func (b *Browser) SetCookie(address string, cookie *http.Cookie) error {
	parsed, err := url.Parse(address)
	if err != nil {
		return err
	}
	b.client.Jar.SetCookies(parsed, []*http.Cookie{cookie})
	return nil
}

// Close ends the browser's connections.
func (b *Browser) Close() { b.client.CloseIdleConnections() }

func answer(response *http.Response) (*Answer, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	err = errors.Join(err, response.Body.Close())
	return &Answer{response.StatusCode, response.Header, string(text), response.Proto}, err
}

// Connect makes a TLS connection with exactly the given configuration.
func (p Place) Connect(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := p.Dial(ctx, "tcp", p.Listener)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// Raw sends bytes over a connection for the name, and returns every response that comes back until
// the other side closes or falls silent. The bytes may use {cloudflare} where Cloudflare's header
// lines belong. An error means that there was no connection.
func (p Place) Raw(ctx context.Context, name, text string) ([]*Answer, error) {
	return p.RawOver(ctx, p.TLS(name, "http/1.1"), text)
}

// RawOver is Raw over a connection with exactly the given configuration.
func (p Place) RawOver(ctx context.Context, config *tls.Config, text string) ([]*Answer, error) {
	conn, err := p.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	return p.exchange(conn, text)
}

// Plain is Raw without TLS.
func (p Place) Plain(ctx context.Context, text string) ([]*Answer, error) {
	conn, err := p.Dial(ctx, "tcp", p.Listener)
	if err != nil {
		return nil, err
	}
	return p.exchange(conn, text)
}

func (p Place) exchange(conn net.Conn, text string) ([]*Answer, error) {
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "{cloudflare}", p.lines())); err != nil {
		return nil, nil //nolint:nilerr // it hung up while it was being spoken to, which is an answer
	}
	var answers []*Answer
	reader, silence := bufio.NewReader(conn), firstSilence
	for {
		if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return answers, err
		}
		silence = nextSilence
		if _, err := reader.Peek(1); err != nil {
			return answers, nil //nolint:nilerr // silent, or gone
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return answers, err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return answers, fmt.Errorf("reading a response: %w", err)
		}
		if response.StatusCode == http.StatusSwitchingProtocols {
			rest := new(bytes.Buffer)
			_, _ = io.CopyN(rest, reader, 64)
			return append(answers, &Answer{response.StatusCode, response.Header, rest.String(), response.Proto}), nil
		}
		a, err := answer(response)
		answers = append(answers, a)
		if err != nil {
			return answers, nil //nolint:nilerr // cut off in the middle
		}
	}
}

// lines are Cloudflare's headers as text, each with its line end.
func (p Place) lines() string {
	h := http.Header{}
	p.stamp(h)
	var out strings.Builder
	for name, values := range h {
		out.WriteString(name + ": " + values[0] + "\r\n")
	}
	return out.String()
}
