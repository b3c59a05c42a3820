package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
)

// fetchWith sends and receives JSON with a header.
func fetchWith(method, address string, header http.Header, body, into any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = strings.NewReader(string(data))
		header.Set("Content-Type", "application/json")
	}
	data, err := fetch(method, address, header, content)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// routeServers adds the routes of Radarr's or Sonarr's servers.
func (s *Jellyseerr) routeServers(kind string) {
	shape := maps.Clone(seerrServerSpec)
	if kind == "radarr" {
		shape["minimumAvailability"] = "string!"
	} else {
		shape["enableSeasonFolders"] = "bool!"
		shape["seriesType"], shape["animeSeriesType"], shape["monitorNewItems"] = "string", "string", "string"
	}
	base := "/settings/" + kind
	s.route("GET "+base, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.servers[kind]) })
	s.route("POST "+base, func(w http.ResponseWriter, r *http.Request) {
		server := s.body(w, r, shape)
		if server == nil {
			return
		}
		server["id"] = 0.0
		if list := s.servers[kind]; len(list) > 0 {
			server["id"] = list[len(list)-1]["id"].(float64) + 1
		}
		s.servers[kind] = append(s.servers[kind], server)
		s.wrote(r)
		answer(w, http.StatusCreated, server)
	})
	s.route("POST "+base+"/test", func(w http.ResponseWriter, r *http.Request) { s.testServer(w, r) })
	s.route("PUT "+base+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		server := s.body(w, r, shape)
		if server == nil {
			return
		}
		for i, old := range s.servers[kind] {
			if fmt.Sprint(old["id"]) == r.PathValue("id") {
				server["id"] = old["id"]
				s.servers[kind][i] = server
				s.wrote(r)
				answer(w, http.StatusOK, server)
				return
			}
		}
		answer(w, http.StatusNotFound, object{"message": "Settings instance not found"})
	})
	s.route("DELETE "+base+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		kept := []object{}
		for _, old := range s.servers[kind] {
			if fmt.Sprint(old["id"]) != r.PathValue("id") {
				kept = append(kept, old)
			}
		}
		s.servers[kind] = kept
		s.wrote(r)
		answer(w, http.StatusOK, object{})
	})
}

// testServer reads what a server has.
func (s *Jellyseerr) testServer(w http.ResponseWriter, r *http.Request) {
	server := s.body(w, r, seerrTestSpec)
	if server == nil {
		return
	}
	var profiles, roots, tags []object
	key := fmt.Sprint(server["apiKey"])
	if err := errors.Join(
		fetchJSON(http.MethodGet, seerrURL(server)+"/api/v3/qualityprofile", key, nil, &profiles),
		fetchJSON(http.MethodGet, seerrURL(server)+"/api/v3/rootfolder", key, nil, &roots),
		fetchJSON(http.MethodGet, seerrURL(server)+"/api/v3/tag", key, nil, &tags),
	); err != nil {
		answer(w, http.StatusInternalServerError, object{"message": "Failed to connect: " + err.Error()})
		return
	}
	answer(w, http.StatusOK, object{"profiles": profiles, "rootFolders": roots, "tags": tags, "urlBase": ""})
}

// AddServer adds a server by hand.
func (s *Jellyseerr) AddServer(kind, name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.servers[kind] = append(s.servers[kind],
		object{"id": float64(len(s.servers[kind])), "name": name, "is4k": true, "isDefault": false})
}
