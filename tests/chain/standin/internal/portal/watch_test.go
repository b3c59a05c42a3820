package portal_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watched waits until the portal has noticed that the users' database changed.
func watched(t *testing.T, w *world) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go w.portal.Watch(ctx)
	require.Eventually(t, func() bool {
		return strings.Contains(strings.Join(w.logged(), "\n"), "Reload successful")
	}, 30*time.Second, 50*time.Millisecond)
}
