package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"sync/atomic"

	"github.com/autobrr/go-qbittorrent"
)

// lastStatus remembers the status of the last answer, which the client's errors do not have.
type lastStatus struct {
	next http.RoundTripper
	code atomic.Int64
}

// RoundTrip sends a request.
func (l *lastStatus) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(request)
	if err != nil {
		l.code.Store(0)
		return nil, plain(err)
	}
	l.code.Store(int64(response.StatusCode))
	return response, nil
}

// preferences are what qBittorrent is set to. How long it seeds is the operator's; but what has
// seeded long enough only stops, because Radarr and Sonarr remove it once they have imported it.
func (a *app) preferences() []field {
	q := a.plan.QBittorrent
	fields := []field{
		{name: "save_path", want: q.SavePath, plain: folder},
		{name: "temp_path_enabled", want: true},
		{name: "temp_path", want: q.TempPath, plain: folder},
		{name: "auto_tmm_enabled", want: true}, // a category's folder is used
		{name: "current_network_interface", want: q.Interface},
		{name: "max_ratio_act", want: 0}, // stop
		{name: "upnp", want: false},
		{name: "web_ui_upnp", want: false},
	}
	if q.ListenPort != 0 {
		fields = append(fields, field{name: "listen_port", want: q.ListenPort})
	}
	return fields
}

func (a *app) qbittorrent(ctx context.Context) error {
	q := a.plan.QBittorrent
	if err := a.mayLogIn(a.name); err != nil {
		return err
	}
	transport := &lastStatus{next: a.options.Transport}
	client := qbittorrent.NewClient(qbittorrent.Config{
		Host: string(q.URL), Username: q.User, Password: string(q.Password), RetryAttempts: 1,
	})
	httpClient := a.client()
	httpClient.Transport = transport
	client.WithHTTPClient(httpClient)
	if err := client.LoginCtx(ctx); err != nil {
		return a.explainLogin(err, int(transport.code.Load()))
	}
	// The client's type of the preferences cannot tell a missing field from a false one.
	web := &api{base: string(q.URL), client: httpClient}
	var preferences map[string]any
	if _, err := web.call(ctx, http.MethodGet, "/api/v2/app/preferences", nil, &preferences); err != nil {
		return fmt.Errorf("reading the preferences: %w", err)
	}
	categories, err := client.GetCategoriesCtx(ctx)
	if err != nil {
		return fmt.Errorf("reading the categories: %w", a.short(err, transport))
	}
	for _, f := range a.preferences() {
		if _, ok := preferences[f.name]; !ok {
			return fmt.Errorf("qBittorrent has no preference %s any more: this version of homelab cannot connect it",
				f.name)
		}
	}
	problems := []error{a.settle(ctx, object{
		key: "qbittorrent/preferences", label: "preferences", actual: preferences, fields: a.preferences(),
	}, func(ctx context.Context, merged map[string]any) error {
		return a.short(client.SetPreferencesCtx(ctx, difference(preferences, merged)), transport)
	})}
	for _, name := range q.Categories {
		o := object{
			key: "qbittorrent/category/" + name, label: "category " + name,
			fields: []field{{name: "savePath", want: path.Join(q.SavePath, name), plain: folder}},
		}
		write := client.CreateCategoryCtx
		if category, ok := categories[name]; ok {
			o.actual = map[string]any{"savePath": category.SavePath}
			write = client.EditCategoryCtx
		}
		problems = append(problems, a.settle(ctx, o, func(ctx context.Context, merged map[string]any) error {
			return a.short(write(ctx, name, fmt.Sprint(merged["savePath"])), transport)
		}))
	}
	return errors.Join(problems...)
}

// explainLogin returns why a login failed. A second try can lead to a ban.
func (a *app) explainLogin(err error, status int) error {
	switch {
	case errors.Is(err, qbittorrent.ErrIPBanned):
		a.refuse()
		return errors.New("qbittorrent has banned this address after too many failed logins (403); " +
			"it lifts the ban after an hour")
	case status == http.StatusUnauthorized || errors.Is(err, qbittorrent.ErrBadCredentials):
		a.refuse()
		return a.refusal("the login of its user", "password", http.StatusUnauthorized, "password")
	}
	return fmt.Errorf("logging in: %w", err)
}

// short returns an error of the client in few words.
func (a *app) short(err error, transport *lastStatus) error {
	if status := int(transport.code.Load()); err != nil && status >= http.StatusBadRequest {
		return &statusError{code: status}
	}
	return err
}

// difference returns what is in wanted but not in have.
func difference(have, wanted map[string]any) map[string]any {
	changed := map[string]any{}
	for name, value := range wanted {
		if string(encode(have[name])) != string(encode(value)) {
			changed[name] = value
		}
	}
	return changed
}
