package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"homelab/images/wire/internal/plan"
)

// activeSeconds is how long ago a client may have said something to count. Those that play do so
// every few seconds; Jellyfin forgets after five minutes what one has played that is gone.
const activeSeconds = "300"

// jellyfin asks Jellyfin. Until a pass has made our API key, all that is known is that it runs.
func (o *Observer) jellyfin(ctx context.Context, l *look) error {
	// While it starts or migrates, its set-up server answers 200 in its place.
	err := l.get(ctx, "/health", nil, func(body io.Reader) error {
		word, err := io.ReadAll(io.LimitReader(body, maxAnswer))
		if err == nil && strings.TrimSpace(string(word)) != "Healthy" {
			return errors.New("it does not say that it is healthy")
		}
		return err
	})
	if err != nil {
		return err
	}
	key := o.credential(l, plan.Jellyfin)
	if key == "" {
		return nil
	}
	l.header.Set("Authorization", fmt.Sprintf("MediaBrowser Token=%q", key))
	playing := 0
	err = list(ctx, l, "/Sessions", url.Values{"activeWithinSeconds": {activeSeconds}}, func(session struct {
		ID      *string
		Playing *json.RawMessage `json:"NowPlayingItem"`
	}) error {
		if session.ID == nil {
			return missing("Id")
		}
		if session.Playing != nil && string(*session.Playing) != "null" {
			playing++
		}
		return nil
	})
	switch {
	case refuses(err):
		return err
	case err != nil:
		l.leave("who is watching", err)
	default:
		l.set(streams, float64(playing))
	}
	var counts struct {
		Movies   *float64 `json:"MovieCount"`
		Episodes *float64 `json:"EpisodeCount"`
	}
	if err := l.object(ctx, "/Items/Counts", nil, &counts); err != nil {
		l.leave("the library", err)
		return nil
	}
	l.keep(field{"MovieCount", counts.Movies, libraryItems, []string{"movies"}},
		field{"EpisodeCount", counts.Episodes, libraryItems, []string{"episodes"}})
	return nil
}

// jellyseerr asks Jellyseerr. Until a pass has read its API key, all that is known is that it runs.
func (o *Observer) jellyseerr(ctx context.Context, l *look) error {
	l.base += "/api/v1"
	var public struct {
		Initialized *bool `json:"initialized"`
	}
	if err := l.object(ctx, "/settings/public", nil, &public); err != nil {
		return err
	}
	if public.Initialized == nil {
		return missing("initialized")
	}
	key := o.credential(l, plan.Jellyseerr)
	if key == "" {
		return nil
	}
	l.header.Set("X-Api-Key", key)
	var counts struct {
		Pending    *float64 `json:"pending"`
		Approved   *float64 `json:"approved"`
		Declined   *float64 `json:"declined"`
		Processing *float64 `json:"processing"`
		Available  *float64 `json:"available"`
		Completed  *float64 `json:"completed"`
	}
	err := l.object(ctx, "/request/count", nil, &counts)
	switch {
	case refuses(err):
		return err
	case err != nil:
		l.leave("the requests", err)
		return nil
	}
	of := func(status string, value *float64) field { return field{status, value, requests, []string{status}} }
	l.keep(of("pending", counts.Pending), of("approved", counts.Approved), of("declined", counts.Declined),
		of("processing", counts.Processing), of("available", counts.Available), of("completed", counts.Completed))
	return nil
}

// credential returns the API key that an app has made for us, "" if there is none.
func (o *Observer) credential(l *look, app plan.App) string {
	key, err := o.options.Credential(app)
	if err != nil {
		l.leave("what needs its key", err)
	}
	return key
}
