package api

import (
	"context"
	"io"
	"sync"
)

// Progress passes lines on to everybody who follows. The zero value is ready for use.
type Progress struct {
	mu        sync.Mutex
	followers map[*io.PipeWriter]chan []byte
}

// waiting is how many lines a follower may be behind; what is more he does not get.
const waiting = 1000

// Write implements io.Writer: one call is one or more whole lines. It never waits.
func (p *Progress) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, lines := range p.followers {
		select {
		case lines <- append([]byte(nil), line...):
		default:
		}
	}
	return len(line), nil
}

// follow returns what is written from now on, until the context ends.
func (p *Progress) follow(ctx context.Context) io.ReadCloser {
	r, w := io.Pipe()
	lines := make(chan []byte, waiting)
	p.mu.Lock()
	if p.followers == nil {
		p.followers = map[*io.PipeWriter]chan []byte{}
	}
	p.followers[w] = lines
	p.mu.Unlock()
	go func() {
		defer func() {
			p.mu.Lock()
			delete(p.followers, w)
			p.mu.Unlock()
			_ = w.Close()
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case line := <-lines:
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}
	}()
	return r
}
