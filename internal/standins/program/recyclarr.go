package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// recyclarrInstance is a Radarr or Sonarr in recyclarr.yml.
type recyclarrInstance struct {
	BaseURL           string    `yaml:"base_url"`
	APIKey            yaml.Node `yaml:"api_key"`
	QualityDefinition struct {
		Type string `yaml:"type"`
	} `yaml:"quality_definition"`
	QualityProfiles []struct {
		TrashID string `yaml:"trash_id"`
		Name    string `yaml:"name"`
		Reset   struct {
			Enabled bool `yaml:"enabled"`
		} `yaml:"reset_unmatched_scores"`
	} `yaml:"quality_profiles"`
}

var trashID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// recyclarr makes the quality profiles of its file where they are missing. What the guides say of
// them it does not know: they are those that the service itself starts from.
func recyclarr(ctx context.Context, p process) error {
	if len(p.args) != 4 || p.args[0] != "sync" || p.args[1] != "--config" || p.args[3] != "--log" {
		return fmt.Errorf("recyclarr: the stand-in knows sync --config FILE --log, not %q", p.args)
	}
	for _, name := range []string{"RECYCLARR_CONFIG_DIR", "RECYCLARR_DATA_DIR"} {
		if err := replaceFile(p.path(p.env(name)+"/standin"), nil); p.env(name) == "" || err != nil {
			return errors.Join(fmt.Errorf("recyclarr: %s is no folder to write to", name), err)
		}
	}
	content, err := os.ReadFile(p.path(p.args[2]))
	if err != nil {
		return err
	}
	services := map[string]map[string]recyclarrInstance{}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&services); err != nil {
		return fmt.Errorf("recyclarr: %s: %w", p.args[2], err)
	}
	log := &lines{out: p.out}
	log.printf("This is a stand-in for Recyclarr 8.7.2")
	var problems []error
	for _, kind := range slices.Sorted(maps.Keys(services)) {
		if kind != "radarr" && kind != "sonarr" {
			return fmt.Errorf("recyclarr: there is no service %q", kind)
		}
		for _, name := range slices.Sorted(maps.Keys(services[kind])) {
			made, err := p.syncProfiles(ctx, services[kind][name])
			if err != nil {
				problems = append(problems, fmt.Errorf("recyclarr: %s: %w", name, err))
				continue
			}
			log.printf("[INF] %s: Total of %d profiles were synced", name, made)
		}
	}
	return errors.Join(problems...)
}

// syncProfiles makes the profiles of one service, and returns how many it made.
func (p process) syncProfiles(ctx context.Context, i recyclarrInstance) (made int, err error) {
	if i.APIKey.Tag != "!file" {
		return 0, errors.New("the key is to be in a file")
	}
	key, err := os.ReadFile(p.path(i.APIKey.Value))
	if err != nil {
		return 0, err
	}
	s := servarr{strings.TrimSuffix(i.BaseURL, "/") + "/api/v3", strings.TrimSpace(string(key))}
	var there []struct{ Name string }
	var schema map[string]any
	if err := errors.Join(
		s.call(ctx, http.MethodGet, "/qualityprofile", nil, &there), s.call(ctx, http.MethodGet, "/qualityprofile/schema", nil, &schema),
	); err != nil {
		return 0, err
	}
	if i.QualityDefinition.Type == "" || len(i.QualityProfiles) == 0 {
		return 0, errors.New("there is no quality definition, or no profile")
	}
	for _, profile := range i.QualityProfiles {
		if !trashID.MatchString(profile.TrashID) || profile.Name == "" || !profile.Reset.Enabled {
			return made, fmt.Errorf("%q is no profile of the guides", profile.TrashID)
		}
		if slices.ContainsFunc(there, func(other struct{ Name string }) bool { return other.Name == profile.Name }) {
			continue
		}
		schema["name"] = profile.Name
		if err := s.call(ctx, http.MethodPost, "/qualityprofile", schema, nil); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// servarr is the API of Radarr or Sonarr.
type servarr struct{ base, key string }

func (s servarr) call(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("X-Api-Key", s.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}
