package rules

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// grafanaFile is where Grafana finds its configuration without a flag.
const grafanaFile = "/etc/grafana/grafana.ini"

// grafanaSwitches are the settings of Grafana that decide who gets in by another way than the
// portal, and as what: what each must be, and what it is where the configuration says nothing
// (conf/defaults.ini of Grafana 13).
var grafanaSwitches = []struct {
	section, key    string
	must, otherwise bool
	problem         string
}{
	{"auth.anonymous", "enabled", false, false, "it asks nobody who he is"},
	{"auth", "disable_login_form", true, false, "it has a login form of its own"},
	{"auth.basic", "enabled", false, true, "it takes passwords of its own"},
	{"auth.proxy", "enabled", false, false, "it believes a header that says who a visitor is"},
	{"auth", "oauth_allow_insecure_email_lookup", false, false, "whoever has somebody's e-mail address is him"},
	{"users", "allow_sign_up", false, false, "anybody can make an account"},
	{"security", "disable_initial_admin_creation", true, false, "it has an administrator of its own, whose first password is known"},
	{"auth.generic_oauth", "enabled", true, false, "it does not ask the portal"},
	{"auth.generic_oauth", "role_attribute_strict", true, false, "whoever has no role gets one all the same"},
	{"auth.generic_oauth", "skip_org_role_sync", false, false, "a role that the portal takes away stays"},
	{"auth.generic_oauth", "allow_assign_grafana_admin", false, false, "a group makes somebody the administrator of the whole server"},
}

// grafanaLogins are the other ways to get in: any of them may be there, switched off.
const grafanaLogins = "auth."

// judgeGrafana judges who gets into Grafana, and as what.
func judgeGrafana(g *Graph, out *report) {
	out.absent("Grafana")
	for _, c := range g.named(grafana) {
		out.look()
		g.judgeGrafanaOverrides(c, out)
		file := g.configuration(c, "config", grafanaFile)
		switch {
		case file == nil:
			out.fail(c, "nothing writes the configuration of %s", c.Name())
		case file.At("stdin").Hidden():
			out.undecided(file, "the configuration of %s is not known", c.Name())
		default:
			settings, err := readINI(file.Text("stdin"))
			if err != nil {
				out.fail(file, "the configuration of %s cannot be read: %v", c.Name(), err)
				continue
			}
			judgeSwitches(c, file, settings, out)
			g.judgeOAuth(c, file, settings["auth.generic_oauth"], out)
		}
		g.judgeGrafanaSites(c, out)
	}
}

// judgeGrafanaOverrides fails for what holds in place of the configuration file.
func (g *Graph) judgeGrafanaOverrides(c *Resource, out *report) {
	for name := range environment(c) {
		out.require(!strings.HasPrefix(name, "GF_"), c, "the variable %s of %s holds in place of its configuration", name, c.Name())
	}
	for _, argument := range c.At("command").Texts() {
		out.require(!strings.HasPrefix(argument, "cfg:"), c, "an argument of %s holds in place of its configuration: %s", c.Name(), argument)
	}
}

func judgeSwitches(c, file *Resource, settings map[string]map[string]string, out *report) {
	for _, s := range grafanaSwitches {
		is, known := switched(settings[s.section][s.key], s.otherwise)
		out.require(known && is == s.must, file, "%s: %s ([%s] %s)", c.Name(), s.problem, s.section, s.key)
	}
	for _, section := range slices.Sorted(maps.Keys(settings)) {
		if !strings.HasPrefix(section, grafanaLogins) || section == "auth.generic_oauth" || section == "auth.basic" {
			continue
		}
		is, known := switched(settings[section]["enabled"], false)
		out.require(known && !is, file, "%s lets people in by another way than the portal: [%s]", c.Name(), section)
	}
	role := settings["users"]["auto_assign_org_role"]
	out.require(role == "None" || role == "Viewer" || role == "", file, "%s makes whoever comes first %s", c.Name(), role)
}

// switched reads a truth value as Grafana does; what is none is unknown.
func switched(text string, otherwise bool) (is, known bool) {
	switch strings.ToLower(text) {
	case "":
		return otherwise, true
	case "yes", "y", "on":
		return true, true
	case "no", "n", "off":
		return false, true
	}
	is, err := strconv.ParseBool(text)
	return is, err == nil
}

// judgeOAuth judges the login: it leads to the portal, and a role follows from a group.
func (g *Graph) judgeOAuth(c, file *Resource, login map[string]string, out *report) {
	for _, key := range []string{"auth_url", "token_url", "api_url"} {
		at, err := url.Parse(login[key])
		portal := err == nil && at.Scheme == "https" && slices.Contains(g.running(authelia), g.container(g.layers.sites[at.Hostname()].upstream))
		out.require(portal, file, "%s asks %q who a visitor is (%s), which is not the portal", c.Name(), login[key], key)
	}
	out.require(strings.Contains(login["role_attribute_path"], "groups"), file, "the role in %s does not follow from a group: %q", c.Name(), login["role_attribute_path"])
}

// judgeGrafanaSites judges Grafana's hostnames: whoever may change what it shows shows both
// factors, on the tailnet too. A group for viewers alone is no exception, because who is in it may
// be in another.
func (g *Graph) judgeGrafanaSites(c *Resource, out *report) {
	config, portal := g.portal()
	for _, s := range g.layers.sites {
		if s.upstream != c.Text("name") {
			continue
		}
		out.require(s.guarded(), s.file, "%s leads to %s past the portal", s.hostname, c.Name())
		if portal == nil || portal.At("stdin").Hidden() {
			continue
		}
		for _, rule := range config.AccessControl.Rules {
			if slices.Contains(rule.Domain, s.hostname) {
				out.require(rule.Policy == "two_factor" || rule.Policy == "deny", portal, "the policy of %s is %s", s.hostname, rule.Policy)
			}
		}
	}
}
