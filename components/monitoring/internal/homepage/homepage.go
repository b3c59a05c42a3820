// Package homepage renders the file that the start page's program reads: what has a hostname, and
// whom to ask for states. images/home/internal/page has the format's meaning.
package homepage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
)

// Name is the start page's own container, which the page does not list.
const Name = "home"

// Admins is the group whose members see alerts, backup and machine.
const Admins = "admins"

// The containers that are asked for states and for alerts.
const (
	metrics = "prometheus"
	alerts  = "alertmanager"
)

// version is the version of the format that images/home reads.
const version = 1

// page is the format of images/home/internal/page.
type page struct {
	Version      int     `json:"version"`
	Domain       string  `json:"domain"`
	Timezone     string  `json:"timezone"`
	Prometheus   string  `json:"prometheus"`
	Alertmanager string  `json:"alertmanager"`
	Admins       string  `json:"admins"`
	Library      bool    `json:"library"`
	VPN          bool    `json:"vpn"`
	Entries      []entry `json:"entries"`
}

type entry struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Summary  string   `json:"summary"`
	Layer    string   `json:"layer"`
	Hostname string   `json:"hostname"`
	Public   bool     `json:"public"`
	Groups   []string `json:"groups"`
}

// Config returns the page of a system, as JSON: an entry for every subject with a hostname, in the
// order of their names.
func Config(m watch.Model) ([]byte, error) {
	if err := check(m); err != nil {
		return nil, err
	}
	p := page{
		Version: version, Domain: m.Domain, Timezone: m.Timezone, Admins: Admins,
		VPN: len(m.Of(watch.VPN)) > 0, Entries: []entry{},
	}
	for _, s := range m.Subjects {
		switch s.Name {
		case metrics:
			p.Prometheus = "http://" + s.Address()
		case alerts:
			p.Alertmanager = "http://" + s.Address()
		}
		p.Library = p.Library || s.Library
		if s.Hostname == "" || s.Name == Name {
			continue
		}
		p.Entries = append(p.Entries, entry{
			Name: s.Name, Title: s.Title, Summary: s.Summary, Layer: string(s.Layer), Hostname: s.Hostname, Public: s.Public,
			Groups: append([]string{}, s.Groups...),
		})
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(p); err != nil {
		return nil, fmt.Errorf("marshalling the start page of %s: %w", m.Domain, err)
	}
	return out.Bytes(), nil
}

// check returns what the page's program would refuse, or show wrongly.
func check(m watch.Model) error {
	p := validate.Of("start page")
	p.Merge(m.Validate())
	for _, name := range []string{metrics, alerts} {
		s, ok := m.Subject(name)
		p.Require(ok && s.Scraped(), "%s is not there to be asked", name)
	}
	hostnames := map[string]string{}
	for _, s := range m.Subjects {
		if s.Hostname == "" {
			continue
		}
		p.Require(strings.HasSuffix(s.Hostname, "."+m.Domain), "%s: the hostname %s is not of %s", s.Name, s.Hostname, m.Domain)
		other, twice := hostnames[s.Hostname]
		p.Require(!twice, "%s has the hostname of %s", s.Name, other)
		hostnames[s.Hostname] = s.Name
		for _, g := range s.Groups {
			// The proxy sends a visitor's groups in one header, separated by commas.
			p.Require(g != "" && g == strings.TrimSpace(g) && !strings.ContainsAny(g, ",\r\n"), "%s: %q cannot be a group", s.Name, g)
		}
	}
	return p.Err()
}
