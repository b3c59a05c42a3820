package observe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"

	"homelab/images/wire/internal/plan"
)

// torrentClient is how qBittorrent is asked. Its session is kept: the app forgets one that is not
// used for an hour.
type torrentClient struct {
	plan   *plan.QBittorrentPlan
	client *http.Client
	// refused is the status with which the app has refused our password, 0 if it has not. It bans
	// who fails five times, and then a pass is banned too; so only that tries again.
	refused atomic.Int64
}

func newTorrents(p *plan.QBittorrentPlan, transport http.RoundTripper) *torrentClient {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it has no options that could be wrong
	}
	return &torrentClient{plan: p, client: &http.Client{
		Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (t *torrentClient) connected() { t.refused.Store(0) }

// ask asks qBittorrent, and logs in first if it has to.
func (t *torrentClient) ask(ctx context.Context, l *look) error {
	l.client, l.base = t.client, l.base+"/api/v2"
	var info transferInfo
	err := l.object(ctx, "/transfer/info", nil, &info)
	if refuses(err) {
		if err = t.logIn(ctx, l); err == nil {
			err = l.object(ctx, "/transfer/info", nil, &info)
		}
	}
	if err != nil {
		return err
	}
	info.keep(l)
	t.states(ctx, l)
	var preferences struct {
		Port *float64 `json:"listen_port"`
	}
	if err := l.object(ctx, "/app/preferences", nil, &preferences); err != nil {
		l.leave("its port", err)
		return nil
	}
	l.keep(field{"listen_port", preferences.Port, listeningPort, nil})
	return nil
}

// logIn begins a session. Since version 5.2 the answer is 204 or 401, before it was 200 with a
// word.
func (t *torrentClient) logIn(ctx context.Context, l *look) error {
	refusal := func() error {
		return fmt.Errorf("it refuses our password (%d), which is not tried again before it is connected", t.refused.Load())
	}
	if t.refused.Load() != 0 {
		return refusal()
	}
	form := url.Values{"username": {t.plan.User}, "password": {string(t.plan.Password)}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+"/auth/login", strings.NewReader(form.Encode()))
	if err != nil {
		return plain(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t.client, request, func(response *http.Response) error {
		word, err := io.ReadAll(io.LimitReader(response.Body, 64))
		if err != nil {
			return err
		}
		switch {
		case response.StatusCode == http.StatusNoContent, response.StatusCode == http.StatusOK && string(word) == "Ok.":
			return nil
		case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden,
			response.StatusCode == http.StatusOK && string(word) == "Fails.":
			t.refused.Store(int64(response.StatusCode))
			return refusal()
		}
		return codeError(response.StatusCode)
	})
}

// transferInfo is what qBittorrent says of its connections.
type transferInfo struct {
	Down   *float64 `json:"dl_info_data"`
	Up     *float64 `json:"up_info_data"`
	Status *string  `json:"connection_status"`
}

func (i transferInfo) keep(l *look) {
	l.keep(field{"dl_info_data", i.Down, transferred, []string{"down"}},
		field{"up_info_data", i.Up, transferred, []string{"up"}})
	switch {
	case i.Status == nil:
		l.leave("its connection", missing("connection_status"))
	case *i.Status == "connected", *i.Status == "firewalled": // the latter until somebody has connected
		l.set(connected, 1)
	case *i.Status == "disconnected":
		l.set(connected, 0)
	default:
		l.leave("its connection", fmt.Errorf("the answer has a connection_status %.20q", *i.Status))
	}
}

// states counts the torrents by what they do.
func (t *torrentClient) states(ctx context.Context, l *look) {
	counts := map[string]float64{}
	err := list(ctx, l, "/torrents/info", nil, func(torrent struct {
		State *string `json:"state"`
	}) error {
		if torrent.State == nil {
			return missing("state")
		}
		counts[stateOf(*torrent.State)]++
		return nil
	})
	if err != nil {
		l.leave("the torrents", err)
		return
	}
	for _, state := range []string{"downloading", "seeding", "stalled", "error", "paused", "other"} {
		l.set(torrents, counts[state], state)
	}
}

// stateOf returns our word for a state. Who seeds without anybody who asks is no trouble; who loads
// without anybody who gives is stalled. The others wait, are checked, or are moved.
func stateOf(state string) string {
	switch state {
	case "downloading", "forcedDL", "metaDL", "forcedMetaDL":
		return "downloading"
	case "uploading", "forcedUP", "stalledUP":
		return "seeding"
	case "stalledDL":
		return "stalled"
	case "error", "missingFiles":
		return "error"
	case "stoppedDL", "stoppedUP", "pausedDL", "pausedUP": // the latter two before version 5
		return "paused"
	}
	return "other"
}
