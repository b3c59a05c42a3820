//go:build unix

// Package filelock keeps two processes, or two goroutines of one, from doing the same work on the
// same files at the same time. The lock belongs to the open file, so it ends with the process
// whatever way the process ends.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollInterval is how often a waiter asks again. flock(2) can wait by itself, but then a cancelled
// context would go unnoticed.
const pollInterval = 100 * time.Millisecond

// Lock is a held lock. The zero value holds nothing.
type Lock struct {
	file *os.File
}

// Acquire takes the exclusive lock on the file at path, which is created with its folders when
// absent. While somebody else holds it Acquire waits; waiting, when not nil, is then called once.
// It fails when ctx ends first or the file cannot be made.
func Acquire(ctx context.Context, path string, waiting func()) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of lock %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock %s: %w", path, err)
	}
	for told := false; ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return &Lock{file: file}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), file.Close())
		}
		if !told && waiting != nil {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for lock %s: %w", path, context.Cause(ctx)), file.Close())
		case <-time.After(pollInterval):
		}
	}
}

// Release gives the lock back. The file stays: removing it would let two later holders lock two
// different files of the same name.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("releasing lock %s: %w", file.Name(), err)
	}
	return nil
}
