package media

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"homelab/components/images"
	"homelab/components/internal/memory"
	"homelab/components/internal/qualityprofile"
	"homelab/components/service"
	"homelab/components/workload"
)

// RecyclarrName is the container that writes the quality profiles.
const RecyclarrName = "recyclarr"

// Where its files are.
const (
	recyclarrConfig  = "/etc/recyclarr/recyclarr.yml"
	recyclarrProgram = "/etc/recyclarr/homelab-recyclarr"
	recyclarrSecrets = "/run/secrets"
)

// recyclarrLoop replaces the image's timer, which tells nobody of a failure: the container is
// healthy as long as the profiles were written in time. So a deployment waits for the first time,
// the loop repeats it, and an alert tells of a failure.
//
//go:embed files/homelab-recyclarr
var recyclarrLoop []byte

// Recyclarr writes quality profiles of the TRaSH guides into Radarr and Sonarr, and keeps them as
// the guides have them. It runs only where the settings ask for it, so it is not in the catalogue.
func Recyclarr(profiles map[string][]qualityprofile.Profile) service.Definition {
	d := service.Definition{
		Name:     RecyclarrName,
		Type:     "homelab:media:Recyclarr",
		Internal: true,
		Image:    images.Recyclarr,
		Program:  []string{"sh", recyclarrProgram, "run"},
		// The first time it fetches all the guides.
		Health:  service.Health{Command: []string{"sh", recyclarrProgram, "check"}, StartPeriod: 10 * time.Minute},
		Metrics: workload.NoMetrics("it serves nothing; its health says whether the profiles are written"),
		Folders: []service.Folder{
			{Base: "config", Target: "/config", Keeps: workload.Files()}, // which profiles are its own
			{Base: "cache", Target: "/cache", Keeps: workload.Disposable("the guides, which it fetches again")},
		},
		Environment: map[string]string{"RECYCLARR_CONFIG_DIR": "/config", "RECYCLARR_DATA_DIR": "/cache"},
		Scratch:     map[string]int{"/tmp": 64},
		Slot:        61,
		WayOut:      workload.Internet, // the guides are at GitHub
		Default:     service.Default{MemoryMiB: memory.Recyclarr},
	}
	var used []func() service.Definition
	for _, definition := range []func() service.Definition{Radarr, Sonarr} {
		if len(profiles[definition().Name]) > 0 {
			used = append(used, definition)
			d.Uses = append(d.Uses, service.On(definition))
			d.Files = append(d.Files, service.File{Target: recyclarrKey(definition().Name), Content: func(given service.Given) (pulumi.StringInput, error) {
				return given.SecretOf(definition, apiKey)
			}})
		}
	}
	d.Files = append(d.Files, service.Text(recyclarrProgram, recyclarrLoop), service.File{
		Target: recyclarrConfig,
		Content: func(given service.Given) (pulumi.StringInput, error) {
			urls := map[string]string{}
			for _, definition := range used {
				address, err := given.Address(definition)
				if err != nil {
					return nil, err
				}
				urls[definition().Name] = "http://" + address
			}
			text, err := renderRecyclarr(urls, profiles)
			return pulumi.String(text), err
		},
	})
	return d
}

// recyclarrKey is the file with the API key of a service.
func recyclarrKey(service string) string { return path.Join(recyclarrSecrets, service+"-api-key") }

// recyclarrInstance is a Radarr or Sonarr in recyclarr.yml
// (https://recyclarr.dev/reference/configuration). Naming and media management are not in it: they
// are the wiring's.
type recyclarrInstance struct {
	BaseURL           string              `yaml:"base_url"`
	APIKey            yaml.Node           `yaml:"api_key"`
	QualityDefinition recyclarrDefinition `yaml:"quality_definition"`
	QualityProfiles   []recyclarrProfile  `yaml:"quality_profiles"`
}

type recyclarrDefinition struct {
	Type string `yaml:"type"`
}

// recyclarrProfile brings the custom formats that the guides have for it by default.
type recyclarrProfile struct {
	TrashID string         `yaml:"trash_id"`
	Name    string         `yaml:"name"` // stays when the guides call it otherwise
	Reset   recyclarrReset `yaml:"reset_unmatched_scores"`
}

type recyclarrReset struct {
	Enabled bool `yaml:"enabled"`
}

// renderRecyclarr writes recyclarr.yml for services at these URLs. Sizes hold for all profiles of a
// service, so they are those of its first one.
func renderRecyclarr(urls map[string]string, profiles map[string][]qualityprofile.Profile) (string, error) {
	config := map[string]map[string]recyclarrInstance{}
	for name, url := range urls {
		instance := recyclarrInstance{
			BaseURL:           url,
			APIKey:            yaml.Node{Kind: yaml.ScalarNode, Tag: "!file", Value: recyclarrKey(name)},
			QualityDefinition: recyclarrDefinition{profiles[name][0].Sizes},
		}
		for _, p := range profiles[name] {
			instance.QualityProfiles = append(instance.QualityProfiles, recyclarrProfile{p.ID, p.Name, recyclarrReset{true}})
		}
		config[name] = map[string]recyclarrInstance{name: instance}
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(config); err != nil {
		return "", fmt.Errorf("rendering recyclarr.yml: %w", err)
	}
	return out.String(), nil
}
