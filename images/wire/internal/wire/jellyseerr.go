package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"homelab/images/wire/internal/plan"
)

const (
	seerrAPI      = "/api/v1"
	seerrJellyfin = 2 // its number for a media server that is Jellyfin
	seerrNoServer = 4 // its number for no media server yet
	seerrInUse    = "already configured"
	seerrObjects  = "jellyseerr/"
	seerrAdmin    = 2 // the bit of its administrators in a user's permissions
)

// seerr is Jellyseerr, or Seerr, as it is called by now.
type seerr struct {
	*app
	web *api
}

// public is what Jellyseerr says without a login.
type public struct {
	Initialized     bool `json:"initialized"`
	MediaServerType int  `json:"mediaServerType"`
}

func (a *app) jellyseerr(ctx context.Context) error {
	s := &seerr{a, &api{base: string(a.common.URL) + seerrAPI, client: a.client()}}
	var public public
	if _, err := s.web.call(ctx, http.MethodGet, "/settings/public", nil, &public); err != nil {
		return fmt.Errorf("reading the public settings: %w", err)
	}
	main, done, err := s.open(ctx, public)
	if err != nil || !done {
		return err
	}
	known, servers, err := s.read(ctx)
	if err != nil {
		return err
	}
	problems := []error{s.mediaServer(ctx, known)}
	for _, server := range servers {
		problems = append(problems, s.server(ctx, server))
	}
	problems = append(problems, s.settings(ctx, main))
	// Set-up ends only if everything before it went well.
	if err := errors.Join(problems...); err != nil || public.Initialized || len(s.result.Problems) > 0 {
		return err
	}
	return s.write(ctx, object{key: "jellyseerr/initialized", label: "set-up", actual: map[string]any{}},
		decision{written: []string{"completed"}}, func(ctx context.Context, _ map[string]any) error {
			_, err := s.web.call(ctx, http.MethodPost, "/settings/initialize", map[string]any{}, nil)
			return err
		})
}

// open returns the main settings, which it reads with the API key that Jellyseerr has made itself.
// Where we do not have it, or it is refused, it logs in to read it. It reports whether there is more
// to do.
func (s *seerr) open(ctx context.Context, public public) (main map[string]any, more bool, err error) {
	isNew := public.MediaServerType == seerrNoServer
	if key := s.state.Credential(string(plan.Jellyseerr)); key != "" {
		s.useKey(key)
		main, err = s.main(ctx, s.web)
		if !refused(err) && (err != nil || !isNew) {
			return main, err == nil, err
		}
	}
	if isNew {
		// Nothing that we wrote to an earlier Jellyseerr is in this one.
		if err := s.state.Forget(seerrObjects); err != nil {
			return nil, false, err
		}
	}
	if !s.usable(plan.Jellyfin) {
		s.blocked("the login", plan.Jellyfin)
		return nil, false, nil
	}
	if !s.options.Check {
		if main, err = s.logIn(ctx); err != nil {
			return nil, false, err
		}
	}
	if isNew {
		s.changed("first login made")
	} else {
		s.changed("API key read after a login")
	}
	return main, !s.options.Check, nil
}

func refused(err error) bool {
	return code(err) == http.StatusForbidden || code(err) == http.StatusUnauthorized
}

func (s *seerr) useKey(key string) {
	s.web.header = func(h http.Header) { h.Set("X-Api-Key", key) }
}

func (s *seerr) main(ctx context.Context, web *api) (main map[string]any, err error) {
	if _, err := web.call(ctx, http.MethodGet, "/settings/main", nil, &main); err != nil {
		return nil, fmt.Errorf("reading the main settings: %w", err)
	}
	return main, nil
}

// logIn logs in as Jellyfin's administrator, who becomes the first user if there is none, and
// returns the main settings. It remembers the API key that is in them.
func (s *seerr) logIn(ctx context.Context) (map[string]any, error) {
	for _, name := range []plan.App{plan.Jellyfin, plan.Jellyseerr} { // it is the same password
		if err := s.mayLogIn(name); err != nil {
			return nil, fmt.Errorf("%s: %w", s.oldPassword(), err)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := s.client()
	client.Jar = jar
	session := &api{base: s.web.base, client: client}
	var user struct {
		Permissions *int64 `json:"permissions"`
	}
	response, err := s.authenticate(ctx, session, &user)
	switch code(err) {
	case http.StatusUnauthorized:
		s.refuse()
		return nil, refusedError(fmt.Sprintf("jellyseerr refuses the login (401): %s", s.oldPassword()))
	case http.StatusForbidden:
		return nil, s.notAdministrator()
	}
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	for _, cookie := range response.Cookies() {
		s.hide("session of Jellyseerr", cookie.Value)
	}
	if user.Permissions != nil && *user.Permissions&seerrAdmin == 0 {
		return nil, s.notAdministrator()
	}
	main, err := s.main(ctx, session)
	if refused(err) {
		return nil, s.notAdministrator()
	}
	if err != nil {
		return nil, err
	}
	key, ok := main["apiKey"].(string)
	if !ok || key == "" {
		return nil, errors.New("its main settings have no API key")
	}
	s.hide("jellyseerr API key", key)
	s.useKey(key)
	return main, s.state.SetCredential(string(plan.Jellyseerr), key)
}

// notAdministrator is the error for a Jellyseerr that another user set up.
func (s *seerr) notAdministrator() error {
	setting := s.common.Setting
	if setting == "" {
		setting = "the plan's jellyseerr"
	}
	user := s.plan.Jellyfin.User
	return refusedError(fmt.Sprintf("the login %s is not its administrator: somebody else set it up first; make %s "+
		"an administrator there, or, if nobody should have been there yet, move /opt/homelab/jellyseerr away and deploy "+
		"%s again", user, user, setting))
}

// authenticate sends the login. After a first run that broke off Jellyseerr knows the host already,
// as it does after every later one, and refuses to be told again.
func (s *seerr) authenticate(ctx context.Context, session *api, user any) (*http.Response, error) {
	j := s.plan.Jellyfin
	body := map[string]any{
		"username": j.User, "password": string(j.Password), "email": s.plan.Jellyseerr.Email,
		"serverType": seerrJellyfin,
		"hostname":   j.URL.Host(), "port": j.URL.Port(), "useSsl": j.URL.TLS(), "urlBase": "",
	}
	response, err := session.call(ctx, http.MethodPost, "/auth/jellyfin", body, user)
	var answer *statusError
	if errors.As(err, &answer) && strings.Contains(answer.message, seerrInUse) {
		for _, name := range []string{"hostname", "port", "useSsl", "urlBase"} {
			delete(body, name)
		}
		response, err = session.call(ctx, http.MethodPost, "/auth/jellyfin", body, user)
	}
	return response, err
}

// seerrMedia is what Jellyseerr knows of Jellyfin.
type seerrMedia struct {
	IP        any            `json:"ip"`
	Port      any            `json:"port"`
	UseSsl    any            `json:"useSsl"`
	Libraries []seerrLibrary `json:"libraries"`
}

// read reads what Jellyseerr knows of the other apps.
func (s *seerr) read(ctx context.Context) (known seerrMedia, servers []seerrServer, err error) {
	if _, err := s.web.call(ctx, http.MethodGet, "/settings/jellyfin", nil, &known); err != nil {
		return known, nil, fmt.Errorf("reading what it knows of Jellyfin: %w", err)
	}
	servers = s.servers()
	for i := range servers {
		if _, err := s.web.call(ctx, http.MethodGet, servers[i].resource(), nil, &servers[i].have); err != nil {
			return known, nil, fmt.Errorf("reading what it knows of %s: %w", servers[i].name, err)
		}
	}
	return known, servers, nil
}

// mediaServer keeps the address of Jellyfin, and enables its libraries.
func (s *seerr) mediaServer(ctx context.Context, have seerrMedia) error {
	if !s.usable(plan.Jellyfin) {
		s.blocked("the connection to Jellyfin", plan.Jellyfin)
		return nil
	}
	address := s.plan.Jellyfin.URL
	err := s.settle(ctx, object{
		key: "jellyseerr/jellyfin", label: "jellyfin",
		actual: map[string]any{"ip": have.IP, "port": have.Port, "useSsl": have.UseSsl},
		fields: []field{
			{name: "ip", want: address.Host()}, {name: "port", want: address.Port()},
			{name: "useSsl", want: address.TLS()},
		},
	}, func(ctx context.Context, merged map[string]any) error {
		_, err := s.web.call(ctx, http.MethodPost, "/settings/jellyfin", merged, nil)
		return err
	})
	if err != nil {
		return err
	}
	return s.enableLibraries(ctx, have.Libraries)
}

// settings keeps the main settings: people log in with their account of Jellyfin, and only those
// who were let in before.
func (s *seerr) settings(ctx context.Context, main map[string]any) error {
	return s.settle(ctx, object{
		key: "jellyseerr/main", label: "settings", actual: main,
		fields: []field{
			{name: "applicationUrl", want: string(s.plan.Jellyseerr.ApplicationURL)},
			{name: "localLogin", want: false},
			{name: "mediaServerLogin", want: true},
			{name: "newPlexLogin", want: false},
		},
	}, func(ctx context.Context, merged map[string]any) error {
		_, err := s.web.call(ctx, http.MethodPost, "/settings/main", difference(main, merged), nil)
		return err
	})
}

// seerrLibrary is a library of Jellyfin as Jellyseerr knows it.
type seerrLibrary struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// enableLibraries enables every library, but for one that somebody disabled by hand.
func (s *seerr) enableLibraries(ctx context.Context, have []seerrLibrary) error {
	legacy := false
	if s.unknownLibrary(have) != "" {
		s.changed("libraries read from Jellyfin")
		if s.options.Check {
			return nil
		}
		var err error
		if have, legacy, err = s.syncLibraries(ctx, have); err != nil {
			return fmt.Errorf("reading the libraries from Jellyfin: %w", err)
		}
		if name := s.unknownLibrary(have); name != "" {
			s.problem("it does not find library %s of Jellyfin", name)
		}
	}
	actual := map[string]any{}
	var fields []field
	for _, library := range have {
		actual[library.ID] = library.Enabled
		fields = append(fields, field{name: library.ID, want: true})
	}
	return s.settle(ctx, object{key: "jellyseerr/libraries", label: "libraries", actual: actual, fields: fields},
		func(ctx context.Context, merged map[string]any) error { return s.enable(ctx, have, merged, legacy) })
}

// unknownLibrary returns the name of a library of Jellyfin that Jellyseerr does not know, or "".
func (s *seerr) unknownLibrary(have []seerrLibrary) string {
	for _, library := range s.libraries {
		known := slices.ContainsFunc(have, func(l seerrLibrary) bool { return strings.EqualFold(l.Name, library.Name) })
		if library.requestable() && !known {
			return library.Name
		}
	}
	return ""
}

// syncLibraries makes Jellyseerr read its libraries. Older versions do so at a GET, which disables
// every library that it does not name; it reports whether this is one.
func (s *seerr) syncLibraries(ctx context.Context, have []seerrLibrary) ([]seerrLibrary, bool, error) {
	var libraries []seerrLibrary
	_, err := s.web.call(ctx, http.MethodPost, "/settings/jellyfin/library/sync", map[string]any{}, &libraries)
	if !noSuchRoute(err) {
		return libraries, false, err
	}
	query := url.Values{"sync": {"true"}}
	if enabled := enabledIDs(have, nil); enabled != "" {
		query.Set("enable", enabled)
	}
	_, err = s.web.call(ctx, http.MethodGet, "/settings/jellyfin/library?"+query.Encode(), nil, &libraries)
	return libraries, true, err
}

func (s *seerr) enable(ctx context.Context, have []seerrLibrary, wanted map[string]any, legacy bool) error {
	if !legacy {
		for _, library := range have {
			if wanted[library.ID] != true || library.Enabled {
				continue
			}
			path := "/settings/jellyfin/library/" + url.PathEscape(library.ID)
			_, err := s.web.call(ctx, http.MethodPut, path, map[string]any{"enabled": true}, nil)
			if legacy = noSuchRoute(err); legacy {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	if !legacy {
		return nil
	}
	query := url.Values{"enable": {enabledIDs(have, wanted)}}
	_, err := s.web.call(ctx, http.MethodGet, "/settings/jellyfin/library?"+query.Encode(), nil, nil)
	return err
}

func noSuchRoute(err error) bool {
	return code(err) == http.StatusNotFound || code(err) == http.StatusMethodNotAllowed
}

// enabledIDs returns the IDs of the libraries that are enabled, or wanted, separated by commas.
func enabledIDs(have []seerrLibrary, wanted map[string]any) string {
	var ids []string
	for _, library := range have {
		if library.Enabled || wanted[library.ID] == true {
			ids = append(ids, library.ID)
		}
	}
	return strings.Join(ids, ",")
}
