// Command homelab-machine is the rehearsal's machine: a virtual server on the laptop, the internet
// around it, its tailnet and its Storage Boxes. It is a program of its own, so that the homelab
// command keeps its few dependencies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"homelab/internal/machine/internal/api"
	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/lab"
	"homelab/internal/machine/internal/substitute"
	"homelab/internal/machine/internal/tailnet/control"
	"homelab/internal/rehearsal"
	"homelab/internal/substitutes"
)

const usage = `usage: homelab-machine serve --state DIR [--tailnet DOMAIN] [--operator LOGIN] [--cpus N] [--memory MIB] [--offline]
                             [--images FOLDER]
       homelab-machine images FOLDER

serve serves its API on the socket DIR/` + rehearsal.SocketFile + `, and ends, with everything it started, when its standard
input does. The homelab command starts it. images makes the folder of container images that serve has for its machines.`

func main() {
	// The tailnet runs a process of its own from this executable.
	if len(os.Args) > 1 && os.Args[1] == control.Command {
		os.Exit(control.Main(os.Args[2:]))
	}
	command := map[string]func([]string) error{"serve": serve, "images": makeImages}[append(os.Args, "", "")[1]]
	if command == nil {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	progress := &api.Progress{}
	options := lab.Options{Progress: io.MultiWriter(os.Stderr, progress)}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	flags.StringVar(&options.State, "state", "", "")
	flags.StringVar(&options.Domain, "tailnet", "", "")
	flags.StringVar(&options.Operator, "operator", "", "")
	flags.IntVar(&options.MaxCPUs, "cpus", 0, "")
	flags.IntVar(&options.MaxMemoryMB, "memory", 0, "")
	flags.BoolVar(&options.Offline, "offline", false, "")
	images := flags.String("images", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || options.State == "" {
		return errors.Join(err, errors.New("serve needs --state DIR, and takes no other words"))
	}
	if *images != "" {
		folder, err := substitutes.Open(*images)
		if err != nil {
			return err
		}
		options.Images = folder
	}
	var err error
	if options.Cache, err = cacheFolder(); err != nil {
		return err
	}
	if err := os.MkdirAll(options.State, 0o700); err != nil {
		return err
	}
	listener, err := listen(filepath.Join(options.State, rehearsal.SocketFile))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return run(ctx, listener, options, progress)
}

func cacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "homelab", "machine"), err
}

func makeImages(args []string) error {
	if len(args) != 1 || args[0] == "" || strings.HasPrefix(args[0], "-") {
		return errors.New("images needs the folder that it makes, and takes no other words")
	}
	cache, err := cacheFolder()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	trusted, err := authority.OfCache(cache)
	if err != nil {
		return err
	}
	return substitute.Build(ctx, substitute.Options{Folder: args[0], Cache: cache, Authority: trusted.PEM(), Progress: os.Stderr})
}

// listen takes the socket over from a program that ended without removing it.
func listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("another homelab-machine serves %s", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path) // the folder lets nobody else in
}

// run serves until it is told to end, or its standard input ends and it is not kept.
func run(ctx context.Context, listener net.Listener, options lab.Options, progress *api.Progress) (err error) {
	l, err := lab.Open(ctx, options)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var kept atomic.Bool
	ended := make(chan struct{}, 2)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: api.New(api.Options{
		Service: l, Progress: progress, Keep: func() { kept.Store(true) },
		End: func(ctx context.Context) error {
			defer func() { ended <- struct{}{} }()
			return l.Close(ctx, true)
		},
	})}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that it says
		if !kept.Load() {
			ended <- struct{}{}
		}
	}()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
	case <-ended:
	case err = <-failed:
	}
	// An answer that is on its way arrives; what streams is cut off.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = server.Shutdown(within)
	return errors.Join(err, l.Close(within, false))
}
