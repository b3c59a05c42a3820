// Package page reads what the start page shows. A page is one JSON file that the deployment writes.
// Reading it is strict: a field that is not known, a wrong type, another version or a value that
// cannot work is an error.
package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the image has no other files
)

// Version is the only version of the format.
const Version = 1

// maxSize bounds a page's file, in bytes; one with twenty services has about 6 KiB.
const maxSize = 1 << 20

// Layer is the part of the system that something belongs to.
type Layer string

// The layers that can have a hostname.
const (
	Gateway    Layer = "gateway"
	Service    Layer = "service"
	VPN        Layer = "vpn"
	Monitoring Layer = "monitoring"
)

func (l Layer) valid() bool { return slices.Contains([]Layer{Gateway, Service, VPN, Monitoring}, l) }

// Page is what the start page shows, and whom it asks for states.
type Page struct {
	// Version is the version of the format; required, 1.
	Version int `json:"version"`
	// Domain is the zone's apex: the page's title; required.
	Domain string `json:"domain"`
	// Timezone is an IANA name, in which times are written; required.
	Timezone string `json:"timezone"`
	// Prometheus is the address of the states, such as http://prometheus:9090; required.
	Prometheus string `json:"prometheus"`
	// Alertmanager is the address of the alerts, such as http://alertmanager:9093; required.
	Alertmanager string `json:"alertmanager"`
	// Admins is the group that sees alerts, backup and machine; required.
	Admins string `json:"admins"`
	// Library means that the machine mounts a media box.
	Library bool `json:"library"`
	// VPN means that something runs behind a VPN tunnel.
	VPN bool `json:"vpn"`
	// Entries are what has a hostname, sorted by name; names are unique.
	Entries []Entry `json:"entries"`

	location *time.Location
}

// Entry is something that people can open.
type Entry struct {
	// Name is its container's name; required.
	Name string `json:"name"`
	// Title is what people call it; required.
	Title string `json:"title"`
	// Summary is what it is for, in a few words; empty for none.
	Summary string `json:"summary"`
	// Layer is the part of the system that it belongs to; required.
	Layer Layer `json:"layer"`
	// Hostname is the full host name; required.
	Hostname string `json:"hostname"`
	// Public means that the internet can reach it, not only devices of the tailnet.
	Public bool `json:"public"`
	// Groups are those that the portal lets in; empty where it has a login of its own.
	Groups []string `json:"groups"`
}

// Location is the page's time zone.
func (p *Page) Location() *time.Location { return p.location }

// URL is the entry's address.
func (e Entry) URL() string { return "https://" + e.Hostname + "/" }

// Read returns the page in a file.
func Read(path string) (*Page, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("reading the page: %s is larger than %d bytes", path, maxSize)
	}
	p, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the page in %s: %w", path, err)
	}
	return p, nil
}

// Parse returns the page in data, or everything that is wrong with it.
func Parse(data []byte) (*Page, error) {
	// Another version may have other fields: it is named before they are.
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("not JSON of this form: %w", err)
	}
	if version.Version != Version {
		return nil, fmt.Errorf("version %d is not %d, the one that this program reads", version.Version, Version)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	p := &Page{}
	if err := decoder.Decode(p); err != nil {
		return nil, fmt.Errorf("not JSON of this form: %w", err)
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// validate returns everything wrong with the page, and remembers its time zone.
func (p *Page) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	require(p.Domain != "", "domain is missing")
	require(address(p.Prometheus), "prometheus: %q is not http://host:port", p.Prometheus)
	require(address(p.Alertmanager), "alertmanager: %q is not http://host:port", p.Alertmanager)
	require(group(p.Admins), "admins: %q is not the name of a group", p.Admins)
	var err error
	p.location, err = time.LoadLocation(p.Timezone)
	require(err == nil && p.Timezone != "", "timezone: %q is not known", p.Timezone)
	for i, e := range p.Entries {
		require(e.Name != "" && e.Title != "", "entries[%d]: name and title are required", i)
		require(i == 0 || p.Entries[i-1].Name < e.Name, "entries[%d]: %q is there twice or out of order", i, e.Name)
		require(e.Layer.valid(), "entries[%d]: layer: %q is not known", i, string(e.Layer))
		require(hostname(e.Hostname), "entries[%d]: hostname: %q is none", i, e.Hostname)
		for _, g := range e.Groups {
			require(group(g), "entries[%d]: groups: %q is not the name of a group", i, g)
		}
	}
	return errors.Join(errs...)
}

// address reports whether text is http://host:port and nothing more.
func address(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "http" && u.Port() != "" && hostname(u.Hostname()) && text == "http://"+u.Host
}

// hostname reports whether name is made of DNS labels.
func hostname(name string) bool {
	for _, label := range strings.Split(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// group reports whether name can stand in a list that is separated by commas.
func group(name string) bool {
	return name != "" && name == strings.TrimSpace(name) && !strings.ContainsAny(name, ",\r\n")
}
