package guard

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// budgetPatience is how long a request waits for room in its pool.
const budgetPatience = 3 * time.Second

// budget bounds the bytes of request bodies that are held at one time, together and by client.
type budget struct {
	pool Pool
	sum  *semaphore.Weighted

	mu   sync.Mutex
	held map[string]int64
}

func newBudget(p Pool) *budget {
	return &budget{pool: p, sum: semaphore.NewWeighted(p.Total), held: map[string]int64{}}
}

// take reserves n bytes for the client and returns what gives them back, which may be called more
// than once. It returns false at once if the client has its share, and after a while if the pool is
// full.
func (b *budget) take(ctx context.Context, client string, n int64) (release func(), ok bool) {
	b.mu.Lock()
	if b.held[client]+n > b.pool.Share {
		b.mu.Unlock()
		return nil, false
	}
	b.held[client] += n
	b.mu.Unlock()
	giveBack := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held[client] -= n; b.held[client] == 0 {
			delete(b.held, client)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, budgetPatience)
	defer cancel()
	if b.sum.Acquire(ctx, n) != nil {
		giveBack()
		return nil, false
	}
	return sync.OnceFunc(func() {
		b.sum.Release(n)
		giveBack()
	}), true
}

// inUse returns how many bytes are held.
func (b *budget) inUse() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, held := range b.held {
		n += held
	}
	return n
}
