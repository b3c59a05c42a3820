// Package logs writes the log in the form of Authelia's JSON log: one object a line, its keys
// sorted, with level, msg and time (RFC 3339 with the local offset) beside the fields of the
// request.
package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"time"
)

// Level is how important a line is.
type Level int

// The levels, as the configuration names them; Warn is written as "warning".
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
	Fatal
)

func (l Level) String() string {
	return [...]string{"trace", "debug", "info", "warning", "error", "fatal"}[l]
}

// ParseLevel reads a level's name; an unknown name is Info.
func ParseLevel(name string) Level {
	for l := Trace; l <= Fatal; l++ {
		if strings.HasPrefix(l.String(), name) && name != "" {
			return l
		}
	}
	return Info
}

// Fields are a line's own keys.
type Fields map[string]any

// Logger writes lines; it is safe for use by many goroutines.
type Logger struct {
	mu    sync.Mutex
	level Level
	now   func() time.Time
	path  string
	file  *os.File
	also  io.Writer
}

// Open returns a logger that appends to the file at path, and writes to also too unless that is
// nil. Without a path also is the only place, and must not be nil. Only the owner can read a file
// it makes, as with the real program.
func Open(path string, also io.Writer, level Level, now func() time.Time) (*Logger, error) {
	l := &Logger{level: level, now: now, path: path, also: also}
	if path != "" {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("opening the log: %w", err)
		}
		l.file = file
	}
	return l, nil
}

// Reopen opens the file anew and, as the real program does, empties it.
func (l *Logger) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("reopening the log: %w", err)
	}
	_ = l.file.Close()
	l.file = file
	return nil
}

// Close closes the file.
func (l *Logger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Log writes one line. A line that cannot be written is lost: there is nowhere to say so.
func (l *Logger) Log(level Level, fields Fields, err error, format string, args ...any) {
	if level < l.level {
		return
	}
	line := maps.Clone(fields)
	if line == nil {
		line = Fields{}
	}
	if err != nil {
		line["error"] = err.Error()
	}
	line["level"] = level.String()
	line["msg"] = fmt.Sprintf(format, args...)
	line["time"] = l.now().Format(time.RFC3339)
	var out bytes.Buffer
	if json.NewEncoder(&out).Encode(line) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = l.file.Write(out.Bytes())
	}
	if l.also != nil {
		_, _ = l.also.Write(out.Bytes())
	}
}
