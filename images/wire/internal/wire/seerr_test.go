package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/internal/plan"
)

func TestBrokenFirstRunOfJellyseerr(t *testing.T) {
	whole := newLab(t)
	whole.connect()
	l := newLab(t)
	url := plan.URL(l.stack.Jellyfin.URL())
	l.stack.Jellyseerr.BreakFirstRun(url.Host(), url.Port())
	report := l.connect()
	assert.Contains(t, report.App(plan.Jellyseerr).Changes, "jellyfin updated (ip, port)",
		"a login without a host makes it forget the host")
	assert.Equal(t, whole.stack.Snapshot(), l.stack.Snapshot())
	l.writesNothing()
}

func TestEarlierJellyseerr(t *testing.T) {
	l := newLab(t)
	l.stack.Jellyseerr.Legacy = true
	l.connect()
	assert.Equal(t, []string{"Movies", "Series"}, l.stack.Jellyseerr.Enabled())
	l.writesNothing()

	// One more library must not disable the others, nor enable one that was disabled by hand.
	l.stack.Jellyseerr.EnableOnly("Series")
	l.stack.Jellyfin.AddLibrary("More", "movies", l.stack.Dir)
	report := l.connect()
	assert.Equal(t, []string{"Series", "More"}, l.stack.Jellyseerr.Enabled())
	assert.Len(t, report.App(plan.Jellyseerr).Drift, 1)
}

func TestALibraryMadeByHandIsEnabled(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Jellyfin.AddLibrary("More", "movies", l.stack.Dir)
	l.stack.Jellyfin.AddLibrary("Songs", "music", l.stack.Dir)
	l.connect()
	assert.Equal(t, []string{"Movies", "Series", "More"}, l.stack.Jellyseerr.Enabled())
	l.writesNothing()
}

func TestLibrariesThatAreThere(t *testing.T) {
	l := newLab(t)
	l.stack.Jellyfin.AddLibrary("movies", "movies", "/elsewhere")
	report := l.connect()
	require.Len(t, report.App(plan.Jellyfin).Changes, 5)
	assert.Equal(t, "library Movies updated ("+l.stack.Dir+"/box/movies)", report.App(plan.Jellyfin).Changes[3],
		"the path is added to the library of that name, whatever its case")
	l.writesNothing()
	l.app("jellyfin")["libraries"].([]any)[0].(map[string]any)["type"] = "music"
	report = l.connect()
	assert.Equal(t, []string{"library Movies is of type movies (the settings say music); Jellyfin cannot change it"},
		report.App(plan.Jellyfin).Drift)
}

func TestEarlierQBittorrent(t *testing.T) {
	l := newLab(t)
	l.stack.QBittorrent.Old = true
	l.connect()
	l.writesNothing()
}

func TestUserInUpperCase(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"radarr", "sonarr", "prowlarr"} {
		l.app(name)["user"] = "Admin"
	}
	l.connect()
	assert.Equal(t, "admin", l.stack.Radarr.Get("host", "username"))
	l.writesNothing()
}

func TestFewApps(t *testing.T) {
	for _, name := range []string{"qbittorrent", "radarr", "sonarr", "prowlarr", "jackett", "jellyfin"} {
		t.Run("without "+name, func(t *testing.T) {
			l := newLab(t)
			delete(l.plan, name)
			if name == "jellyfin" {
				delete(l.plan, "jellyseerr")
			}
			l.connect()
			l.writesNothing()
			assert.Empty(t, l.stack.Servers()[name].Writes())
		})
	}
}
