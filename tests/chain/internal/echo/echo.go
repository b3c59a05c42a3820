// Package echo is a service that says what reached it.
package echo

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // the handshake of WebSockets asks for it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Seen is one request as the service saw it.
type Seen struct {
	// Service is the name of the service.
	Service string
	// Method, URI and Host are of the request as it arrived; the URI is not decoded.
	Method, URI, Host string
	// Header is every header, under its canonical name.
	Header http.Header
	// BodyBytes is the body's length.
	BodyBytes int64
	// BodySum is the body's SHA-256, in hexadecimal digits.
	BodySum string
	// Trailer are the headers that followed the body.
	Trailer http.Header
}

// Service is a running service.
type Service struct {
	name   string
	server *http.Server

	mu   sync.Mutex
	seen []Seen
}

// Start serves on the listener.
func Start(name string, listener net.Listener) *Service {
	s := &Service{name: name}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }()
	return s
}

// Stop ends the service and its connections.
func (s *Service) Stop() { _ = s.server.Close() }

// Take returns what was seen since the last Take.
func (s *Service) Take() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.seen
	s.seen = nil
	return taken
}

// ServeHTTP answers with what it saw, as JSON. It speaks WebSocket to whoever asks, and sends the
// same text as one message; below /hold it keeps the connection. A path below /slow takes a second;
// /quiet is not recorded, and takes as long as takes in its query says. The query's answer is a
// header line of the answer, and its bytes are how many bytes are the answer, without being
// recorded. With early in the query it answers without reading the body.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := Seen{Service: s.name, Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone()}
	if strings.HasPrefix(r.URL.Path, "/slow") {
		time.Sleep(time.Second)
	}
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	if !upgrade && !r.URL.Query().Has("early") {
		sum := sha256.New()
		into := io.Writer(sum)
		if unrecorded(r) {
			into = io.Discard
		}
		seen.BodyBytes, _ = io.Copy(into, r.Body)
		seen.BodySum, seen.Trailer = hex.EncodeToString(sum.Sum(nil)), r.Trailer
	}
	for _, line := range r.URL.Query()["answer"] {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Add(name, value)
	}
	if bytes, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
		_, _ = io.CopyN(w, zeros{}, bytes)
		return
	}
	if unrecorded(r) {
		takes, _ := time.ParseDuration(r.URL.Query().Get("takes"))
		time.Sleep(takes)
	} else {
		s.mu.Lock()
		s.seen = append(s.seen, seen)
		s.mu.Unlock()
	}
	text, err := json.Marshal(seen)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if upgrade {
		speak(w, r.Header.Get("Sec-Websocket-Key"), text, strings.HasPrefix(r.URL.Path, "/hold"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// unrecorded reports whether nobody asks about the request afterwards.
func unrecorded(r *http.Request) bool { return r.URL.Path == "/quiet" || r.URL.Query().Has("bytes") }

const acceptance = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Accept is what a WebSocket server must answer to a key.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + acceptance)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

func speak(w http.ResponseWriter, key string, text []byte, hold bool) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	out := bufio.NewWriter(buffered)
	_, _ = out.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + Accept(key) + "\r\n\r\n")
	// One unmasked text frame, with its length in two bytes.
	_, _ = out.Write([]byte{0x81, 126, byte(len(text) >> 8), byte(len(text))})
	_, _ = out.Write(text)
	_ = out.Flush()
	_ = buffered.Flush()
	if hold {
		_, _ = io.Copy(io.Discard, conn)
	}
}

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
