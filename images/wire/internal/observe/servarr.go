package observe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"homelab/images/wire/internal/plan"
)

// servarr returns how Radarr and Sonarr are asked.
func servarr(key plan.Secret) func(context.Context, *look) error {
	return func(ctx context.Context, l *look) error {
		if err := l.identify(ctx, "v3", key); err != nil {
			return err
		}
		l.health(ctx)
		l.queue(ctx)
		// The page has to have a size; how many there are in all comes with it.
		var page struct {
			Total *float64 `json:"totalRecords"`
		}
		query := url.Values{"page": {"1"}, "pageSize": {"1"}, "monitored": {"true"}}
		if err := l.object(ctx, "/wanted/missing", query, &page); err != nil {
			l.leave("what is missing", err)
			return nil
		}
		l.keep(field{"totalRecords", page.Total, missingMedia, nil})
		return nil
	}
}

// identify reads what answers, and whether it takes our key.
func (l *look) identify(ctx context.Context, version string, key plan.Secret) error {
	l.base += "/api/" + version
	l.header.Set("X-Api-Key", string(key))
	var status struct {
		Name string `json:"appName"`
	}
	if err := l.object(ctx, "/system/status", nil, &status); err != nil {
		return err
	}
	if !strings.EqualFold(status.Name, string(l.app)) {
		return fmt.Errorf("what answers is not %s", l.app)
	}
	return nil
}

// health counts the problems that the app sees itself.
func (l *look) health(ctx context.Context) {
	types := []string{"notice", "warning", "error"}
	counts := map[string]float64{}
	for _, name := range types {
		counts[name] = 0
	}
	err := list(ctx, l, "/health", nil, func(issue struct {
		Type *string `json:"type"`
	}) error {
		if issue.Type == nil {
			return missing("type")
		}
		if _, known := counts[*issue.Type]; !known {
			return fmt.Errorf("the answer has a type %.20q", *issue.Type)
		}
		counts[*issue.Type]++
		return nil
	})
	if err != nil {
		l.leave("its health", err)
		return
	}
	for _, name := range types {
		l.set(healthIssues, counts[name], name)
	}
}

// queue counts what is on the way. The app's own summary, queue/status, only tells whether there is
// an error, not how many.
func (l *look) queue(ctx context.Context) {
	var total, errs, warnings float64
	err := list(ctx, l, "/queue/details", nil, func(item struct {
		DownloadID *string `json:"downloadId"`
		Status     *string `json:"trackedDownloadStatus"`
	}) error {
		total++
		switch {
		case item.Status == nil && item.DownloadID != nil:
			return missing("trackedDownloadStatus")
		case item.Status == nil: // it waits, and no download client has it yet
		case *item.Status == "error":
			errs++
		case *item.Status == "warning":
			warnings++
		}
		return nil
	})
	if err != nil {
		l.leave("the queue", err)
		return
	}
	l.set(queue, total, "total")
	l.set(queue, errs, "errors")
	l.set(queue, warnings, "warnings")
}

// prowlarr returns how Prowlarr is asked.
func prowlarr(key plan.Secret) func(context.Context, *look) error {
	return func(ctx context.Context, l *look) error {
		if err := l.identify(ctx, "v1", key); err != nil {
			return err
		}
		l.health(ctx)
		enabled, err := l.enabledIndexers(ctx)
		if err != nil {
			l.leave("the indexers", err)
			return nil
		}
		l.set(indexers, float64(len(enabled)), "enabled")
		failing, err := l.failingIndexers(ctx, enabled)
		if err != nil {
			l.leave("which indexers fail", err)
			return nil
		}
		l.set(indexers, float64(failing), "failing")
		return nil
	}
}

// enabledIndexers returns the numbers of the indexers that are switched on.
func (l *look) enabledIndexers(ctx context.Context) (map[int]bool, error) {
	enabled := map[int]bool{}
	err := list(ctx, l, "/indexer", nil, func(indexer struct {
		ID     *int  `json:"id"`
		Enable *bool `json:"enable"`
	}) error {
		if indexer.ID == nil || indexer.Enable == nil {
			return errors.New("the answer has an indexer without id or enable")
		}
		if *indexer.Enable {
			enabled[*indexer.ID] = true
		}
		return nil
	})
	return enabled, err
}

// failingIndexers counts the indexers that are switched on and that Prowlarr has stopped asking for
// a while. Its answer can also have some that are switched off by now.
func (l *look) failingIndexers(ctx context.Context, enabled map[int]bool) (failing int, err error) {
	err = list(ctx, l, "/indexerstatus", nil, func(status struct {
		ID *int `json:"indexerId"`
	}) error {
		if status.ID == nil {
			return missing("indexerId")
		}
		if enabled[*status.ID] {
			failing++
		}
		return nil
	})
	return failing, err
}
