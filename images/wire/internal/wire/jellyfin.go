package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"homelab/images/wire/internal/plan"
)

// device is how Jellyfin knows us at a login. The header is the only one that Jellyfin 12 still takes.
const device = `MediaBrowser Client="homelab-wire", Device="homelab-wire", DeviceId="homelab-wire", Version="1"`

// library is a library that Jellyfin has.
type library struct {
	Name           string   `json:"Name"`
	CollectionType string   `json:"CollectionType"`
	Locations      []string `json:"Locations"`
}

// requestable reports whether Jellyseerr can use the library.
func (l library) requestable() bool {
	return l.CollectionType == "movies" || l.CollectionType == "tvshows"
}

// jellyfin makes the API keys, and adds what is missing of the libraries. It removes no library, nor
// a path of one: they hold what people have seen.
func (a *app) jellyfin(ctx context.Context) (err error) {
	web := &api{base: string(a.common.URL), client: a.client()}
	keys, logOut, err := a.openJellyfin(ctx, web)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logOut(ctx)) }()
	if err := a.keepKeys(ctx, web, keys); err != nil {
		return err
	}
	return a.addLibraries(ctx, web)
}

func (a *app) addLibraries(ctx context.Context, web *api) error {
	const folders = "/Library/VirtualFolders"
	var have []library
	if _, err := web.call(ctx, http.MethodGet, folders, nil, &have); err != nil {
		return fmt.Errorf("reading the libraries: %w", err)
	}
	var problems []error
	for _, want := range a.plan.Jellyfin.Libraries {
		o := object{key: "jellyfin/library/" + want.Name, label: "library " + want.Name}
		i := slices.IndexFunc(have, func(l library) bool { return strings.EqualFold(l.Name, want.Name) })
		switch {
		case i < 0:
			err := a.write(ctx, o, decision{}, func(ctx context.Context, _ map[string]any) error {
				return addLibrary(ctx, web, want)
			})
			problems = append(problems, err)
			if err == nil {
				have = append(have, library{Name: want.Name, CollectionType: want.Type, Locations: []string{want.Path}})
			}
		case !slices.Contains(have[i].Locations, want.Path):
			a.typeOf(have[i], want)
			o.actual = map[string]any{}
			add := func(ctx context.Context, _ map[string]any) error {
				return addPath(ctx, web, have[i].Name, want.Path)
			}
			problems = append(problems, a.write(ctx, o, decision{written: []string{want.Path}}, add))
		default:
			a.typeOf(have[i], want)
		}
	}
	a.libraries = have
	return errors.Join(problems...)
}

// typeOf reports a library of another type, which Jellyfin cannot change.
func (a *app) typeOf(have library, want plan.Library) {
	if have.CollectionType != want.Type && (have.CollectionType != "" || want.Type != "mixed") {
		a.result.Drift = append(a.result.Drift, fmt.Sprintf("library %s is of type %s (the settings say %s); "+
			"Jellyfin cannot change it", want.Name, have.CollectionType, want.Type))
	}
}

// jellyfinLogin logs in, and returns what ends the session.
func (a *app) jellyfinLogin(ctx context.Context, web *api) (logOut func(context.Context) error, err error) {
	if err := a.mayLogIn(a.name); err != nil {
		return nil, fmt.Errorf("%s: %w", a.oldPassword(), err)
	}
	web.header = func(h http.Header) { h.Set("Authorization", device) }
	var session struct {
		AccessToken string
		User        struct {
			Policy struct{ IsAdministrator bool }
		}
	}
	j := a.plan.Jellyfin
	body := map[string]any{"Username": j.User, "Pw": string(j.Password)}
	_, err = web.call(ctx, http.MethodPost, "/Users/AuthenticateByName", body, &session)
	if status := code(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
		a.refuse()
		return nil, refusedError(fmt.Sprintf("refuses the login of its administrator (%d): %s", status, a.oldPassword()))
	}
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	a.hide("session of Jellyfin", session.AccessToken)
	token := fmt.Sprintf("%s, Token=%q", device, session.AccessToken)
	web.header = func(h http.Header) { h.Set("Authorization", token) }
	logOut = func(ctx context.Context) error {
		_, err := web.call(ctx, http.MethodPost, "/Sessions/Logout", nil, nil)
		if err != nil {
			return fmt.Errorf("logging out: %w", err)
		}
		return nil
	}
	if !session.User.Policy.IsAdministrator {
		return nil, errors.Join(errors.New("the user of the plan is no administrator"), logOut(ctx))
	}
	return logOut, nil
}

func addLibrary(ctx context.Context, web *api, want plan.Library) error {
	query := url.Values{"name": {want.Name}, "paths": {want.Path}, "refreshLibrary": {"true"}}
	if want.Type != "mixed" { // which is the absence of a type
		query.Set("collectionType", want.Type)
	}
	body := map[string]any{"LibraryOptions": map[string]any{"PathInfos": []any{map[string]any{"Path": want.Path}}}}
	_, err := web.call(ctx, http.MethodPost, "/Library/VirtualFolders?"+query.Encode(), body, nil)
	return err
}

func addPath(ctx context.Context, web *api, name, path string) error {
	body := map[string]any{"Name": name, "PathInfo": map[string]any{"Path": path}}
	_, err := web.call(ctx, http.MethodPost, "/Library/VirtualFolders/Paths?refreshLibrary=true", body, nil)
	return err
}
