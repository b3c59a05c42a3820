package workspace

import (
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
)

// sharedLog takes the CLI's two output streams, which arrive from two goroutines.
type sharedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *sharedLog) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// collector gathers the engine's events.
type collector struct {
	stream chan events.EngineEvent
	stop   chan struct{}
	done   chan struct{}
	list   []events.EngineEvent
}

func collect() *collector {
	c := &collector{
		stream: make(chan events.EngineEvent), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		for {
			select {
			case event, open := <-c.stream:
				if !open {
					return
				}
				c.list = append(c.list, event)
			case <-c.stop:
				return
			}
		}
	}()
	return c
}

// finish returns the events once the operation is over. The Automation API closes the stream when
// the engine connected to it, and leaves it open when the CLI failed before that: so it cannot be
// waited for alone. The stream has no buffer, and the API has ended its sender by now, so nothing
// is lost.
func (c *collector) finish() []events.EngineEvent {
	close(c.stop)
	<-c.done
	return c.list
}
