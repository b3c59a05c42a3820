package images

import (
	"fmt"
	"regexp"
	"strings"
)

// check is how a program checks its files.
type check struct {
	// none says why the program has no check; the other fields are empty then.
	none string
	// program replaces the image's entry point, and arguments its arguments.
	program   string
	arguments func(c container) ([]string, error)
	// network means that the check needs the internet.
	network bool
	// codes are further exit codes that mean: the files are fine.
	codes []int
	// refused is what a program says that accepts bad files and goes on.
	refused *regexp.Regexp
	// files must be among what is mounted and named by the check.
	files []string
}

// words are arguments that do not depend on the container.
func words(list ...string) func(container) ([]string, error) {
	return func(container) ([]string, error) { return list, nil }
}

// shell is a script for the image's own shell.
func shell(script string) func(container) ([]string, error) { return words("-c", script) }

// flag puts the value that a container's program has for a flag behind words: the check reads the
// file that the program reads.
func flag(name string, before ...string) func(container) ([]string, error) {
	return func(c container) ([]string, error) {
		value, err := flagOf(c, name)
		return append(append([]string{}, before...), value), err
	}
}

// flagOf is the value of a flag in a container's command line: -name=value or -name value, with one
// hyphen or two.
func flagOf(c container, name string) (string, error) {
	line := append(append([]string{}, c.Entrypoints...), c.Command...)
	for n, word := range line {
		bare := strings.TrimLeft(word, "-")
		if bare == word {
			continue
		}
		if value, ok := strings.CutPrefix(bare, name+"="); ok {
			return value, nil
		}
		if bare == name && n+1 < len(line) {
			return line[n+1], nil
		}
	}
	return "", fmt.Errorf("its command line has no flag %s: %q", name, line)
}

// last puts the last argument of a container's program behind words.
func last(before ...string) func(container) ([]string, error) {
	return func(c container) ([]string, error) {
		if len(c.Command) == 0 {
			return nil, fmt.Errorf("it has no arguments")
		}
		return append(append([]string{}, before...), c.Command[len(c.Command)-1]), nil
	}
}

// Why many programs have no check.
const (
	noConfiguration = "it has no configuration but flags and variables, which it checks at its start"
	ownDatabase     = "what it is told lies in a database or file of its own, which it makes at its start; images/wire reads it back over the API"
)

// checks are by the name of the container. CrowdSec's needs the internet, as its container does at
// every start: its hub has the parsers that our files refer to.
var checks = map[string]check{
	"authelia": {program: "authelia", arguments: words("config", "validate"), files: []string{"/config/configuration.yml"}},
	"authelia-store": {
		program:   "sh",
		arguments: shell(`valkey-server /run/secrets/valkey.conf & for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; valkey-cli < /run/secrets/probe 2>&1 | grep -qx PONG && exit 0; done; exit 1`),
		files:     []string{"/run/secrets/valkey.conf", "/run/secrets/probe"},
	},
	"caddy": {program: "caddy", arguments: words("validate", "--adapter", "caddyfile", "--config", "/etc/caddy/Caddyfile"), files: []string{"/etc/caddy/Caddyfile"}},
	"crowdsec": {
		program: "/bin/bash", network: true,
		arguments: shell(`set -e; rsync -a --ignore-existing /staging/etc/crowdsec/ /etc/crowdsec/; cscli machines add check --auto --force; cscli hub update; cscli collections install $COLLECTIONS; crowdsec -c /etc/crowdsec/config.yaml -t`),
		files:     []string{"/etc/crowdsec/config.yaml.local", "/etc/crowdsec/profiles.yaml"},
	},
	"gluetun":     {none: "Gluetun checks its settings at its start only, before it asks the VPN's server"},
	"jackett":     {none: ownDatabase},
	"jellyfin":    {none: ownDatabase},
	"jellyseerr":  {none: ownDatabase},
	"prowlarr":    {none: ownDatabase},
	"qbittorrent": {none: "qBittorrent reads what it understands of its file and replaces the rest by defaults; tests/host runs Debian's on it"},
	"radarr":      {none: ownDatabase},
	"recyclarr":   {none: "it checks its file when it writes to Radarr and Sonarr, and is not healthy then"},
	"sonarr":      {none: ownDatabase},
	"wire": {
		// 1 is that nothing answers; a plan that it does not take is 2.
		program: "homelab-wire", codes: []int{1}, files: []string{"/etc/wire/plan.json"},
		arguments: words("once", "--check", "--plan", "/etc/wire/plan.json", "--state", "/state", "--patience", "1ms"),
	},

	"alertmanager": {program: "amtool", arguments: flag("config.file", "check-config")},
	"alloy":        {program: "/bin/alloy", arguments: last("validate")},
	"blackbox": {
		program: "/bin/blackbox_exporter",
		arguments: func(c container) ([]string, error) {
			config, err := flagOf(c, "config.file")
			return []string{"--config.check", "--config.file=" + config}, err
		},
	},
	"cadvisor":   {none: noConfiguration},
	"docker-api": {none: noConfiguration},
	"grafana": {
		files: []string{"/etc/grafana/grafana.ini"},
		// A data source that cannot be provisioned ends the start; a dashboard is only logged.
		program: "/bin/bash", refused: regexp.MustCompile(`logger=provisioning\S* .*level=error.*|level=error .*logger=provisioning\S*.*`),
		arguments: shell(`/run.sh & for i in {1..90}; do sleep 1; curl -fsS -o /dev/null http://127.0.0.1:3000/api/health && sleep 5 && exit 0; kill -0 $! || exit 1; done; exit 1`),
	},
	"home": {none: "images/home refuses a file that it does not know at its start; its own tests run it"},
	"loki": {
		program: "/usr/bin/loki",
		arguments: func(c container) ([]string, error) {
			config, err := flagOf(c, "config.file")
			return []string{"-verify-config", "-config.file=" + config}, err
		},
	},
	"node-exporter": {none: noConfiguration},
	"prometheus":    {program: "promtool", arguments: flag("config.file", "check", "config")},
	"promtail": {
		program: "/usr/bin/promtail",
		arguments: func(c container) ([]string, error) {
			config, err := flagOf(c, "config.file")
			return []string{"-check-syntax", "-config.file=" + config}, err
		},
	},
}

// checkOf returns the check of a container.
func checkOf(name string) (check, bool) {
	k, ok := checks[name]
	return k, ok
}
