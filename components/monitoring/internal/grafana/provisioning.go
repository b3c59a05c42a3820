package grafana

import (
	"bytes"
	"fmt"
	"path"

	"gopkg.in/yaml.v3"

	"homelab/components/internal/watch"
)

const (
	provisioningFolder = Folder + "/provisioning"
	dashboardsFolder   = Folder + "/dashboards"
)

// The data sources' identifiers, by which dashboards and links name them.
const (
	prometheusUID   = "prometheus"
	lokiUID         = "loki"
	alertmanagerUID = "alertmanager"
)

func dashboardPath(uid string) string { return path.Join(dashboardsFolder, uid+".json") }

// sourcesFile is a file of data sources
// (grafana.com/docs/grafana/latest/administration/provisioning).
type sourcesFile struct {
	APIVersion int `yaml:"apiVersion"`
	// Prune removes the data sources that are no longer in the file.
	Prune   bool         `yaml:"prune"`
	Sources []dataSource `yaml:"datasources"`
}

type dataSource struct {
	Name      string         `yaml:"name"`
	UID       string         `yaml:"uid"`
	Type      string         `yaml:"type"`
	Access    string         `yaml:"access"`
	URL       string         `yaml:"url"`
	OrgID     int            `yaml:"orgId"`
	IsDefault bool           `yaml:"isDefault"`
	Editable  bool           `yaml:"editable"`
	Options   sourcesOptions `yaml:"jsonData"`
}

type sourcesOptions struct {
	HTTPMethod     string `yaml:"httpMethod,omitempty"`
	PrometheusType string `yaml:"prometheusType,omitempty"`
	// MaxLines is how many log lines a panel asks for.
	MaxLines       int    `yaml:"maxLines,omitempty"`
	Implementation string `yaml:"implementation,omitempty"`
	// ManageAlerts would offer to edit alert rules in the browser.
	ManageAlerts bool `yaml:"manageAlerts"`
}

// dataSources renders the three programs that Grafana asks: it has a connection to no other.
func dataSources(m watch.Model) ([]byte, error) {
	f := sourcesFile{APIVersion: 1, Prune: true}
	for _, s := range []struct {
		subject string
		source  dataSource
	}{
		{"prometheus", dataSource{
			Name: "Prometheus", UID: prometheusUID, Type: "prometheus", IsDefault: true,
			Options: sourcesOptions{HTTPMethod: "POST", PrometheusType: "Prometheus"},
		}},
		{"loki", dataSource{Name: "Loki", UID: lokiUID, Type: "loki", Options: sourcesOptions{MaxLines: 1000}}},
		{"alertmanager", dataSource{
			Name: "Alertmanager", UID: alertmanagerUID, Type: "alertmanager", Options: sourcesOptions{Implementation: "prometheus"},
		}},
	} {
		to, ok := m.Subject(s.subject)
		if !ok || !to.Scraped() {
			return nil, fmt.Errorf("the model has no %s with a port", s.subject)
		}
		s.source.Access, s.source.OrgID = "proxy", 1
		s.source.URL = "http://" + to.Address()
		f.Sources = append(f.Sources, s.source)
	}
	return marshalYAML(f)
}

type providersFile struct {
	APIVersion int        `yaml:"apiVersion"`
	Providers  []provider `yaml:"providers"`
}

type provider struct {
	Name            string          `yaml:"name"`
	OrgID           int             `yaml:"orgId"`
	Folder          string          `yaml:"folder"`
	FolderUID       string          `yaml:"folderUid"`
	Type            string          `yaml:"type"`
	DisableDeletion bool            `yaml:"disableDeletion"`
	AllowUIUpdates  bool            `yaml:"allowUiUpdates"`
	UpdateInterval  int             `yaml:"updateIntervalSeconds"`
	Options         providerOptions `yaml:"options"`
}

type providerOptions struct {
	Path        string `yaml:"path"`
	FromFolders bool   `yaml:"foldersFromFilesStructure"`
}

// dashboardProvider renders where the dashboards are. DisableDeletion stays off: it would keep the
// dashboard of a file that is gone; in the browser nobody can delete one either way.
func dashboardProvider() ([]byte, error) {
	return marshalYAML(providersFile{APIVersion: 1, Providers: []provider{{
		Name: "homelab", OrgID: 1, Folder: "Homelab", FolderUID: "homelab", Type: "file",
		DisableDeletion: false, AllowUIUpdates: false, UpdateInterval: 60,
		Options: providerOptions{Path: dashboardsFolder, FromFolders: false},
	}}})
}

func marshalYAML(v any) ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}
