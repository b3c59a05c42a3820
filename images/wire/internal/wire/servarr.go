package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"homelab/images/wire/internal/plan"
)

// downloadClient is the name of the download client in Radarr and Sonarr.
const downloadClient = "qBittorrent"

// notification is the name in Radarr and Sonarr of the notification ("Connect") of Jellyfin, so that
// what they import, rename or delete is in the library at once.
const notification = "Jellyfin"

// kind is what differs between Radarr and Sonarr.
type kind struct {
	category string   // the field of the download client that holds the category
	events   []string // of which Jellyfin is told
	naming   []field
}

// Names are such that Jellyfin recognizes the film or series, by its number in the folder's name.
var (
	radarrKind = kind{"movieCategory", []string{
		"onDownload", "onUpgrade", "onRename", "onMovieDelete", "onMovieFileDelete", "onMovieFileDeleteForUpgrade",
	}, []field{
		{name: "renameMovies", want: true},
		{name: "replaceIllegalCharacters", want: true},
		{name: "colonReplacementFormat", want: "smart"},
		{name: "standardMovieFormat", want: "{Movie CleanTitle} ({Release Year}) {[Quality Full]}{-Release Group}"},
		{name: "movieFolderFormat", want: "{Movie CleanTitle} ({Release Year}) [tmdbid-{TmdbId}]"},
	}}
	sonarrKind = kind{"tvCategory", []string{
		"onDownload", "onUpgrade", "onRename", "onSeriesDelete", "onEpisodeFileDelete", "onEpisodeFileDeleteForUpgrade",
	}, []field{
		{name: "renameEpisodes", want: true},
		{name: "replaceIllegalCharacters", want: true},
		{name: "colonReplacementFormat", want: 4}, // smart
		{name: "standardEpisodeFormat",
			want: "{Series CleanTitle} - S{season:00}E{episode:00} - {Episode CleanTitle} {[Quality Full]}{-Release Group}"},
		{name: "dailyEpisodeFormat",
			want: "{Series CleanTitle} - {Air-Date} - {Episode CleanTitle} {[Quality Full]}{-Release Group}"},
		{name: "animeEpisodeFormat",
			want: "{Series CleanTitle} - S{season:00}E{episode:00} - {absolute:000} - {Episode CleanTitle} " +
				"{[Quality Full]}{-Release Group}"},
		{name: "seriesFolderFormat", want: "{Series CleanTitle} [tvdbid-{TvdbId}]"},
		{name: "seasonFolderFormat", want: "Season {season:00}"},
		{name: "specialsFolderFormat", want: "Specials"},
	}}
)

// mediaManagement is for a library that is a network mount: hardlinks do not reach across, and a
// mount that is away must not look like empty folders to be removed.
func mediaManagement() []field {
	return []field{
		{name: "copyUsingHardlinks", want: false},
		{name: "rescanAfterRefresh", want: "afterManual"},
		{name: "minimumFreeSpaceWhenImporting", want: 1024}, // MiB
		{name: "deleteEmptyFolders", want: false},
	}
}

func (a *app) radarr(ctx context.Context) error {
	return a.servarr(ctx, a.plan.Radarr, radarrKind)
}

func (a *app) sonarr(ctx context.Context) error {
	return a.servarr(ctx, a.plan.Sonarr, sonarrKind)
}

// servarrState is what Radarr or Sonarr has before we write.
type servarrState struct {
	host, naming, media               map[string]any
	roots, clients, clientSchema      []map[string]any
	notifications, notificationSchema []map[string]any
}

func (a *app) servarr(ctx context.Context, s *plan.ServarrPlan, k kind) error {
	c := a.newArr("v3", s.APIKey)
	if err := c.identify(ctx); err != nil {
		return err
	}
	var have servarrState
	if err := c.getAll(ctx,
		read{"config/host", &have.host}, read{"rootfolder", &have.roots},
		read{"config/naming", &have.naming}, read{"config/mediamanagement", &have.media},
		read{"downloadclient", &have.clients}, read{"downloadclient/schema", &have.clientSchema},
		read{"notification", &have.notifications}, read{"notification/schema", &have.notificationSchema},
	); err != nil {
		return err
	}
	user := userFields(s.User, s.Password)
	client := c.clientFields(k)
	template, err := c.template(have.clientSchema, "download client", "QBittorrent")
	if err != nil {
		return err
	}
	connect, err := c.template(have.notificationSchema, "notification", "MediaBrowser")
	if err != nil {
		return err
	}
	told := c.notificationFields(k, connect)
	if err := errors.Join(
		c.needs(have.host, "config/host", user),
		c.needs(have.naming, "config/naming", k.naming),
		c.needs(have.media, "config/mediamanagement", mediaManagement()),
		c.needs(template, "QBittorrent", client),
		c.needs(connect, "MediaBrowser", told),
	); err != nil {
		return err
	}
	if err := c.forgetIfReset(have.host); err != nil {
		return err
	}
	// The user comes first: until there is one, the app counts as set up anew.
	if err := c.config(ctx, hostResource, "host", have.host, user); err != nil {
		return err
	}
	err = errors.Join(
		c.rootFolder(ctx, s.RootFolder, have.roots),
		c.config(ctx, "naming", "naming", have.naming, k.naming),
		c.config(ctx, "mediamanagement", "mediaManagement", have.media, mediaManagement()),
		c.downloadClient(ctx, have.clients, template, client),
	)
	// Nothing else needs the notification.
	if err := c.notification(ctx, have.notifications, connect, told); err != nil {
		c.problem("%v", err)
	}
	return err
}

// rootFolder adds the root folder. An earlier one stays, because films can be in it.
func (c *arr) rootFolder(ctx context.Context, path string, roots []map[string]any) error {
	o := object{key: string(c.name) + "/rootfolder/" + path, label: "root folder " + path,
		fields: []field{{name: "path", want: path}}}
	for _, root := range roots {
		if root["path"] == path || root["path"] == path+"/" {
			return nil
		}
	}
	return c.settle(ctx, o, func(ctx context.Context, _ map[string]any) error {
		return c.send(ctx, http.MethodPost, "rootfolder", map[string]any{"path": path})
	})
}

// clientFields are the fields of the download client, nil if qBittorrent does not run.
func (c *arr) clientFields(k kind) []field {
	q := c.plan.QBittorrent
	if q == nil {
		return nil
	}
	return []field{
		{name: "enable", want: true},
		{name: "removeCompletedDownloads", want: true},
		{name: "fields.host", want: q.URL.Host()},
		{name: "fields.port", want: q.URL.Port()},
		{name: "fields.useSsl", want: q.URL.TLS()},
		{name: "fields.username", want: q.User},
		{name: "fields.password", want: string(q.Password), secret: true},
		{name: "fields." + k.category, want: string(c.name)},
	}
}

func (c *arr) downloadClient(ctx context.Context, clients []map[string]any, template map[string]any,
	fields []field) error {
	const resource = "downloadclient"
	prefix := fmt.Sprintf("%s/%s/", c.name, resource)
	label := "download client " + downloadClient
	if !c.plan.Has(plan.QBittorrent) {
		return c.prune(ctx, prefix, "download client", nil, func(name string) map[string]any {
			return named(clients, "name", name)
		}, c.remove(resource))
	}
	if !c.usable(plan.QBittorrent) {
		c.blocked(label, plan.QBittorrent)
		return nil
	}
	template["name"] = downloadClient
	return c.provider(ctx, resource, object{
		key: prefix + downloadClient, label: label,
		actual: named(clients, "name", downloadClient), template: template, fields: fields,
	})
}

// notificationFields are the fields of the notification, nil if Jellyfin does not run. Each app has
// an API key of its own in Jellyfin.
func (c *arr) notificationFields(k kind, template map[string]any) []field {
	j := c.plan.Jellyfin
	if j == nil {
		return nil
	}
	fields := []field{{name: "onGrab", want: false}}
	for _, event := range k.events {
		fields = append(fields, field{name: event, want: true})
	}
	fields = append(fields,
		field{name: "fields.host", want: j.URL.Host()},
		field{name: "fields.port", want: j.URL.Port()},
		field{name: "fields.useSsl", want: j.URL.TLS()},
		field{name: "fields.apiKey", want: c.keys[c.name], secret: true},
		field{name: "fields.notify", want: false}, // Jellyfin shows no messages
		field{name: "fields.updateLibrary", want: true},
		field{name: "fields.mapFrom", want: "", plain: orEmpty}, // both have the same paths
		field{name: "fields.mapTo", want: "", plain: orEmpty},
	)
	if entryOf(template, "urlBase") != nil {
		fields = append(fields, field{name: "fields.urlBase", want: "", plain: orEmpty})
	}
	return fields
}

func (c *arr) notification(ctx context.Context, notifications []map[string]any, template map[string]any,
	fields []field) error {
	const resource = "notification"
	prefix := fmt.Sprintf("%s/%s/", c.name, resource)
	label := resource + " " + notification
	if !c.plan.Has(plan.Jellyfin) {
		return c.prune(ctx, prefix, resource, nil, func(name string) map[string]any {
			return named(notifications, "name", name)
		}, c.remove(resource))
	}
	if c.keys[c.name] == "" {
		c.blocked(label, plan.Jellyfin)
		return nil
	}
	template["name"] = notification
	return c.provider(ctx, resource, object{
		key: prefix + notification, label: label,
		actual: named(notifications, "name", notification), template: template, fields: fields,
	})
}
