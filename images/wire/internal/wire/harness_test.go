package wire

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
	"homelab/images/wire/internal/plan"
	"homelab/images/wire/internal/state"
)

// lab is a stack of fakes, a plan for it, and the state of our passes.
type lab struct {
	t     *testing.T
	stack *fake.Stack
	plan  map[string]any
	dir   string
	lines []string // what was logged
}

func newLab(t *testing.T) *lab {
	t.Helper()
	stack := fake.New(t)
	return &lab{t: t, stack: stack, plan: stack.Plan(), dir: memoryDir(t)}
}

// memoryDir returns a folder whose files need no disk, as a pass syncs each of its writes.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wire")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// app returns an app of the plan, to be changed.
func (l *lab) app(name string) map[string]any { return l.plan[name].(map[string]any) }

func (l *lab) wirer(options Options) *Wirer {
	l.t.Helper()
	data, err := json.Marshal(l.plan)
	require.NoError(l.t, err)
	parsed, err := plan.Parse(data)
	require.NoError(l.t, err)
	if options.Patience == 0 {
		options.Patience = time.Millisecond
	}
	options.Poll = 5 * time.Millisecond
	options.Log = func(line string) { l.lines = append(l.lines, line) }
	return New(parsed, options)
}

func (l *lab) passWith(ctx context.Context, wirer *Wirer) *Report {
	l.t.Helper()
	st, err := state.Open(l.dir, wirer.options.Check)
	require.NoError(l.t, err)
	defer func() { require.NoError(l.t, st.Close()) }()
	report := wirer.Pass(ctx, st)
	l.showsNoSecret(report)
	return report
}

func (l *lab) pass() *Report {
	l.t.Helper()
	return l.passWith(l.t.Context(), l.wirer(Options{}))
}

func (l *lab) check() *Report {
	l.t.Helper()
	before := l.stack.Writes()
	report := l.passWith(l.t.Context(), l.wirer(Options{Check: true}))
	assert.Equal(l.t, before, l.stack.Writes(), "a check writes nothing")
	return report
}

// connect makes a pass that must succeed.
func (l *lab) connect() *Report {
	l.t.Helper()
	report := l.pass()
	require.False(l.t, report.Failed(), strings.Join(report.Lines(), "\n"))
	return report
}

// writesNothing makes a pass that must have nothing to do.
func (l *lab) writesNothing() {
	l.t.Helper()
	before := l.stack.Writes()
	report := l.connect()
	assert.False(l.t, report.Differs(), strings.Join(report.Lines(), "\n"))
	assert.Equal(l.t, before, l.stack.Writes())
}

// showsNoSecret looks for every secret of the plan in all output and in the state.
func (l *lab) showsNoSecret(report *Report) {
	l.t.Helper()
	data, err := json.Marshal(report)
	require.NoError(l.t, err)
	text := strings.Join(report.Lines(), "\n") + string(data) + strings.Join(l.lines, "\n")
	for _, name := range []string{"applied.json"} {
		if content, err := os.ReadFile(l.dir + "/" + name); err == nil {
			text += string(content)
		}
	}
	for _, secret := range append(fake.Secrets(), otherPassword) {
		assert.NotContains(l.t, text, secret)
	}
}

// otherPassword is what a password is changed to.
const otherPassword = "another-password-0123456789"

var errCut = errors.New("the connection was cut")

// cutter cuts the program off at its n-th request: before the app has it, or after the app has
// done it.
type cutter struct {
	next    http.RoundTripper
	n       int
	after   bool
	cancel  context.CancelFunc
	mutex   sync.Mutex
	counted int
}

// RoundTrip sends a request, or cuts.
func (c *cutter) RoundTrip(request *http.Request) (*http.Response, error) {
	c.mutex.Lock()
	c.counted++
	count := c.counted
	c.mutex.Unlock()
	if c.n == 0 || count < c.n {
		return c.next.RoundTrip(request)
	}
	if count == c.n && c.after {
		// The app sees the whole request although the program is gone.
		response, err := c.next.RoundTrip(request.WithContext(context.WithoutCancel(request.Context())))
		if err == nil {
			err = response.Body.Close()
		}
		c.cancel()
		return nil, errors.Join(errCut, err)
	}
	c.cancel()
	return nil, errCut
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
