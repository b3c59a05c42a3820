package wire

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/internal/plan"
)

func TestFirstPass(t *testing.T) {
	l := newLab(t)
	report := l.connect()
	lines := strings.ReplaceAll(strings.Join(report.Lines(), "\n"), l.stack.Dir, "")
	assert.Equal(t, strings.TrimSpace(`
qbittorrent: preferences updated (save_path, temp_path_enabled, temp_path, auto_tmm_enabled, current_network_interface, max_ratio_act, upnp, web_ui_upnp); category radarr added; category sonarr added
jellyfin: API key homelab added; API key radarr added; API key sonarr added; library Movies added; library Series added
radarr: host updated (authenticationMethod, username, password); root folder /box/movies added; naming updated (renameMovies, colonReplacementFormat, standardMovieFormat, movieFolderFormat); mediaManagement updated (copyUsingHardlinks, rescanAfterRefresh, minimumFreeSpaceWhenImporting, deleteEmptyFolders); download client qBittorrent added; notification Jellyfin added
sonarr: host updated (authenticationMethod, username, password); root folder /box/tv added; naming updated (renameEpisodes, colonReplacementFormat, standardEpisodeFormat, dailyEpisodeFormat, animeEpisodeFormat, seriesFolderFormat, seasonFolderFormat, specialsFolderFormat); mediaManagement updated (copyUsingHardlinks, rescanAfterRefresh, minimumFreeSpaceWhenImporting, deleteEmptyFolders); download client qBittorrent added; notification Jellyfin added
jackett: indexer rarbg added
prowlarr: host updated (authenticationMethod, username, password); application Radarr added; application Sonarr added; indexer 1337x added; indexer rarbg (Jackett) added
jellyseerr: first login made; libraries read from Jellyfin; libraries updated (id-Movies, id-Series); server Radarr added; server Sonarr added; settings updated (applicationUrl, localLogin, newPlexLogin); set-up updated (completed)
`), lines)

	assert.Equal(t, "kept", l.stack.Radarr.Get("naming", "newerThanUs"), "what we do not know is kept")
	assert.Equal(t, 4.0, l.stack.Sonarr.Get("naming", "colonReplacementFormat"))
	assert.Equal(t, []string{"1337x (Prowlarr)", "rarbg (Jackett) (Prowlarr)"}, l.stack.Radarr.Indexers())
	assert.Equal(t, 1, l.stack.Prowlarr.Syncs)
	assert.Equal(t, []string{"Movies", "Series"}, l.stack.Jellyseerr.Enabled())
	assert.True(t, l.stack.Jellyseerr.Initialized())
	assert.Equal(t, 1, l.stack.Jellyfin.Sessions(), "only Jellyseerr's own session is left")
	assert.Equal(t, []string{"Seerr", "homelab", "radarr", "sonarr"}, l.stack.Jellyfin.Keys())
	for _, name := range []string{"applied.json", "credentials.json"} {
		info, err := os.Stat(l.dir + "/" + name)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	l.writesNothing()
	assert.Equal(t, 1, l.stack.Jellyfin.Logins(), "after the first pass there are keys")
	assert.Equal(t, 1, l.stack.Jellyseerr.Logins())
	check := l.check()
	assert.False(t, check.Differs() || check.Failed())
}

func TestCheckWritesNothing(t *testing.T) {
	l := newLab(t)
	report := l.check()
	assert.True(t, report.Differs())
	assert.Empty(t, l.stack.Writes())
	assert.Contains(t, strings.Join(report.Lines(), "\n"), "radarr: would change: host updated")
	for _, app := range []plan.App{plan.QBittorrent, plan.Radarr, plan.Jackett, plan.Jellyfin, plan.Jellyseerr} {
		assert.NotEmpty(t, report.App(app).Changes, app)
	}
	require.NotNil(t, l.connect())
}
