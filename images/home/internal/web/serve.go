package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// maxHeader bounds the header of a request, in bytes: the proxy passes on no more than that, and
// adds who the visitor is.
const maxHeader = 20 << 10

// grace is how long requests may take to end when the server stops.
const grace = 5 * time.Second

// newServer returns a server that waits for nobody for long.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		// Nothing here reads a body.
		Handler:           http.MaxBytesHandler(handler, 0),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Serve answers at each address with its handler until the context ends, or one of them fails.
func Serve(ctx context.Context, handlers map[string]http.Handler, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []*http.Server
	served := make(chan error, len(handlers))
	var failed error
	for address, handler := range handlers {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			failed = fmt.Errorf("listening at %s: %w", address, err)
			cancel()
			break
		}
		log.Info("listening", "address", listener.Addr().String())
		server := newServer(handler, log)
		servers = append(servers, server)
		go func() { served <- server.Serve(listener) }()
	}
	select {
	case <-ctx.Done():
	case failed = <-served: // before it was told to stop
		failed = fmt.Errorf("serving: %w", failed)
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer done()
	for _, server := range servers {
		failed = errors.Join(failed, server.Shutdown(stop))
	}
	log.Info("stopped")
	return failed
}
