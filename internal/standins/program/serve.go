package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// grace is how long answers may take that are still being written when the program is to end.
const grace = 300 * time.Millisecond

// serve answers at an address until the context ends. Nothing else keeps it longer than grace.
func (p process) serve(ctx context.Context, address string, handler http.Handler) error {
	if p.listen != "" {
		address = p.listen
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if p.ready != nil {
		p.ready(listener.Addr().String())
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(limit); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}

// lines writes whole lines, also where many goroutines do.
type lines struct {
	mutex sync.Mutex
	out   io.Writer
}

func (l *lines) printf(format string, values ...any) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintf(l.out, format+"\n", values...)
}
