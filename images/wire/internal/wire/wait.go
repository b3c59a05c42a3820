package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"homelab/images/wire/internal/plan"
)

// health is the path by which each app says without a login that it is ready.
func health(name plan.App) string {
	switch name {
	case plan.Radarr, plan.Sonarr, plan.Prowlarr:
		return "/ping"
	case plan.Jackett, plan.Jellyfin:
		return "/health"
	case plan.Jellyseerr:
		return "/api/v1/settings/public" // its status asks GitHub at every call
	case plan.QBittorrent:
		return "/"
	}
	return "/"
}

// wait returns once the app is ready, or after the deadline an error that says why it is not.
func (a *app) wait(ctx context.Context, deadline time.Time) error {
	told := ""
	for {
		reason := a.notReady(ctx)
		if reason == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for %s: %w", a.name, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%s is not ready after %s: %w", a.name, a.options.Patience, reason)
		}
		if text := reason.Error(); text != told {
			told = text
			line := fmt.Sprintf("waiting for %s, at most %s more: %s", a.name, left.Round(time.Second), text)
			a.options.Log(a.redact(line))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(a.options.Poll, left)):
		}
	}
}

// notReady returns why the app is not ready.
func (a *app) notReady(ctx context.Context) (reason error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(a.common.URL)+health(a.name), nil)
	if err != nil {
		return err
	}
	response, err := a.client().Do(request)
	if err != nil {
		return plain(err)
	}
	defer func() { reason = errors.Join(reason, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return plain(err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", health(a.name), response.StatusCode)
	}
	// While Jellyfin starts or migrates, its set-up server answers 200 in its place.
	if text := strings.TrimSpace(string(body)); a.name == plan.Jellyfin && text != "Healthy" {
		return fmt.Errorf("%s says %.40q, not \"Healthy\"", health(a.name), text)
	}
	return nil
}

// errTimeout is that an app takes longer than timeout.
var errTimeout = errors.New("it does not answer in time")

// plain returns an error of the network without the URL, which can hold a key, and in short words.
func plain(err error) error {
	var dns *net.DNSError
	var outer *url.Error
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("the host %s is not known", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refuses the connection")
	case errors.Is(err, context.DeadlineExceeded):
		return errTimeout
	case errors.As(err, &outer):
		return outer.Err
	}
	return err
}
