package fake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// newConnects returns the notifications, of which MediaBrowser is for Jellyfin and Emby.
func (s *Servarr) newConnects() *providers {
	extra, more := object{}, spec{}
	for _, event := range s.kind.events {
		extra[event], more[event] = false, "bool"
	}
	p := &providers{server: s.Server, secrets: map[string]bool{"apiKey": true}, leavesOut: true, more: more,
		test: s.testConnect, schema: []object{
			schemaEntry("Webhook", extra, "url", nil, "method", 1),
			schemaEntry("MediaBrowser", extra, "host", nil, "port", 8096, "useSsl", false, "urlBase", nil, "apiKey", nil,
				"notify", false, "updateLibrary", true, "mapFrom", nil, "mapTo", nil),
		}}
	for _, entry := range p.schema {
		for _, field := range entry["fields"].([]any) {
			if field := field.(map[string]any); field["value"] == nil {
				delete(field, "value")
			}
		}
	}
	return p
}

// callJellyfin sends what Radarr 6.0 sends, which is a header that Jellyfin 12 does not take. Sonarr
// 4.0.19 sends the new one too, as Radarr does in versions after 6.4.2.
func (s *Servarr) callJellyfin(connect object, method, path string, body any) (status int, err error) {
	scheme := "http"
	if value(connect, "useSsl") == true {
		scheme = "https"
	}
	key := text(connect, "apiKey")
	header := http.Header{"X-Mediabrowser-Token": {key}}
	if s.kind.name == "sonarr" {
		header.Set("Authorization", fmt.Sprintf("MediaBrowser Token=%q", key))
	}
	address := fmt.Sprintf("%s://%s:%v%s%s", scheme, text(connect, "host"), value(connect, "port"),
		text(connect, "urlBase"), path)
	err = fetchWith(method, address, header, body, nil)
	var refused *statusError
	if errors.As(err, &refused) {
		return refused.status, err
	}
	return http.StatusOK, err
}

// testConnect tests as the apps do. Radarr 6.0 sends a message, which Jellyfin has no route for: it
// takes that for a success, and so does not notice a wrong key.
func (s *Servarr) testConnect(connect object) error {
	if connect["implementation"] != "MediaBrowser" {
		return nil
	}
	if text(connect, "host") == "" || text(connect, "apiKey") == "" {
		return errors.New("must not be empty")
	}
	if (text(connect, "mapFrom") == "") != (text(connect, "mapTo") == "") {
		return fmt.Errorf("mapFrom and mapTo belong together with key %s", text(connect, "apiKey"))
	}
	method, path, body := http.MethodPost, "/Notifications/Admin", any(object{"Name": "Test from Radarr"})
	if s.kind.name == "sonarr" {
		method, path, body = http.MethodGet, "/System/Configuration", nil
	}
	status, err := s.callJellyfin(connect, method, path, body)
	switch {
	case err == nil || s.kind.name == "radarr" && status == http.StatusNotFound:
		return nil
	case status == http.StatusUnauthorized:
		return fmt.Errorf("API Key %s is invalid", text(connect, "apiKey"))
	}
	return fmt.Errorf("Unable to send test message: %w", err)
}

// tell tells Jellyfin of a folder into which something was imported. As in the apps, an error is
// only logged.
func (s *Servarr) tell(folder string) {
	for _, name := range s.connects.names() {
		connect := s.connects.named(name)
		if connect["implementation"] != "MediaBrowser" || connect["onDownload"] != true ||
			value(connect, "updateLibrary") != true {
			continue
		}
		if from := text(connect, "mapFrom"); from != "" {
			folder = text(connect, "mapTo") + strings.TrimPrefix(folder, from)
		}
		if _, err := s.callJellyfin(connect, http.MethodGet, "/Items?recursive=true", nil); err != nil {
			continue
		}
		_, _ = s.callJellyfin(connect, http.MethodPost, "/Library/Media/Updated",
			object{"Updates": []object{{"Path": folder, "UpdateType": "Created"}}})
	}
}
