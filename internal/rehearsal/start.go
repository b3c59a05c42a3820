package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// LogFile is the name of the program's log in the state folder.
const LogFile = "machine.log"

// imagesFile says in the state folder which images the program was started with.
const imagesFile = "images"

// ErrOtherImages is the error of Start when the program runs already, with other images than those
// asked for.
var ErrOtherImages = errors.New("the machines run already, and have other images")

// Limits of starting and ending the program.
const (
	startTimeout = 10 * time.Minute // until it answers: machines that ran before are switched on first
	endTimeout   = 90 * time.Second // machines shut down; then the process is killed, and they with it
)

// Options say how to start homelab-machine.
type Options struct {
	// Program is the path of its executable. Required.
	Program string
	// State is the folder that keeps the machines. Required; it exists.
	State string
	// Args are further arguments of its command serve.
	Args []string
	// Images is the folder of the container images that its machines have. Default: none.
	Images string
	// Env is its environment; nil is this process's own.
	Env []string
	// Dir is the folder that it runs in: it finds its checkout from there. Default: this process's
	// own.
	Dir string
}

// Process is a homelab-machine that serves a state folder.
type Process struct {
	*Client

	// Found reports that it was running already.
	Found bool

	stdin io.Closer
	ended chan error // gets what Wait returns, once
	kept  bool
	kill  func() error
}

// Start starts homelab-machine, or finds the one that serves the folder already. Close it after
// use. One that was started ends with this process, however that ends, unless Keep is called.
func Start(ctx context.Context, opts Options) (*Process, error) {
	client, err := NewClient(opts.State)
	if err != nil {
		return nil, err
	}
	if client.Ping(ctx) == nil {
		if err := sameImages(opts); err != nil {
			client.Close()
			return nil, err
		}
		return &Process{Client: client, Found: true, kept: true}, nil
	}
	if err := os.WriteFile(filepath.Join(opts.State, imagesFile), []byte(opts.Images), 0o600); err != nil {
		return nil, fmt.Errorf("starting homelab-machine: %w", err)
	}
	logFile := filepath.Join(opts.State, LogFile)
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting homelab-machine: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has it too
	args := append([]string{"serve", "--state", opts.State}, opts.Args...)
	if opts.Images != "" {
		args = append(args, "--images", opts.Images)
	}
	cmd := exec.Command(opts.Program, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = opts.Env, opts.Dir, log, log
	apart(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting homelab-machine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting homelab-machine: %w", err)
	}
	p := &Process{Client: client, stdin: stdin, ended: make(chan error, 1), kill: cmd.Process.Kill}
	go func() { p.ended <- cmd.Wait() }()
	if err := p.awaitAnswer(ctx, logFile); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// sameImages compares the images asked for with those that the running program was started with.
// Who asks for none takes what is there.
func sameImages(opts Options) error {
	if opts.Images == "" {
		return nil
	}
	had, err := os.ReadFile(filepath.Join(opts.State, imagesFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(had) == opts.Images {
		return nil
	}
	if len(had) == 0 {
		had = []byte("none")
	}
	return fmt.Errorf("%w: %s", ErrOtherImages, had)
}

// awaitAnswer waits until the program serves its socket.
func (p *Process) awaitAnswer(ctx context.Context, logFile string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.Ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case ended := <-p.ended:
			p.ended <- ended
			return fmt.Errorf("homelab-machine has ended (%w): %s", orEnded(ended), tail(logFile))
		case <-ctx.Done():
			return fmt.Errorf("starting homelab-machine: %w: %s", errors.Join(ctx.Err(), err), tail(logFile))
		case <-tick.C:
		}
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// tail is the end of the log, which says why the program ended.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

// Keep lets the program go on when this process ends, until somebody calls End.
func (p *Process) Keep(ctx context.Context) error {
	if p.kept {
		return nil
	}
	if err := p.call(ctx, "keep", struct{}{}, nil); err != nil {
		return err
	}
	p.kept = true
	return nil
}

// End has the program shut its machines down and end. What Keep has kept ends too.
func (p *Process) End(ctx context.Context) error {
	err := p.Client.End(ctx)
	p.kept = p.kept && err != nil // one that is not kept is waited for by Close
	return errors.Join(err, p.Close())
}

// Close ends the program with all it runs, unless it is kept. Closing twice is harmless.
func (p *Process) Close() error {
	p.Client.Close()
	if p.kept || p.stdin == nil {
		return nil
	}
	err := p.stdin.Close()
	p.stdin = nil
	if errors.Is(err, os.ErrClosed) {
		err = nil // Wait closes it when the process has ended
	}
	select {
	case <-p.ended: // how it ended is in its log
		return err
	case <-time.After(endTimeout):
		return errors.Join(err, errors.New("homelab-machine did not end in time and was killed"), p.kill())
	}
}
