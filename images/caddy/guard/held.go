package guard

import (
	"io"
	"sync"
)

// held is a body that was read and waits for the service to take it. What was taken is forgotten,
// and the end makes room for others: an answer may take much longer than its request.
type held struct {
	mu      sync.Mutex // a transport may close a body that it reads
	rest    []byte
	release func()
}

// Read takes what fits.
func (h *held) Read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := copy(p, h.rest)
	if h.rest = h.rest[n:]; len(h.rest) > 0 {
		return n, nil
	}
	h.rest = nil
	h.release()
	if n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

// Close forgets what nobody took.
func (h *held) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rest = nil
	h.release()
	return nil
}
