package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"homelab/images/wire/internal/plan"
)

// ownKey is the name in Jellyfin of the API key that we use ourselves.
const ownKey = "homelab"

const (
	keysPath  = "/Auth/Keys"
	keyPrefix = "jellyfin/key/"
)

// jellyfinKey is an API key that Jellyfin has. It is an administrator, but no user.
type jellyfinKey struct {
	Name  string `json:"AppName"`
	Token string `json:"AccessToken"`
}

// openJellyfin gives web our API key or, if there is none that Jellyfin takes, a session. It returns
// the API keys that Jellyfin has, and what ends the session.
func (a *app) openJellyfin(ctx context.Context, web *api) ([]jellyfinKey, func(context.Context) error, error) {
	if key := a.state.Credential(string(plan.Jellyfin)); key != "" {
		token := fmt.Sprintf("MediaBrowser Token=%q", key)
		web.header = func(h http.Header) { h.Set("Authorization", token) }
		keys, err := a.readKeys(ctx, web)
		if status := code(err); status != http.StatusUnauthorized && status != http.StatusForbidden {
			return keys, func(context.Context) error { return nil }, err
		}
	}
	logOut, err := a.jellyfinLogin(ctx, web)
	if err != nil {
		return nil, nil, err
	}
	keys, err := a.readKeys(ctx, web)
	if err == nil {
		keys, err = a.keepOwnKey(ctx, web, keys)
	}
	if err != nil {
		return nil, nil, errors.Join(err, logOut(ctx))
	}
	return keys, logOut, nil
}

// oldPassword says what to do about a password that was changed while we have no key.
func (a *app) oldPassword() string {
	return fmt.Sprintf("the password of Jellyfin's user %s is not the generated one any more; set it back once "+
		"(pulumi stack output serviceAdministrators --show-secrets), after this run it can be changed",
		a.plan.Jellyfin.User)
}

func (a *app) readKeys(ctx context.Context, web *api) ([]jellyfinKey, error) {
	var answer struct{ Items []jellyfinKey }
	if _, err := web.call(ctx, http.MethodGet, keysPath, nil, &answer); err != nil {
		return nil, fmt.Errorf("reading the API keys: %w", err)
	}
	for _, key := range answer.Items {
		a.hide("jellyfin API key of "+key.Name, key.Token)
	}
	return answer.Items, nil
}

func keyNamed(keys []jellyfinKey, name string) string {
	i := slices.IndexFunc(keys, func(key jellyfinKey) bool { return key.Name == name })
	if i < 0 {
		return ""
	}
	return keys[i].Token
}

// keepOwnKey remembers our API key, after it was made if there is none.
func (a *app) keepOwnKey(ctx context.Context, web *api, keys []jellyfinKey) ([]jellyfinKey, error) {
	keys, err := a.makeKey(ctx, web, keys, ownKey)
	if err != nil || a.options.Check {
		return keys, err
	}
	return keys, a.state.SetCredential(string(plan.Jellyfin), keyNamed(keys, ownKey))
}

// makeKey makes the API key of a name unless there is one. Jellyfin makes another at each request,
// and its answer does not have it.
func (a *app) makeKey(ctx context.Context, web *api, keys []jellyfinKey, name string) ([]jellyfinKey, error) {
	if keyNamed(keys, name) != "" {
		return keys, nil
	}
	o := object{key: keyPrefix + name, label: "API key " + name}
	err := a.write(ctx, o, decision{}, func(ctx context.Context, _ map[string]any) error {
		_, err := web.call(ctx, http.MethodPost, keysPath+"?"+url.Values{"app": {name}}.Encode(), nil, nil)
		return err
	})
	if err != nil || a.options.Check {
		return keys, err
	}
	if keys, err = a.readKeys(ctx, web); err != nil {
		return nil, err
	}
	if keyNamed(keys, name) == "" {
		return nil, fmt.Errorf("it has made no API key %s", name)
	}
	return keys, nil
}

// keepKeys makes an API key each for Radarr and Sonarr, by which they tell Jellyfin what they have
// imported, and removes that of an app that no longer runs.
func (a *app) keepKeys(ctx context.Context, web *api, keys []jellyfinKey) error {
	keep := []string{ownKey}
	for _, name := range []plan.App{plan.Radarr, plan.Sonarr} {
		if !a.plan.Has(name) {
			continue
		}
		keep = append(keep, string(name))
		var err error
		if keys, err = a.makeKey(ctx, web, keys, string(name)); err != nil {
			return err
		}
		a.keys[name] = keyNamed(keys, string(name))
		if a.keys[name] == "" { // only in a check
			a.keys[name] = "(new)"
		}
	}
	find := func(name string) map[string]any {
		if token := keyNamed(keys, name); token != "" {
			return map[string]any{"token": token}
		}
		return nil
	}
	return a.prune(ctx, keyPrefix, "API key", keep, find, func(ctx context.Context, key map[string]any) error {
		_, err := web.call(ctx, http.MethodDelete, keysPath+"/"+url.PathEscape(fmt.Sprint(key["token"])), nil, nil)
		return err
	})
}
