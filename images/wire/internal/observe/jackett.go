package observe

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/url"

	"homelab/images/wire/internal/plan"
)

// jackett returns how Jackett is asked. Its key opens only the search, which lists the indexers
// that are set up; whether one fails is known only to who searches with it.
func jackett(key plan.Secret) func(context.Context, *look) error {
	return func(ctx context.Context, l *look) error {
		query := url.Values{"t": {"indexers"}, "configured": {"true"}, "apikey": {string(key)}}
		var answer struct {
			XMLName  xml.Name `xml:"indexers"`
			Indexers []struct {
				Configured *bool `xml:"configured,attr"`
			} `xml:"indexer"`
		}
		err := l.get(ctx, "/api/v2.0/indexers/all/results/torznab", query, func(body io.Reader) error {
			if err := xml.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&answer); err != nil {
				return errors.New("the answer is no list of indexers")
			}
			return nil
		})
		if err != nil {
			return err
		}
		count := 0
		for _, indexer := range answer.Indexers {
			if indexer.Configured == nil {
				l.leave("the indexers", missing("configured"))
				return nil
			}
			if *indexer.Configured {
				count++
			}
		}
		l.set(indexers, float64(count), "enabled")
		return nil
	}
}
