package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
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
// It writes and reads with net/http, on connections of its own: http.Transport hands every exchange to
// two goroutines, which costs a proxy that is busy with little else a tenth of its throughput.
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

// errStale is a connection that the other side has closed while nobody used it.
var errStale = errors.New("the connection is closed")

func newHop(timeout time.Duration) *hop {
	return &hop{timeout: timeout, idle: make(chan *hopConn, maxIdle)}
}

// do asks, and returns the answer with its whole body. It follows no redirect.
func (h *hop) do(question *http.Request) (*http.Response, []byte, error) {
	deadline := time.Now().Add(h.timeout)
	for {
		conn, used, err := h.connect(question, deadline)
		if err != nil {
			return nil, nil, err
		}
		answer, body, err := conn.exchange(question, deadline)
		switch {
		case err == nil && answer.Close:
			_ = conn.Close()
			return answer, body, nil
		case err == nil:
			h.keep(conn)
			return answer, body, nil
		}
		_ = conn.Close()
		if !used || !errors.Is(err, errStale) || question.Context().Err() != nil {
			return nil, nil, err
		}
		if question.GetBody != nil {
			if question.Body, err = question.GetBody(); err != nil {
				return nil, nil, err
			}
		}
	}
}

// connect returns a connection, and whether it was used before.
func (h *hop) connect(question *http.Request, deadline time.Time) (*hopConn, bool, error) {
	for {
		select {
		case conn := <-h.idle:
			if conn.address == question.URL.Host && time.Since(conn.since) < maxIdleTime && conn.quiet() {
				return conn, true, nil
			}
			_ = conn.Close()
		default:
			conn, err := (&net.Dialer{Deadline: deadline}).DialContext(question.Context(), "tcp", question.URL.Host)
			if err != nil {
				return nil, false, err
			}
			limit := &io.LimitedReader{R: conn}
			return &hopConn{Conn: conn, address: question.URL.Host, limit: limit, in: bufio.NewReader(limit), out: bufio.NewWriter(conn)}, false, nil
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

// quiet reports whether nothing has come since the last answer: neither a hang-up, nor what the next question would
// take for its own answer.
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
func (c *hopConn) exchange(question *http.Request, deadline time.Time) (*http.Response, []byte, error) {
	if err := c.SetDeadline(deadline); err != nil {
		return nil, nil, errStale
	}
	c.limit.N = 2 * maxAnswer
	if err := question.Write(c.out); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStale, err)
	}
	if err := c.out.Flush(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStale, err)
	}
	if _, err := c.in.Peek(1); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("%w: %w", errStale, err)
	}
	answer, err := http.ReadResponse(c.in, question)
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
		// An answer before the answer, or more than one: nobody can tell what the next request would get.
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
