package toolchain

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	terminalInterval = 250 * time.Millisecond
	plainInterval    = 20 * time.Second
	// keptLines bounds what a failure shows of the go command's output.
	keptLines = 40
)

// reporter reads the output of `go build -v` (a line per compiled package, a line per downloaded
// module, or an error) and tells the user how far the build is.
type reporter struct {
	out      io.Writer
	name     string
	why      string // what the first line adds; empty: no first and no last line
	terminal bool
	interval time.Duration

	mu         sync.Mutex
	partial    []byte
	began      time.Time
	compiled   int
	downloaded int
	other      []string
	done       chan struct{}
	ticker     sync.WaitGroup
}

func newReporter(out io.Writer, name string) *reporter {
	r := &reporter{out: out, name: name, interval: plainInterval}
	if out == nil {
		r.out = io.Discard
	}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		r.terminal, r.interval = true, terminalInterval
	}
	return r
}

// line prints one whole line. Progress is a courtesy: a writer that fails must not fail the build.
func (r *reporter) line(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format+"\n", args...)
}

func (r *reporter) start() {
	r.began = time.Now()
	r.done = make(chan struct{})
	if r.why != "" {
		r.line("building %s %s", r.name, r.why)
	}
	r.ticker.Go(func() {
		tick := time.NewTicker(r.interval)
		defer tick.Stop()
		for {
			select {
			case <-r.done:
				return
			case <-tick.C:
				r.show()
			}
		}
	})
}

func (r *reporter) show() {
	status := r.status()
	if r.terminal {
		_, _ = fmt.Fprintf(r.out, "\r\033[K%s", status)
		return
	}
	r.line("%s", status)
}

func (r *reporter) status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := time.Since(r.began).Round(time.Second)
	if r.compiled == 0 && r.downloaded > 0 {
		return fmt.Sprintf("building %s: %s, %d modules downloaded", r.name, elapsed, r.downloaded)
	}
	return fmt.Sprintf("building %s: %s, %d packages compiled", r.name, elapsed, r.compiled)
}

func (r *reporter) stop(err error) {
	close(r.done)
	r.ticker.Wait()
	if r.terminal {
		_, _ = fmt.Fprint(r.out, "\r\033[K")
	}
	if err == nil && r.why != "" {
		r.line("built %s in %s", r.name, time.Since(r.began).Round(time.Second))
	}
}

// Write takes the go command's output.
func (r *reporter) Write(data []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = append(r.partial, data...)
	for {
		end := bytes.IndexByte(r.partial, '\n')
		if end < 0 {
			return len(data), nil
		}
		r.take(string(r.partial[:end]))
		r.partial = r.partial[end+1:]
	}
}

func (r *reporter) take(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		r.downloaded++
	case line != "" && !strings.ContainsAny(line, " \t:#"):
		r.compiled++
	default:
		r.other = append(r.other, line)
		if len(r.other) > keptLines {
			r.other = r.other[1:]
		}
	}
}

// failure is what the go command said beyond its progress.
func (r *reporter) failure() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.other
	if len(r.partial) > 0 {
		lines = append(lines, string(r.partial))
	}
	if len(lines) == 0 {
		return ""
	}
	return ":\n" + strings.Join(lines, "\n")
}
