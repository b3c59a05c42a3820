package rules

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// alerting is what the rules read of Alertmanager's configuration.
type alerting struct {
	Route     alertRoute       `yaml:"route"`
	Receivers []map[string]any `yaml:"receivers"`
}

type alertRoute struct {
	Receiver string       `yaml:"receiver"`
	Matchers []string     `yaml:"matchers"`
	Routes   []alertRoute `yaml:"routes"`
}

const alertmanagerFile = "/etc/alertmanager/alertmanager.yml"

// judgeReceivers judges who is told.
func judgeReceivers(g *Graph, out *report) {
	out.absent("Alertmanager")
	for _, c := range g.named(alertmanager) {
		file := g.configuration(c, "config.file", alertmanagerFile)
		var read alerting
		switch {
		case file == nil:
			out.fail(c, "nothing writes the configuration of %s", c.Name())
			continue
		case file.At("stdin").Hidden():
			out.undecided(file, "the configuration of %s is not known", c.Name())
			continue
		}
		if err := yaml.Unmarshal([]byte(file.Text("stdin")), &read); err != nil {
			out.fail(file, "the configuration of %s cannot be read", c.Name())
			continue
		}
		told := map[string]bool{}
		for _, r := range read.Receivers {
			name, _ := r["name"].(string)
			for key, value := range r {
				ways, _ := value.([]any)
				told[name] = told[name] || strings.HasSuffix(key, "_configs") && len(ways) > 0
			}
		}
		out.require(told[read.Route.Receiver], file, "%s tells nobody: the receiver %q has no way to do so", c.Name(), read.Route.Receiver)
		if told[read.Route.Receiver] {
			judgeRoutes(c, file, read.Route.Receiver, read.Route.Routes, told, out)
		}
	}
}

// judgeRoutes fails for a route by which alerts go to nobody, unless it names them.
func judgeRoutes(c, file *Resource, above string, routes []alertRoute, told map[string]bool, out *report) {
	for _, r := range routes {
		receiver := r.Receiver
		if receiver == "" {
			receiver = above
		}
		names := slices.ContainsFunc(r.Matchers, func(m string) bool { return alertName.MatchString(m) })
		out.require(told[receiver] || names, file, "%s tells nobody of what matches %s", c.Name(), strings.Join(r.Matchers, ", "))
		judgeRoutes(c, file, receiver, r.Routes, told, out)
	}
}

// alertName finds matchers that name one alert.
var alertName = regexp.MustCompile(`^\s*alertname\s*=\s*[^~\s]`)

// secretKey finds the keys of configurations of the monitoring whose values are secrets. Those that
// name a file end in _file.
var secretKey = regexp.MustCompile(`(?i)(?:^|_)(?:password|secret|token|credentials|key)$`)

// judgeMonitoringSecrets judges what the configurations of the monitoring hold.
func judgeMonitoringSecrets(g *Graph, out *report) {
	out.absent("program of a monitoring")
	for _, c := range g.named(alertmanager, prometheus, loki, blackbox, grafana) {
		out.look()
		for _, file := range g.configurations(c) {
			where := path.Base(puts.FindStringSubmatch(file.Text("create"))[1])
			if file.At("stdin").Hidden() {
				continue // a secret one may hold secrets
			}
			say := func(key string) { out.fail(file, "%s of %s holds a secret: %s", where, c.Name(), key) }
			if strings.HasSuffix(where, ".ini") {
				judgeINISecrets(file.Text("stdin"), say)
				continue
			}
			var read any
			if err := yaml.Unmarshal([]byte(file.Text("stdin")), &read); err != nil {
				out.undecided(file, "%s of %s cannot be read", where, c.Name())
				continue
			}
			(Value{read}).walk("", func(at, text string) { judgeConfigured(g.program(c), at, text, say) })
		}
	}
}

// configurations are the files that a program of the monitoring reads its settings from; rules and
// dashboards have none.
func (g *Graph) configurations(c *Resource) []*Resource {
	var out []*Resource
	for _, b := range binds(c) {
		for _, name := range g.layers.paths {
			if !within(name, b.source) || strings.Contains(name, "/rules/") || strings.Contains(name, "/dashboards/") {
				continue
			}
			if slices.Contains([]string{".yml", ".yaml", ".ini"}, path.Ext(name)) {
				out = append(out, g.layers.files[name])
			}
		}
	}
	return out
}

// fromFile reports whether a value is the name of a file, in the form of Grafana.
func fromFile(text string) bool { return text == "" || strings.HasPrefix(text, "$__file{/") }

func judgeINISecrets(text string, say func(key string)) {
	settings, err := readINI(text)
	if err != nil {
		return // monitoring-grafana says so
	}
	for section, values := range settings {
		for key, value := range values {
			if secretKey.MatchString(key) && !fromFile(value) {
				say("[" + section + "] " + key)
			}
		}
	}
}

// judgeConfigured judges one text of a configuration, by the path to it.
func judgeConfigured(program, at, text string, say func(key string)) {
	key := at[strings.LastIndexByte(at, '.')+1:]
	switch {
	case fromFile(text):
	case secretKey.MatchString(key), strings.Contains(at, "secureJsonData."):
		say(at)
	case program == alertmanager && strings.HasSuffix(key, "url"):
		// Who knows the address of a webhook can use it.
		address, err := url.Parse(text)
		if err != nil || address.User != nil || address.RawQuery != "" || strings.Trim(address.Path, "/") != "" {
			say(at)
		}
	}
}
