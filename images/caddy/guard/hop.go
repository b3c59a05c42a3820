package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxIdle is how many idle connections of a hop are kept: each request under way uses one.
	maxIdle = 256
	// maxIdleTime is how long one is kept.
	maxIdleTime = time.Minute
	// maxAnswer bounds the body of an answer, in bytes.
	maxAnswer = 64 << 10
)

// hop asks AppSec or the portal, once for each request that the proxy gets.
//
// Its connections are its own: http.Transport hands every exchange to two goroutines, which costs a
// proxy that is busy with little else a tenth of its throughput. It writes its questions itself
// too: the fields of an http.Request, and its headers in order, cost half as much again.
type hop struct {
	timeout time.Duration
	idle    chan *hopConn
}

type hopConn struct {
	net.Conn
	address string
	limit   *io.LimitedReader
	in      *bufio.Reader
	out     *bufio.Writer
	since   time.Time
}

// question is an HTTP request without what a hop does not need.
type question struct {
	method string
	// url is where it goes; see httpURL.
	url *url.URL
	// header are the lines of the header but Host and Content-Length, each with its end.
	header []byte
	// body is sent if it is not empty.
	body []byte
}

// add adds a header. A name or a value that HTTP does not know would become another header: it is
// an error.
func (q *question) add(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("the header %q cannot be passed on", name)
	}
	q.header = append(q.header, name...)
	q.header = append(q.header, ": "...)
	q.header = append(q.header, value...)
	q.header = append(q.header, "\r\n"...)
	return nil
}

// write writes the whole question.
func (q *question) write(out *bufio.Writer) error {
	length := ""
	if len(q.body) > 0 {
		length = "Content-Length: " + strconv.Itoa(len(q.body)) + "\r\n"
	}
	for _, part := range []string{q.method, " ", q.url.RequestURI(), " HTTP/1.1\r\nHost: ", q.url.Host, "\r\n", length} {
		_, _ = out.WriteString(part) // Flush says what went wrong
	}
	_, _ = out.Write(q.header)
	_, _ = out.WriteString("\r\n")
	_, _ = out.Write(q.body)
	return out.Flush()
}

// httpURL reads the address of a hop, such as http://crowdsec:7422/path.
func httpURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.Port() == "" || u.User != nil {
		return nil, fmt.Errorf("%q is not an http URL with a port", address)
	}
	return u, nil
}

// errStale is a connection that the other side has closed while nobody used it.
var errStale = errors.New("the connection is closed")

func newHop(timeout time.Duration) *hop {
	return &hop{timeout: timeout, idle: make(chan *hopConn, maxIdle)}
}

// do asks, and returns the answer with its whole body. It follows no redirect.
func (h *hop) do(ctx context.Context, q *question) (*http.Response, []byte, error) {
	deadline := time.Now().Add(h.timeout)
	for {
		conn, used, err := h.connect(ctx, q.url.Host, deadline)
		if err != nil {
			return nil, nil, err
		}
		answer, body, err := conn.exchange(q, deadline)
		switch {
		case err == nil && answer.Close:
			_ = conn.Close()
			return answer, body, nil
		case err == nil:
			h.keep(conn)
			return answer, body, nil
		}
		_ = conn.Close()
		if !used || !errors.Is(err, errStale) || ctx.Err() != nil {
			return nil, nil, err
		}
	}
}

// connect returns a connection, and whether it was used before.
func (h *hop) connect(ctx context.Context, address string, deadline time.Time) (*hopConn, bool, error) {
	for {
		select {
		case conn := <-h.idle:
			if conn.address == address && time.Since(conn.since) < maxIdleTime && conn.quiet() {
				return conn, true, nil
			}
			_ = conn.Close()
		default:
			conn, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, false, err
			}
			limit := &io.LimitedReader{R: conn}
			return &hopConn{Conn: conn, address: address, limit: limit, in: bufio.NewReader(limit), out: bufio.NewWriter(conn)}, false, nil
		}
	}
}

func (h *hop) keep(conn *hopConn) {
	conn.since = time.Now()
	select {
	case h.idle <- conn:
	default:
		_ = conn.Close()
	}
}

// quiet reports whether nothing has come since the last answer: neither a hang-up, nor what the
// next question would take for its own answer.
func (c *hopConn) quiet() bool {
	conn, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// exchange asks over the connection.
func (c *hopConn) exchange(q *question, deadline time.Time) (*http.Response, []byte, error) {
	if err := c.SetDeadline(deadline); err != nil {
		return nil, nil, errStale
	}
	c.limit.N = 2 * maxAnswer
	if err := q.write(c.out); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStale, err)
	}
	if _, err := c.in.Peek(1); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("%w: %w", errStale, err)
	}
	answer, err := http.ReadResponse(c.in, &http.Request{Method: q.method})
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, nil, err
	}
	if answer.StatusCode < http.StatusOK || c.in.Buffered() > 0 {
		// An answer before the answer, or more than one: nobody can tell what the next request
		// would get.
		return nil, nil, fmt.Errorf("an answer of %d, with more behind it", answer.StatusCode)
	}
	return answer, body, nil
}

// close closes the connections that nobody uses.
func (h *hop) close() {
	for {
		select {
		case conn := <-h.idle:
			_ = conn.Close()
		default:
			return
		}
	}
}
