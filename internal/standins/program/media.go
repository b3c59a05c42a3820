package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"homelab/images/wire/fake"
	"homelab/internal/standins/document"
)

// app is one of the media services: a fake of the wiring's tests, with its state in a database.
type app struct {
	name     string
	settings fake.Settings
	// database is where the real one has its own; file is where the state is if that has none.
	database, file string
	address        string
	// before is asked before the fake, and reports whether it has answered; nil for nothing.
	before func(w http.ResponseWriter, r *http.Request) bool
	// format is that of a line of the log.
	format func(line string) string
	// first and second are what the log says when it starts, and once it answers.
	first, second string
}

// run runs an app.
func (a app) run(ctx context.Context, p process) (err error) {
	log := &lines{out: p.out}
	say := func(line string) { log.printf("%s", a.format(line)) }
	say(a.first)
	played, err := fake.Start(a.name, a.settings, func(line string) {
		if !strings.HasPrefix(line, a.name+" ") || strings.Contains(line, " wrote by ") {
			say(line) // and not every request, which the real ones do not log either
		}
	})
	if err != nil {
		return err
	}
	file, err := a.open(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if state := file.Content(); state != nil {
		err = played.Restore(state)
	}
	keep := keeper(played, file)
	if err = errors.Join(err, keep()); err != nil {
		return err
	}
	if played.Refresh != nil {
		go func() {
			for every := time.NewTicker(time.Minute); ; {
				select {
				case <-ctx.Done():
					return
				case <-every.C:
					if err := errors.Join(played.Refresh(), keep()); err != nil {
						say(err.Error())
					}
				}
			}
		}()
	}
	answered := p.ready
	p.ready = func(address string) {
		say(a.second)
		if answered != nil {
			answered(address)
		}
	}
	return p.serve(ctx, a.address, a.handler(played, keep, say))
}

// store keeps a state.
type store interface {
	Content() []byte
	Write([]byte) error
	Close() error
}

func (a app) open(p process) (store, error) {
	if a.database == "" {
		return openPlain(p.path(a.file))
	}
	return document.Open(p.path(a.database))
}

// keeper returns what writes the state, if it has changed.
func keeper(played *fake.App, file store) func() error {
	var mutex sync.Mutex // or an older state could be written after a newer one
	return func() error {
		mutex.Lock()
		defer mutex.Unlock()
		state, err := played.State()
		if err != nil {
			return err
		}
		return file.Write(state)
	}
}

// handler answers as the app, and keeps what a request has changed.
func (a app) handler(played *fake.App, keep func() error, say func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.before != nil && a.before(w, r) {
			return
		}
		played.ServeHTTP(w, r)
		if err := keep(); err != nil {
			say(err.Error())
		}
	})
}

// jellyfinStarts is for how long another server answers in Jellyfin's place. The real one needs
// some ten seconds.
const jellyfinStarts = 2 * time.Second

// jellyfin is Jellyfin before its first set-up, or as it was left.
func jellyfin(ctx context.Context, p process) error {
	if len(p.args) > 0 {
		return fmt.Errorf("jellyfin: unknown arguments %q", p.args)
	}
	for _, name := range []string{"JELLYFIN_DATA_DIR", "JELLYFIN_CACHE_DIR"} {
		if p.env(name) == "" {
			return fmt.Errorf("jellyfin: %s is not set, as it is by the image", name)
		}
	}
	var up atomic.Bool
	starting := time.AfterFunc(jellyfinStarts, func() { up.Store(true) })
	defer starting.Stop()
	return app{
		name: "jellyfin", settings: fake.Settings{Unclaimed: true}, database: p.env("JELLYFIN_DATA_DIR") + "/data/jellyfin.db", address: ":8096",
		before: func(w http.ResponseWriter, r *http.Request) bool { return !up.Load() && notYet(w, r) || bundle(w, r) },
		format: func(line string) string {
			return fmt.Sprintf("[%s] [INF] [1] Main: %s", time.Now().Format("15:04:05"), line)
		},
		first: "Jellyfin version: " + fake.JellyfinVersion + " (a stand-in)", second: "Startup complete",
	}.run(ctx, p)
}

// notYet answers as the server that stands in for Jellyfin while that starts (ServerSetupApp): it
// says of every Jellyfin that it has no administrator.
func notYet(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/health":
		fmt.Fprint(w, "Degraded")
	case r.Method == http.MethodGet && r.URL.Path == "/System/Info/Public":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"StartupWizardCompleted":false}`)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return true
}

// bundleSize is more than what lies between a server and a visitor who reads slowly.
const bundleSize = 64 << 20

// bundle is the one file of the web client that there is: large, and for everybody, as the real one.
func bundle(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.Path != "/web/main.jellyfin.bundle.js" {
		return false
	}
	w.Header().Set("Content-Type", "text/javascript")
	w.Header().Set("Content-Length", strconv.Itoa(bundleSize))
	line := []byte("//" + strings.Repeat(" ", 4093) + "\n")
	for range bundleSize / len(line) {
		if _, err := w.Write(line); err != nil {
			break // the visitor has gone
		}
	}
	return true
}

// jellyseerr is Seerr before its set-up, or as it was left. It makes its API key itself.
func jellyseerr(ctx context.Context, p process) error {
	if len(p.args) > 0 {
		return fmt.Errorf("jellyseerr: unknown arguments %q", p.args)
	}
	key := make([]byte, 34)
	_, _ = rand.Read(key) // never fails
	return app{
		name: "jellyseerr", settings: fake.Settings{Key: base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(key)))},
		database: "/app/config/db/db.sqlite3", address: ":5055",
		format: func(line string) string {
			return fmt.Sprintf("%s [info][Server]: %s", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), line)
		},
		first: "Starting Seerr version 3.5.0 (a stand-in)", second: "Server ready on port 5055",
	}.run(ctx, p)
}
