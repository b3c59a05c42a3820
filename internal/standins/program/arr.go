package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"homelab/images/wire/fake"
)

// arrXML is config.xml of Radarr, Sonarr and Prowlarr: what the deployment says in it, and what the
// program adds.
type arrXML struct {
	XMLName                xml.Name `xml:"Config"`
	BindAddress            string
	Port                   int
	APIKey                 string `xml:"ApiKey"`
	AuthenticationMethod   string
	AuthenticationRequired string
	AnalyticsEnabled       string
	UpdateMechanism        string
	InstanceName           string
	Branch                 string    `xml:",omitempty"`
	LogLevel               string    `xml:",omitempty"`
	Unknown                []unknown `xml:",any"`
}

// unknown is an element that nobody knows.
type unknown struct{ XMLName xml.Name }

// readArr reads config.xml, and writes it again with what the program adds, as the real one does.
func readArr(path string) (*arrXML, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config := &arrXML{}
	if err := xml.Unmarshal(content, config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, element := range config.Unknown {
		return nil, fmt.Errorf("%s: the stand-in knows no %s", path, element.XMLName.Local)
	}
	switch {
	case config.APIKey == "" || config.Port == 0 || config.BindAddress != "*":
		return nil, fmt.Errorf("%s: there must be a key and a port, and everybody may reach it", path)
	case config.AuthenticationMethod != "Forms" || config.AuthenticationRequired != "Enabled":
		return nil, fmt.Errorf("%s: the stand-in has a login, with a form, for everybody", path)
	case config.UpdateMechanism != "Docker":
		return nil, fmt.Errorf("%s: the stand-in cannot update itself", path)
	}
	config.Branch, config.LogLevel = "main", "info"
	content, err = xml.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	return config, replaceFile(path, content)
}

// replaceFile writes a file, whole or not at all.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// arr returns Radarr, Sonarr or Prowlarr.
func arr(name, title, version string) standin {
	return func(ctx context.Context, p process) error {
		if len(p.args) > 0 {
			return fmt.Errorf("%s: unknown arguments %q", name, p.args)
		}
		config, err := readArr(p.path("/config/config.xml"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return app{
			name: name, settings: fake.Settings{Key: config.APIKey, Login: strings.ToLower(config.AuthenticationMethod)},
			database: "/config/" + name + ".db", address: fmt.Sprintf(":%d", config.Port), format: info,
			first:  fmt.Sprintf("Bootstrap: Starting %s - /app/bin/%s - Version %s (a stand-in)", title, title, version),
			second: fmt.Sprintf("Microsoft.Hosting.Lifetime: Now listening on: http://[::]:%d", config.Port),
		}.run(ctx, p)
	}
}

// info is a line of the log of programs in .NET.
func info(line string) string {
	return fmt.Sprintf("%s [Info] %s", time.Now().Format("2006-01-02 15:04:05.0"), line)
}

// jackettJSON is ServerConfig.json: what the deployment says in it, and what the program adds.
type jackettJSON struct {
	Port             int
	AllowExternal    bool
	APIKey           string
	AdminPassword    string
	UpdateDisabled   bool
	BlackholeDir     *string
	UpdatePrerelease bool
}

// readJackett reads ServerConfig.json, and writes it again, as the real one does.
func readJackett(path string) (*jackettJSON, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config := &jackettJSON{}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if config.Port == 0 || config.APIKey == "" || len(config.AdminPassword) != 128 || !config.AllowExternal || !config.UpdateDisabled {
		return nil, fmt.Errorf("%s: there must be a port, a key and a password's SHA-512; everybody may reach it, and it cannot update itself", path)
	}
	if content, err = json.MarshalIndent(config, "", "  "); err != nil {
		return nil, err
	}
	return config, replaceFile(path, content)
}

// jackett is Jackett with three indexers, of which none finds anything.
func jackett(ctx context.Context, p process) error {
	if len(p.args) > 0 {
		return fmt.Errorf("jackett: unknown arguments %q", p.args)
	}
	config, err := readJackett(p.path("/config/Jackett/ServerConfig.json"))
	if err != nil {
		return fmt.Errorf("jackett: %w", err)
	}
	return app{
		name: "jackett", settings: fake.Settings{Key: config.APIKey, PasswordHash: config.AdminPassword},
		file: "/config/Jackett/Indexers/standin.json", address: fmt.Sprintf(":%d", config.Port), format: info,
		first: "Starting Jackett v0.24.2668 (a stand-in)", second: fmt.Sprintf("Now listening on: http://[::]:%d", config.Port),
	}.run(ctx, p)
}

// plainFile keeps a state in a file, where the real program has no database.
type plainFile struct {
	path string
	last []byte
}

// openPlain reads what was kept.
func openPlain(path string) (*plainFile, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = nil, os.MkdirAll(filepath.Dir(path), 0o750)
	}
	return &plainFile{path, content}, err
}

// Content is what was written last; nil if nothing ever was.
func (f *plainFile) Content() []byte { return f.last }

// Write keeps the content in the place of what was there.
func (f *plainFile) Write(content []byte) error {
	if bytes.Equal(content, f.last) {
		return nil
	}
	f.last = bytes.Clone(content)
	return replaceFile(f.path, content)
}

// Close does nothing.
func (f *plainFile) Close() error { return nil }
