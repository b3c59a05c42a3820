package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
)

const (
	jackettIndexers = "/api/v2.0/indexers"
	jackettCookie   = "Jackett"
)

// jackett configures the indexers of the plan in Jackett. One of which the site does not answer is
// left out until a later pass. Its API key opens only the search; what
// is administration needs the cookie of a login.
func (a *app) jackett(ctx context.Context) error {
	j := a.plan.Jackett
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	client := a.client()
	client.Jar = jar
	web := &api{base: string(j.URL), client: client}
	if err := a.jackettLogin(ctx, web); err != nil {
		return err
	}
	if err := a.jackettKey(ctx, web); err != nil {
		return err
	}
	var have []map[string]any
	if _, err := web.call(ctx, http.MethodGet, jackettIndexers, nil, &have); err != nil {
		return fmt.Errorf("reading its indexers: %w", err)
	}
	configured := func(id string) map[string]any {
		if indexer := named(have, "id", id); indexer != nil && indexer["configured"] == true {
			return indexer
		}
		return nil
	}
	var problems []error
	for _, id := range j.Indexers {
		if named(have, "id", id) == nil {
			a.left[id] = true
			a.warning("there is no indexer %s; correct homelab:wiring.jackettIndexers", id)
			continue
		}
		o := object{key: "jackett/indexer/" + id, label: "indexer " + id}
		if configured(id) != nil {
			problems = append(problems, a.state.Record(o.key, nil))
			continue
		}
		err := a.write(ctx, o, decision{}, func(ctx context.Context, _ map[string]any) error {
			return configure(ctx, web, id)
		})
		if code(err) == http.StatusInternalServerError || errors.Is(err, errTimeout) {
			// Jackett asks the site before it saves anything.
			a.left[id] = true
			a.warning("the indexer %s cannot be configured: %s", id, why(err))
			continue
		}
		problems = append(problems, err)
	}
	problems = append(problems, a.prune(ctx, "jackett/indexer/", "indexer", j.Indexers, configured,
		func(ctx context.Context, indexer map[string]any) error {
			_, err := web.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%v", jackettIndexers, indexer["id"]), nil, nil)
			return err
		}))
	return errors.Join(problems...)
}

// jackettLogin gets the cookie. A wrong password is answered with the same redirect, but without
// the cookie.
func (a *app) jackettLogin(ctx context.Context, web *api) error {
	form := url.Values{"password": {string(a.plan.Jackett.Password)}}
	response, err := web.call(ctx, http.MethodPost, "/UI/Dashboard", form, nil)
	if err != nil && code(err) != http.StatusFound {
		return fmt.Errorf("logging in: %w", err)
	}
	isSession := func(c *http.Cookie) bool { return c.Name == jackettCookie && c.Value != "" }
	if !slices.ContainsFunc(response.Cookies(), isSession) {
		return a.refusal("the administrator's password", "password", response.StatusCode, "password")
	}
	return nil
}

// jackettKey checks the key that Prowlarr will use.
func (a *app) jackettKey(ctx context.Context, web *api) error {
	query := url.Values{"t": {"indexers"}, "configured": {"true"}, "apikey": {string(a.plan.Jackett.APIKey)}}
	_, err := web.call(ctx, http.MethodGet, jackettIndexers+"/all/results/torznab?"+query.Encode(), nil, nil)
	if status := code(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
		return a.refusal("its API key", "key", status, "apiKey")
	}
	return err
}

// configure sends an indexer's own configuration back, which is all that a public one needs.
func configure(ctx context.Context, web *api, id string) error {
	var config []map[string]any
	path := fmt.Sprintf("%s/%s/Config", jackettIndexers, id)
	if _, err := web.call(ctx, http.MethodGet, path, nil, &config); err != nil {
		return err
	}
	_, err := web.call(ctx, http.MethodPost, path, config, nil)
	return err
}
