// Package api serves homelab-machine's API: HTTP on a Unix socket, with the types of package
// rehearsal.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"homelab/internal/rehearsal"
)

// Options are what a handler answers with.
type Options struct {
	// Service does the work. Required.
	Service rehearsal.Service
	// Keep is called when the program shall go on without its parent. Required.
	Keep func()
	// End shuts everything down and returns when it is; the program ends afterwards. Required.
	End func(ctx context.Context) error
	// Progress is what the program says it is doing. Required.
	Progress *Progress
}

// New returns the handler. What a method does ends when its caller hangs up.
func New(options Options) http.Handler {
	s := options.Service
	mux := http.NewServeMux()
	handle := func(method string, f http.HandlerFunc) { mux.HandleFunc("POST "+rehearsal.Prefix+method, f) }
	handle("boot", command(s.Boot))
	handle("change", command(s.Change))
	handle("delete", command(func(ctx context.Context, a rehearsal.DeleteArgs) error { return s.Delete(ctx, a.ID, a.Graceful) }))
	handle("firewall", command(func(ctx context.Context, a rehearsal.FirewallArgs) error { return s.SetFirewall(ctx, a.ID, a.Rules) }))
	handle("machines", question(func(ctx context.Context, _ struct{}) ([]rehearsal.Machine, error) { return s.Machines(ctx) }))
	handle("power", command(func(ctx context.Context, a rehearsal.PowerArgs) error { return s.SetPower(ctx, a.ID, a.Action) }))
	handle("policy", command(func(ctx context.Context, a rehearsal.PolicyArgs) error { return s.SetPolicy(ctx, a.Policy) }))
	handle("key", question(s.MakeKey))
	handle("delete-key", command(func(ctx context.Context, a rehearsal.IDArgs) error { return s.DeleteKey(ctx, a.ID) }))
	handle("devices", question(func(ctx context.Context, _ struct{}) ([]rehearsal.Device, error) { return s.Devices(ctx) }))
	handle("box", command(s.SetBox))
	handle("delete-box", command(func(ctx context.Context, a rehearsal.IDArgs) error { return s.DeleteBox(ctx, a.ID) }))
	handle("box-keys", question(func(ctx context.Context, _ struct{}) ([]string, error) { return s.BoxKeys(ctx) }))
	handle("zone", command(s.SetZone))
	handle("edge", question(func(ctx context.Context, _ struct{}) (rehearsal.Edge, error) { return s.Edge(ctx) }))
	handle("docker", question(s.Docker))
	handle("away", command(func(ctx context.Context, a rehearsal.AwayArgs) error { return s.SetAway(ctx, a.Who, a.Away) }))
	handle("start-probe", command(s.StartProbe))
	handle("await-probe", command(func(ctx context.Context, _ struct{}) error { return s.AwaitProbe(ctx) }))
	handle("stop-probe", question(func(ctx context.Context, _ struct{}) (rehearsal.ProbeReport, error) { return s.StopProbe(ctx) }))
	handle("dial", dial(s))
	handle("console", stream(func(ctx context.Context, a rehearsal.ConsoleArgs) (io.ReadCloser, error) {
		return s.Console(ctx, a.ID, a.Follow)
	}))
	handle("progress", stream(func(ctx context.Context, _ struct{}) (io.ReadCloser, error) { return options.Progress.follow(ctx), nil }))
	handle("ping", command(func(context.Context, struct{}) error { return nil }))
	handle("keep", command(func(context.Context, struct{}) error {
		options.Keep()
		return nil
	}))
	handle("end", command(func(ctx context.Context, _ struct{}) error { return options.End(ctx) }))
	return mux
}

// arguments reads the body of a request. What it does not know is an error: the two programs would
// not be of the same version.
func arguments[T any](r *http.Request) (T, error) {
	var out T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		return out, fmt.Errorf("reading the arguments of %s: %w", r.URL.Path, err)
	}
	return out, nil
}

func question[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, err := arguments[In](r)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		answer(w, http.StatusOK, out)
	}
}

func command[In any](f func(context.Context, In) error) http.HandlerFunc {
	return question(func(ctx context.Context, in In) (struct{}, error) { return struct{}{}, f(ctx, in) })
}

func refuse(w http.ResponseWriter, code int, err error) {
	answer(w, code, rehearsal.Failure{Error: err.Error()})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who does not read it has hung up
}

// stream answers with what a reader gives, as it comes.
func stream[In any](open func(context.Context, In) (io.ReadCloser, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, err := arguments[In](r)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		from, err := open(r.Context(), in)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		defer func() { _ = from.Close() }() // it was only read
		control := http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		if err := control.Flush(); err != nil {
			return
		}
		for buffer := make([]byte, 32<<10); ; {
			n, err := from.Read(buffer)
			if n > 0 {
				if _, err := w.Write(buffer[:n]); err != nil {
					return
				}
				if err := control.Flush(); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// dial answers with a connection.
func dial(s rehearsal.Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		target, err := arguments[rehearsal.Target](r)
		if err != nil || r.Header.Get("Upgrade") != rehearsal.Upgrade {
			refuse(w, http.StatusBadRequest, errors.Join(err, errors.New("a connection needs the header Upgrade: "+rehearsal.Upgrade)))
			return
		}
		there, err := s.Dial(r.Context(), target)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		defer func() { _ = there.Close() }() // both directions have ended
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			refuse(w, http.StatusInternalServerError, err)
			return
		}
		defer func() { _ = here.Close() }() // as above
		_ = here.SetDeadline(time.Time{})
		if _, err := fmt.Fprintf(here, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", rehearsal.Upgrade); err != nil {
			return
		}
		join(here, buffered, there)
	}
}

// join copies in both directions until both have ended. What was read of a already comes from early.
// The end of one direction is passed on.
func join(a net.Conn, early io.Reader, b net.Conn) {
	var both sync.WaitGroup
	pass := func(to net.Conn, from io.Reader) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite()
			return
		}
		_ = to.Close()
	}
	both.Go(func() { pass(b, early) })
	both.Go(func() { pass(a, b) })
	both.Wait()
}
