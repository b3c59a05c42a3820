// Command app is one of the fakes as a process of its own, for tests in which the apps are apart
// from each other. It reads what it is as JSON from standard input, and prints the app's log.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"homelab/images/wire/fake"
)

// instance is one app.
type instance struct {
	// App is its name, such as "radarr".
	App string `json:"app"`
	// Listen is where it answers.
	Listen string `json:"listen"`
	fake.Settings
}

// every is how often an app does what it does by itself; the real ones take a minute.
const every = time.Second

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(stdin io.Reader, stdout io.Writer) error {
	var i instance
	if err := json.NewDecoder(stdin).Decode(&i); err != nil {
		return fmt.Errorf("reading what to be: %w", err)
	}
	var mutex sync.Mutex
	app, err := fake.Start(i.App, i.Settings, func(line string) {
		mutex.Lock()
		defer mutex.Unlock()
		fmt.Fprintln(stdout, line)
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", i.Listen)
	if err != nil {
		return err
	}
	if app.Refresh != nil {
		go func() {
			for range time.Tick(every) {
				_ = app.Refresh() // it has logged what failed, and tries again
			}
		}()
	}
	return (&http.Server{Handler: app, ReadHeaderTimeout: every}).Serve(listener)
}
