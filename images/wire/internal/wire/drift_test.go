package wire

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/internal/plan"
)

func TestChangeByHand(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.Set("naming", "renameMovies", false)
	l.stack.Radarr.SetClientField("qBittorrent", "removeCompletedDownloads", false)
	l.stack.QBittorrent.SetPreference("upnp", true)
	l.stack.Jellyseerr.EnableOnly("Series")
	before := l.stack.Writes()

	want := []string{
		"naming.renameMovies was changed by hand to false (the settings say true)",
		"download client qBittorrent.removeCompletedDownloads was changed by hand to false (the settings say true)",
	}
	for range 2 {
		report := l.connect()
		assert.Equal(t, want, report.App(plan.Radarr).Drift)
		assert.Equal(t, []string{"preferences.upnp was changed by hand to true (the settings say false)"},
			report.App(plan.QBittorrent).Drift)
		assert.Equal(t, []string{"libraries.id-Movies was changed by hand to false (the settings say true)"},
			report.App(plan.Jellyseerr).Drift)
		assert.Contains(t, report.Lines(), "radarr: "+want[0])
		assert.Equal(t, before, l.stack.Writes(), "it is left so")
	}
	assert.True(t, l.check().Differs())

	l.plan["enforce"] = []any{"radarr", "jellyseerr"}
	report := l.connect()
	assert.Equal(t, []string{
		"naming updated (renameMovies put back)",
		"download client qBittorrent updated (removeCompletedDownloads put back)",
	}, report.App(plan.Radarr).Changes)
	assert.Equal(t, true, l.stack.Radarr.Get("naming", "renameMovies"))
	assert.Equal(t, []string{"Movies", "Series"}, l.stack.Jellyseerr.Enabled())
	assert.Equal(t, true, l.stack.QBittorrent.Preference("upnp"), "qbittorrent is not enforced")
	l.stack.QBittorrent.SetPreference("upnp", false)
	l.writesNothing()
}

func TestChangeByHandBesideAChangedSetting(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.QBittorrent.SetPreference("temp_path", "/by/hand")
	l.app("qbittorrent")["savePath"] = l.stack.Dir + "/downloads/elsewhere"
	report := l.connect()
	assert.Len(t, report.App(plan.QBittorrent).Drift, 1)
	assert.Equal(t, "/by/hand", l.stack.QBittorrent.Preference("temp_path"),
		"it is kept when something else is written")
	assert.Equal(t, l.stack.Dir+"/downloads/elsewhere", l.stack.QBittorrent.Preference("save_path"))
}

// The port that a VPN always forwards is set only if the plan has one, and follows it.
func TestListenPort(t *testing.T) {
	l := newLab(t)
	l.connect()
	assert.Equal(t, 6881.0, l.stack.QBittorrent.Preference("listen_port"), "the plan has no port")
	for _, port := range []int{4711, 4712} {
		l.app("qbittorrent")["listenPort"] = port
		report := l.connect()
		assert.Equal(t, []string{"preferences updated (listen_port)"}, report.App(plan.QBittorrent).Changes)
		assert.Equal(t, float64(port), l.stack.QBittorrent.Preference("listen_port"))
		l.writesNothing()
	}
	l.stack.QBittorrent.SetPreference("listen_port", 6881.0)
	assert.Equal(t, []string{"preferences.listen_port was changed by hand to 6881 (the settings say 4712)"},
		l.connect().App(plan.QBittorrent).Drift)
	delete(l.app("qbittorrent"), "listenPort")
	l.writesNothing()
}

func TestChangedSettings(t *testing.T) {
	l := newLab(t)
	l.connect()
	require.NoError(t, os.Mkdir(l.stack.Dir+"/box/films", 0o755))
	l.app("radarr")["rootFolder"] = l.stack.Dir + "/box/films"
	l.app("radarr")["qualityProfile"] = "Any"
	l.stack.QBittorrent.SetPassword(otherPassword)
	l.app("qbittorrent")["password"] = otherPassword
	report := l.connect()
	assert.Empty(t, report.App(plan.Radarr).Drift)
	assert.Contains(t, report.App(plan.Radarr).Changes, "root folder "+l.stack.Dir+"/box/films added")
	assert.Contains(t, report.App(plan.Radarr).Changes, "download client qBittorrent updated (password)")
	assert.Contains(t, report.App(plan.Sonarr).Changes, "download client qBittorrent updated (password)")
	assert.Equal(t, []string{"server Radarr updated (activeProfileId, activeProfileName, activeDirectory)"},
		report.App(plan.Jellyseerr).Changes)
	l.writesNothing()
}

func TestSecretChangedByHand(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.SetClientField("qBittorrent", "password", "by hand")
	l.stack.Prowlarr.SetIndexerField("rarbg (Jackett)", "apiKey", "by hand")
	check := l.check()
	assert.Contains(t, strings.Join(check.Lines(), "\n"),
		"radarr: would change: download client qBittorrent updated (password)")
	report := l.connect()
	assert.Equal(t, []string{"download client qBittorrent updated (password)"}, report.App(plan.Radarr).Changes)
	assert.Equal(t, []string{"indexer rarbg (Jackett) updated (apiKey)"}, report.App(plan.Prowlarr).Changes)
	l.writesNothing()
}

func TestLostState(t *testing.T) {
	l := newLab(t)
	l.connect()
	want := l.stack.Snapshot()
	l.dir = memoryDir(t)
	report := l.connect()
	assert.Equal(t, want, l.stack.Snapshot(), "nothing is there twice")
	assert.Equal(t, []string{"host updated (password)", "download client qBittorrent updated (password)",
		"notification Jellyfin updated (apiKey)"}, report.App(plan.Radarr).Changes,
		"of a secret nobody can see whether it is ours")
	l.writesNothing()
}

func TestAppThatWasSetUpAnew(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.Set("host", "username", "")
	l.stack.Radarr.Set("naming", "renameMovies", false)
	report := l.connect()
	assert.Empty(t, report.App(plan.Radarr).Drift)
	assert.Equal(t, true, l.stack.Radarr.Get("naming", "renameMovies"))
	assert.Equal(t, "admin", l.stack.Radarr.Get("host", "username"))
	l.writesNothing()
}

func TestRemovedApps(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.AddClient("Transmission by hand")
	l.stack.Radarr.AddNotification("Webhook by hand")
	l.stack.Prowlarr.AddIndexer("thepiratebay")
	l.stack.Jackett.Configure("eztv")
	l.stack.Jellyseerr.AddServer("sonarr", "Sonarr 4K by hand")

	delete(l.plan, "sonarr")
	l.app("prowlarr")["indexers"] = []any{}
	l.app("jackett")["indexers"] = []any{}
	report := l.connect()
	assert.Equal(t, []string{"indexer rarbg removed"}, report.App(plan.Jackett).Changes)
	assert.Equal(t, []string{"application Sonarr removed", "indexer 1337x removed", "indexer rarbg (Jackett) removed"},
		report.App(plan.Prowlarr).Changes)
	assert.Equal(t, []string{"server Sonarr removed"}, report.App(plan.Jellyseerr).Changes)
	assert.Equal(t, []string{"API key sonarr removed"}, report.App(plan.Jellyfin).Changes)
	assert.Equal(t, []string{"Seerr", "homelab", "radarr"}, l.stack.Jellyfin.Keys())
	assert.Equal(t, []string{"thepiratebay"}, l.stack.Prowlarr.Indexers(), "what we did not make is not touched")
	assert.True(t, l.stack.Jackett.Configured("eztv"))
	assert.Len(t, l.stack.Jellyseerr.Servers("sonarr"), 1)
	assert.Nil(t, l.stack.Prowlarr.Application("Sonarr"))
	assert.NotNil(t, l.stack.Prowlarr.Application("Radarr"))
	assert.Empty(t, l.stack.Radarr.Indexers())
	l.writesNothing()

	delete(l.plan, "qbittorrent")
	delete(l.plan, "jackett")
	report = l.connect()
	assert.Equal(t, []string{"download client qBittorrent removed"}, report.App(plan.Radarr).Changes)
	assert.Nil(t, l.stack.Radarr.Client("qBittorrent"))
	assert.NotNil(t, l.stack.Radarr.Client("Transmission by hand"))
	l.writesNothing()

	delete(l.plan, "jellyfin")
	delete(l.plan, "jellyseerr")
	report = l.connect()
	assert.Equal(t, []string{"notification Jellyfin removed"}, report.App(plan.Radarr).Changes)
	assert.Nil(t, l.stack.Radarr.Notification("Jellyfin"))
	assert.NotNil(t, l.stack.Radarr.Notification("Webhook by hand"))
	l.writesNothing()
}

func TestWhatWasThereBeforeIsNotOurs(t *testing.T) {
	l := newLab(t)
	l.stack.Prowlarr.AddIndexer("1337x")
	l.stack.Prowlarr.SetIndexerField("1337x", "appProfileId", 1.0)
	l.stack.Jackett.Configure("rarbg")
	l.connect()
	l.app("prowlarr")["indexers"] = []any{}
	l.app("jackett")["indexers"] = []any{}
	l.connect()
	assert.Equal(t, []string{"1337x"}, l.stack.Prowlarr.Indexers())
	assert.True(t, l.stack.Jackett.Configured("rarbg"))
	l.writesNothing()
}
