package media

import (
	"encoding/xml"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/internal/apply"
	"homelab/components/service"
	"homelab/components/workload"
)

// Where the services that import find what was downloaded, and the library. Both look the same
// from each of them, or one could not tell another where a file is.
const (
	downloads = "/downloads"
	library   = "/media"
)

// The secrets of the services that programs and people log in to.
const (
	apiKey   = "api-key"
	password = "password"
)

// administrator is the login of a service's own administrator.
const administrator = "admin"

// entrypoint is that of home-operations' images, without their own first process: workload runs
// one.
const entrypoint = "/entrypoint.sh"

// arr is what Radarr, Sonarr and Prowlarr have in common: they come from one code base.
func arr(name, kind, summary string, image images.Image, port, slot int) service.Definition {
	return service.Definition{
		Name:    name,
		Type:    "homelab:media:" + kind,
		Summary: summary,
		Image:   image,
		Port:    port,
		Program: []string{entrypoint},
		Health:  service.Health{Path: "/ping"}, // fails, too, when the database does
		Metrics: workload.NoMetrics(measuredByWiring),
		Folders: []service.Folder{{Base: "config", Target: "/config", Keeps: workload.Databases("*.db")}},
		Scratch: map[string]int{"/tmp": 256},
		Secrets: []string{apiKey, password},
		Seeds: []service.File{{Target: "/config/config.xml", Content: func(given service.Given) (pulumi.StringInput, error) {
			return apply.String(given.Secrets[apiKey], func(key string) (string, error) { return renderArr(kind, key, port) }), nil
		}}},
		Administrator: &service.FirstLogin{Name: administrator, Secret: password},
		Wired:         true,
		Slot:          slot,
		Default: service.Default{
			Hostname:   name,
			Visibility: access.Tailnet,
			Access:     access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
			MemoryMiB:  768,
		},
	}
}

// importer is an arr that fetches downloads and files them in the library.
func importer(d service.Definition) service.Definition {
	d.User = host.MediaOwner
	d.Library = service.WriteLibrary(library)
	d.Downloads = downloads
	// Jellyfin is told of what was imported: it sees no changes of a network mount by itself.
	d.Uses = []service.Use{service.OnIfThere(QBittorrent), service.OnIfThere(Jellyfin)}
	d.Later = []service.Use{service.OnIfThere(Prowlarr)} // it gives them its own address to search at
	d.WayOut = workload.Internet                         // what it knows of films and series
	return d
}

// arrConfig is config.xml, as far as this program has something to say; the program adds the rest.
type arrConfig struct {
	XMLName                xml.Name `xml:"Config"`
	BindAddress            string
	Port                   int
	APIKey                 string `xml:"ApiKey"`
	AuthenticationMethod   string
	AuthenticationRequired string
	AnalyticsEnabled       string
	UpdateMechanism        string
	InstanceName           string
}

// renderArr writes config.xml. The login stays the program's own: beside the proxy, other services
// reach it, and without a login its pages show them the key. Its user is made over the API, before
// there is a route.
func renderArr(name, key string, port int) (string, error) {
	body, err := xml.MarshalIndent(arrConfig{
		BindAddress: "*", Port: port, APIKey: key, AuthenticationMethod: "Forms", AuthenticationRequired: "Enabled",
		AnalyticsEnabled: "False", UpdateMechanism: "Docker", InstanceName: name,
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("rendering config.xml: %w", err)
	}
	return string(body) + "\n", nil
}
