package observe

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/images/wire/fake"
	"homelab/images/wire/internal/plan"
)

func TestAnotherAppAnswers(t *testing.T) {
	l := newLab(t, plan.Radarr)
	l.stack.Radarr.Break("/api/v3/system/status", 200, `{"appName":"Lidarr"}`)
	assert.Equal(t, down, l.round(plan.Radarr))
	assert.Equal(t, "radarr: it is not measured: what answers is not radarr", l.logged())
}

func TestKeysThatAreRefused(t *testing.T) {
	l := newLab(t)
	l.stack.Radarr.SetKey("another")
	l.stack.Jellyfin.RevokeKey("homelab")
	l.stack.Jellyseerr.SetKey("another")
	l.observer.Round(t.Context())
	for _, app := range []plan.App{plan.Radarr, plan.Jellyfin, plan.Jellyseerr} {
		assert.Equal(t, down, l.series(app))
	}
	lines := l.logged()
	assert.Contains(t, lines, "radarr: it is not measured: it refuses our key (401)")
	assert.Contains(t, lines, "jellyfin: it is not measured: it refuses our key (401)")
	assert.Contains(t, lines, "jellyseerr: it is not measured: it refuses our key (403)")
}

// TestKeysThatAreNotThereYet are no trouble: the first pass makes them.
func TestKeysThatAreNotThereYet(t *testing.T) {
	l := newLab(t, plan.Jellyfin, plan.Jellyseerr)
	l.keys = map[plan.App]string{}
	assert.Equal(t, "up 1\n", l.round(plan.Jellyfin))
	assert.Equal(t, "up 1\n", l.series(plan.Jellyseerr))
	l.stack.Jellyfin.SetHealth("Degraded")
	assert.Equal(t, down, l.round(plan.Jellyfin))
	assert.Equal(t, "jellyfin: it is not measured: it does not say that it is healthy", l.logged())
}

// TestSessionsOfQBittorrent are kept, and begun again when the app has forgotten them.
func TestSessionsOfQBittorrent(t *testing.T) {
	for name, old := range map[string]bool{"5.2": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, plan.QBittorrent)
			l.stack.QBittorrent.Old = old
			for range 3 {
				assert.Contains(t, l.round(plan.QBittorrent), "up 1\n")
			}
			assert.Equal(t, 1, l.stack.QBittorrent.Sessions())
			l.stack.QBittorrent.EndSessions()
			assert.Contains(t, l.round(plan.QBittorrent), "up 1\n")
			assert.Equal(t, 1, l.stack.QBittorrent.Sessions())
			assert.Empty(t, l.logged())
		})
	}
}

// TestAPasswordThatIsRefused is not tried again before a pass has connected the app, which bans who
// fails often.
func TestAPasswordThatIsRefused(t *testing.T) {
	for name, old := range map[string]bool{"5.2": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, plan.QBittorrent)
			q := l.stack.QBittorrent
			q.Old = old
			q.SetPassword("another")
			for range 4 {
				assert.Equal(t, down, l.round(plan.QBittorrent))
			}
			assert.Equal(t, 1, q.Failures())
			lines := l.logged()
			assert.Regexp(t, `^qbittorrent: it is not measured: it refuses our password \((401|200)\), which is not tried again before it is connected$`, lines)
			q.SetPassword(fake.QBittorrentPassword)
			assert.Equal(t, down, l.round(plan.QBittorrent))
			l.observer.Connected(plan.QBittorrent)
			assert.Contains(t, l.round(plan.QBittorrent), "up 1\n")
		})
	}
}
