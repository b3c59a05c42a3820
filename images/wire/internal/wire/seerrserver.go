package wire

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"homelab/images/wire/internal/plan"
)

// seerrServer is Radarr or Sonarr as Jellyseerr is to know it.
type seerrServer struct {
	app   plan.App
	name  string
	plan  *plan.ServarrPlan
	extra []field
	have  []map[string]any // every server of this kind that Jellyseerr has
}

func (s seerrServer) resource() string { return "/settings/" + string(s.app) }

func (s *seerr) servers() []seerrServer {
	return []seerrServer{
		{app: plan.Radarr, name: "Radarr", plan: s.plan.Radarr, extra: []field{
			{name: "minimumAvailability", want: "released", once: true},
		}},
		{app: plan.Sonarr, name: "Sonarr", plan: s.plan.Sonarr, extra: []field{
			{name: "enableSeasonFolders", want: true, once: true},
			{name: "seriesType", want: "standard", once: true},
			{name: "animeSeriesType", want: "anime", once: true},
		}},
	}
}

// server keeps one server. Jellyseerr appends whatever is posted: the list is read before.
func (s *seerr) server(ctx context.Context, server seerrServer) error {
	resource, have := server.resource(), server.have
	prefix := "jellyseerr/" + string(server.app) + "/"
	if server.plan == nil {
		return s.prune(ctx, prefix, "server", nil,
			func(name string) map[string]any { return named(have, "name", name) },
			func(ctx context.Context, o map[string]any) error {
				_, err := s.web.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%v", resource, o["id"]), nil, nil)
				return err
			})
	}
	label := "server " + server.name
	if !s.usable(server.app) {
		s.blocked(label, server.app)
		return nil
	}
	profile, err := s.profile(ctx, server)
	if err != nil {
		return err
	}
	address := server.plan.URL
	o := object{
		key: prefix + server.name, label: label,
		actual:   named(have, "name", server.name),
		template: map[string]any{"tags": []any{}},
		fields: append([]field{
			{name: "name", want: server.name},
			{name: "hostname", want: address.Host()},
			{name: "port", want: address.Port()},
			{name: "useSsl", want: address.TLS()},
			{name: "apiKey", want: string(server.plan.APIKey), secret: true},
			{name: "baseUrl", want: "", once: true},
			{name: "activeProfileId", want: profile},
			{name: "activeProfileName", want: server.plan.QualityProfile},
			{name: "activeDirectory", want: server.plan.RootFolder, plain: folder},
			{name: "is4k", want: false},
			{name: "isDefault", want: true},
			{name: "syncEnabled", want: true},
			{name: "preventSearch", want: false, once: true},
		}, server.extra...),
	}
	return s.settle(ctx, o, func(ctx context.Context, merged map[string]any) error {
		id := merged["id"]
		delete(merged, "id") // it is in the path, and refused in the body
		if o.actual == nil {
			_, err := s.web.call(ctx, http.MethodPost, resource, merged, nil)
			return err
		}
		_, err := s.web.call(ctx, http.MethodPut, fmt.Sprintf("%s/%v", resource, id), merged, nil)
		return err
	})
}

// profile has Jellyseerr test the connection, which also tells the server's profiles and folders.
func (s *seerr) profile(ctx context.Context, server seerrServer) (any, error) {
	address := server.plan.URL
	var answer struct {
		Profiles []struct {
			ID   int    `json:"id"`
			Name string `json:"name"`
		} `json:"profiles"`
		RootFolders []struct {
			Path string `json:"path"`
		} `json:"rootFolders"`
	}
	_, err := s.web.call(ctx, http.MethodPost, server.resource()+"/test", map[string]any{
		"hostname": address.Host(), "port": address.Port(), "useSsl": address.TLS(),
		"apiKey": string(server.plan.APIKey), "baseUrl": "",
	}, &answer)
	if err != nil {
		return nil, fmt.Errorf("testing server %s: %w", server.name, err)
	}
	foundFolder := s.options.Check // where it may still have to be added
	for _, folder := range answer.RootFolders {
		foundFolder = foundFolder || strings.TrimSuffix(folder.Path, "/") == server.plan.RootFolder
	}
	if !foundFolder {
		return nil, fmt.Errorf("%s has no root folder %s", server.name, server.plan.RootFolder)
	}
	var names []string
	for _, profile := range answer.Profiles {
		if profile.Name == server.plan.QualityProfile {
			return profile.ID, nil
		}
		names = append(names, profile.Name)
	}
	return nil, fmt.Errorf("%s has no quality profile %s, but: %s", server.name, server.plan.QualityProfile,
		strings.Join(names, ", "))
}
