package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/internal/plan"
)

func TestWaitsForApps(t *testing.T) {
	l := newLab(t)
	l.stack.Radarr.SetDown(true)
	l.stack.Jellyfin.SetHealth("Degraded")
	go func() {
		time.Sleep(100 * time.Millisecond)
		l.stack.Jellyfin.SetHealth("Healthy")
		time.Sleep(100 * time.Millisecond)
		l.stack.Radarr.SetDown(false)
	}()
	report := l.passWith(t.Context(), l.wirer(Options{Patience: 30 * time.Second}))
	assert.False(t, report.Failed(), strings.Join(report.Lines(), "\n"))
	lines := strings.Join(l.lines, "\n")
	assert.Contains(t, lines, "waiting for radarr, at most 30s more: /ping answers 503")
	assert.Contains(t, lines, `/health says "Degraded", not "Healthy"`)
	l.writesNothing()
}

func TestAnAppThatDoesNotAnswerFailsOnlyWhatNeedsIt(t *testing.T) {
	whole := newLab(t)
	whole.connect()
	want := whole.stack.Snapshot()
	blocked := map[string]map[plan.App][]string{
		"radarr": {
			plan.Radarr:     {"is not ready after 1ms: /ping answers 503"},
			plan.Prowlarr:   {"application Radarr is left as it is, because radarr has a problem"},
			plan.Jellyseerr: {"server Radarr is left as it is, because radarr has a problem"},
		},
		"qbittorrent": {
			plan.QBittorrent: {"is not ready after 1ms: / answers 503"},
			plan.Radarr:      {"download client qBittorrent is left as it is, because qbittorrent has a problem"},
			plan.Sonarr:      {"download client qBittorrent is left as it is, because qbittorrent has a problem"},
		},
		"jackett": {
			plan.Jackett:  {"is not ready after 1ms: /health answers 503"},
			plan.Prowlarr: {"indexer rarbg (Jackett) is left as it is, because jackett has a problem"},
		},
		"prowlarr": {plan.Prowlarr: {"is not ready after 1ms: /ping answers 503"}},
		"jellyfin": {
			plan.Jellyfin:   {"is not ready after 1ms: /health answers 503"},
			plan.Radarr:     {"notification Jellyfin is left as it is, because jellyfin has a problem"},
			plan.Sonarr:     {"notification Jellyfin is left as it is, because jellyfin has a problem"},
			plan.Jellyseerr: {"the login is left as it is, because jellyfin has a problem"},
		},
		"jellyseerr": {plan.Jellyseerr: {"is not ready after 1ms: /api/v1/settings/public answers 503"}},
	}
	for down, problems := range blocked {
		t.Run(down, func(t *testing.T) {
			l := newLab(t)
			server := l.stack.Servers()[down]
			server.SetDown(true)
			report := l.pass()
			got := map[plan.App][]string{}
			for _, app := range report.Apps {
				if len(app.Problems) > 0 {
					got[app.App] = app.Problems
				} else {
					assert.NotEmpty(t, app.Changes, app.App)
				}
			}
			assert.Equal(t, problems, got)
			assert.Equal(t, down == "jellyseerr" || down == "jellyfin" || down == "radarr",
				!l.stack.Jellyseerr.Initialized(),
				"the set-up ends only when all is well")
			server.SetDown(false)
			l.connect()
			if down != "radarr" { // where Radarr and Sonarr have other numbers
				assert.Equal(t, want, l.stack.Snapshot())
			}
			l.writesNothing()
		})
	}
}

func TestAnAppThatIsGone(t *testing.T) {
	l := newLab(t)
	l.stack.Sonarr.Stop()
	report := l.pass()
	assert.Equal(t, []string{"is not ready after 1ms: it refuses the connection"}, report.App(plan.Sonarr).Problems)
}

const notGenerated = "the password of Jellyfin's user admin is not the generated one any more; set it back once " +
	"(pulumi stack output serviceAdministrators --show-secrets), after this run it can be changed"

// TestWrongKeys names the app, the setting and the folder, and never the key; see showsNoSecret.
func TestWrongKeys(t *testing.T) {
	for name, c := range map[string]struct {
		app     plan.App
		breakIt func(*lab)
		want    string
		without bool
	}{
		"radarr": {plan.Radarr, func(l *lab) { l.stack.Radarr.SetKey("x") },
			"refuses its API key (401): the key in /opt/homelab/radarr is not the one of homelab:services.radarr; ", false},
		"prowlarr": {plan.Prowlarr, func(l *lab) { l.stack.Prowlarr.SetKey("x") },
			"refuses its API key (401): the key in /opt/homelab/prowlarr is not the one of homelab:services.prowlarr; ", false},
		"no setting": {plan.Sonarr, func(l *lab) { l.stack.Sonarr.SetKey("x") },
			"refuses its API key (401): the key in /opt/homelab/sonarr is not the one of the plan's sonarr.apiKey; ", true},
		"qbittorrent": {plan.QBittorrent, func(l *lab) { l.stack.QBittorrent.SetPassword("x") },
			"refuses the login of its user (401): the password in /opt/homelab/qbittorrent is not the one of homelab:services.qbittorrent; ", false},
		"old qbittorrent": {plan.QBittorrent,
			func(l *lab) { l.stack.QBittorrent.Old = true; l.stack.QBittorrent.SetPassword("x") },
			"refuses the login of its user (401): the password in /opt/homelab/qbittorrent is not the one of homelab:services.qbittorrent; ", false},
		"jackett": {plan.Jackett, func(l *lab) { l.stack.Jackett.SetPassword("x") },
			"refuses the administrator's password (302): the password in /opt/homelab/jackett is not the one of homelab:services.jackett; ", false},
		"jackett's key": {plan.Jackett, func(l *lab) { l.app("jackett")["apiKey"] = otherPassword },
			"refuses its API key (401): the key in /opt/homelab/jackett is not the one of homelab:services.jackett; ", false},
		"jellyfin": {plan.Jellyfin, func(l *lab) { l.stack.Jellyfin.SetPassword("x") },
			"refuses the login of its administrator (401): " + notGenerated, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			if c.without {
				delete(l.app(string(c.app)), "setting")
			}
			c.breakIt(l)
			for range 2 {
				report := l.pass()
				require.NotEmpty(t, report.App(c.app).Problems)
				assert.Contains(t, report.App(c.app).Problems[0], c.want)
			}
		})
	}
}

func TestAWrongPasswordIsNotTriedAgainAndAgain(t *testing.T) {
	l := newLab(t)
	l.stack.QBittorrent.SetPassword("x")
	l.stack.Jellyfin.SetPassword("x")
	wirer := l.wirer(Options{})
	for range 8 {
		report := l.passWith(t.Context(), wirer)
		assert.True(t, report.Failed())
	}
	assert.False(t, l.stack.QBittorrent.Banned)
	assert.Equal(t, 1, l.stack.Jellyfin.Failures())
	report := l.passWith(t.Context(), wirer)
	assert.Contains(t, report.App(plan.QBittorrent).Problems[0], "it is not tried again before")

	for range 5 {
		l.pass() // a new program each time
	}
	report = l.pass()
	assert.Contains(t, report.App(plan.QBittorrent).Problems[0], "has banned this address")
}

func TestANewerVersionWithoutAField(t *testing.T) {
	for name, c := range map[string]struct {
		drop func(*lab)
		app  plan.App
		want string
	}{
		"schema": {func(l *lab) { l.stack.Radarr.DropField("movieCategory") }, plan.Radarr,
			"Radarr 6.4.4.10000 has no field movieCategory in QBittorrent any more: this version of homelab cannot connect it"},
		"notification": {func(l *lab) { l.stack.Sonarr.DropField("updateLibrary") }, plan.Sonarr,
			"Sonarr 4.0.19.3000 has no field updateLibrary in MediaBrowser any more: this version of homelab cannot connect it"},
		"naming": {func(l *lab) { l.stack.Sonarr.Drop("naming", "renameEpisodes") }, plan.Sonarr,
			"Sonarr 4.0.19.3000 has no field renameEpisodes in config/naming any more: this version of homelab cannot connect it"},
		"preferences": {func(l *lab) { l.stack.QBittorrent.SetPreference("current_network_interface", nil) },
			plan.QBittorrent,
			"qBittorrent has no preference current_network_interface any more: this version of homelab cannot connect it"},
		"application": {func(l *lab) { l.stack.Prowlarr.DropField("prowlarrUrl") }, plan.Prowlarr,
			"Prowlarr 2.6.5.5000 has no field prowlarrUrl in Radarr any more: this version of homelab cannot connect it"},
		"indexer": {func(l *lab) { l.stack.Prowlarr.DropField("apiPath") }, plan.Prowlarr,
			"Prowlarr 2.6.5.5000 has no field apiPath in Generic Torznab any more: this version of homelab cannot connect it"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.drop(l)
			report := l.pass()
			assert.Equal(t, []string{c.want}, report.App(c.app).Problems)
			assert.Empty(t, l.stack.Servers()[string(c.app)].Writes(), "nothing is written")
		})
	}
}

func TestWhatAnAppRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*lab)
		app     plan.App
		want    string
	}{
		"root folder": {func(l *lab) { l.app("radarr")["rootFolder"] = "/not/there" }, plan.Radarr,
			"writing root folder /not/there: it answers 400: Path: Path does not exist"},
		"quality profile": {func(l *lab) { l.app("sonarr")["qualityProfile"] = "8K" }, plan.Jellyseerr,
			"Sonarr has no quality profile 8K, but: Any, HD-1080p"},
		"library": {func(l *lab) {
			l.app("jellyfin")["libraries"] = []any{map[string]any{"name": "A", "type": "music", "path": "/not/there"}}
		}, plan.Jellyfin, "writing library A: it answers 404"},
		"removal at the ratio": {func(l *lab) {
			l.connect() // the first pass sets it; after that it is a change by hand
			l.stack.QBittorrent.SetPreference("max_ratio_enabled", true)
			l.stack.QBittorrent.SetPreference("max_ratio_act", 1.0)
		}, plan.Radarr, "testing download client qBittorrent before it is saved: it answers 400: Host: " +
			"qBittorrent is configured to remove torrents when they reach their Share Ratio Limit"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.breakIt(l)
			report := l.pass()
			require.NotEmpty(t, report.App(c.app).Problems)
			assert.Equal(t, c.want, report.App(c.app).Problems[0])
		})
	}
}
