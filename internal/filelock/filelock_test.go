//go:build unix

package filelock

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnlyOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "lock")
	var holders, most atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			lock, err := Acquire(t.Context(), path, nil)
			if !assert.NoError(t, err) {
				return
			}
			if now := holders.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(2 * time.Millisecond)
			holders.Add(-1)
			assert.NoError(t, lock.Release())
		})
	}
	group.Wait()
	assert.Equal(t, int32(1), most.Load())
}

func TestWaiterIsToldAndCanGiveUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := Acquire(t.Context(), path, nil)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	told := 0
	_, err = Acquire(ctx, path, func() { told++ })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 1, told)

	require.NoError(t, held.Release())
	require.NoError(t, held.Release(), "a second release does nothing")
	again, err := Acquire(t.Context(), path, nil)
	require.NoError(t, err)
	require.NoError(t, again.Release())
}

func TestUnusablePathIsAnError(t *testing.T) {
	_, err := Acquire(t.Context(), t.TempDir(), nil)
	require.ErrorContains(t, err, "opening lock")
}
