package grafana

import (
	"path"
	"strconv"
	"strings"

	"homelab/components/internal/watch"
)

const (
	on  = "true"
	off = "false"
)

// sessionDays is for how long somebody stays logged in. The portal is asked at every request
// anyway; what a login fixes is the role.
const sessionDays = 1

// configuration is grafana.ini. Every key is one of conf/defaults.ini of Grafana's sources.
func configuration(m watch.Model, host string, login Login) ini {
	out := ini{
		{"paths", []setting{
			{"data", DataFolder},
			{"logs", path.Join(DataFolder, "log")},
			{"plugins", path.Join(DataFolder, "plugins")},
			{"provisioning", provisioningFolder},
		}},
		{"server", []setting{
			{"protocol", "http"},
			{"http_port", strconv.Itoa(Port)},
			{"domain", host},
			{"root_url", "https://" + host + "/"},
		}},
		{"database", []setting{
			{"type", "sqlite3"},
			{"path", "grafana.db"},
			// Readers and the writer do not lock each other out.
			{"wal", on},
		}},
		{"log", []setting{{"mode", "console"}, {"level", "info"}}},
		{"log.console", []setting{{"format", "json"}}},
		{"metrics", []setting{{"enabled", on}}},
		{"dashboards", []setting{{"default_home_dashboard_path", dashboardPath(overviewUID)}}},
		{"date_formats", []setting{{"default_timezone", m.Timezone}}},
	}
	out = append(out, silence()...)
	alerts, _ := m.Subject("alertmanager") // without it, the data sources are refused
	out = append(out, guards(alerts.Address())...)
	return append(out, accounts(login)...)
}

// silence is what Grafana would ask of the internet or offer to send there, and what other programs
// here do: Alertmanager alerts.
func silence() ini {
	return ini{
		{"analytics", []setting{
			{"reporting_enabled", off},
			{"check_for_updates", off},
			{"check_for_plugin_updates", off},
			{"feedback_links_enabled", off},
		}},
		{"news", []setting{{"news_feed_enabled", off}}},
		{"plugins", []setting{
			{"plugin_admin_enabled", off},
			// The image brings the data sources' plugins. Grafana 13 replaces those that are older
			// than its catalogue's, and on a read-only file system removes them in the attempt
			// (grafana/grafana issue 132528).
			{"preinstall_disabled", on},
			{"preinstall_auto_update", off},
			{"public_key_retrieval_disabled", on},
		}},
		{"cloud_migration", []setting{{"enabled", off}}},
		{"support_bundles", []setting{{"enabled", off}}},
		{"unified_alerting", []setting{{"enabled", off}}},
		{"snapshots", []setting{{"enabled", off}, {"external_enabled", off}}},
		{"public_dashboards", []setting{{"enabled", off}}},
	}
}

// guards is what protects a browser, the keys of what the database keeps, and what of the data
// sources may be asked directly: alerts is Alertmanager's address.
func guards(alerts string) ini {
	return ini{
		{"security", []setting{
			{"disable_initial_admin_creation", on},
			{"secret_key", fromFile(SecretKeyFile)},
			{"disable_gravatar", on},
			{"cookie_secure", on},
			{"cookie_samesite", "lax"},
			{"allow_embedding", off},
			// Of the data sources, only Alertmanager's is asked with the browser's own requests: without
			// this, whoever may look at dashboards sends Loki any GET there is, such as its shutdown.
			{"data_source_proxy_whitelist", alerts},
		}},
		// The default is a key that everybody knows.
		{"secrets_manager.encryption.secret_key.v1", []setting{{"secret_key", fromFile(SecretKeyFile)}}},
		{"panels", []setting{{"disable_sanitize_html", off}}},
	}
}

// accounts is who gets in, and as what. An account is made at the first login at the portal, which
// is what allow_sign_up of that login means; the one of [users] is a form for strangers.
func accounts(login Login) ini {
	lifetime := strconv.Itoa(sessionDays) + "d"
	return ini{
		{"users", []setting{
			{"allow_sign_up", off},
			{"allow_org_create", off},
			{"auto_assign_org", on},
			{"auto_assign_org_id", "1"},
			{"auto_assign_org_role", "None"},
		}},
		{"auth", []setting{
			{"disable_login_form", on},
			{"login_maximum_inactive_lifetime_duration", lifetime},
			{"login_maximum_lifetime_duration", lifetime},
			{"oauth_allow_insecure_email_lookup", off},
		}},
		{"auth.anonymous", []setting{{"enabled", off}}},
		{"auth.basic", []setting{{"enabled", off}}},
		{"auth.proxy", []setting{{"enabled", off}}},
		{"auth.jwt", []setting{{"enabled", off}}},
		{"auth.ldap", []setting{{"enabled", off}}},
		{"auth.passwordless", []setting{{"enabled", off}}},
		// Nobody changes the login in the browser.
		{"sso_settings", []setting{{"configurable_providers", ""}}},
		{"auth.generic_oauth", []setting{
			{"enabled", on},
			{"name", "Portal"},
			{"allow_sign_up", on},
			{"auto_login", on},
			{"client_id", login.ClientID},
			{"client_secret", fromFile(login.SecretFile)},
			{"auth_style", "InHeader"},
			{"use_pkce", on},
			{"scopes", "openid profile email groups"},
			{"auth_url", login.AuthorizationURL},
			{"token_url", login.TokenURL},
			{"api_url", login.UserInfoURL},
			{"login_attribute_path", "preferred_username"},
			{"name_attribute_path", "name"},
			{"email_attribute_path", "email"},
			{"groups_attribute_path", "groups"},
			{"allowed_groups", strings.Join(append([]string{login.AdminGroup}, login.ViewerGroups...), " ")},
			{"role_attribute_path", roles(login)},
			{"role_attribute_strict", on},
			{"skip_org_role_sync", off},
			{"allow_assign_grafana_admin", off},
		}},
	}
}

// roles is the expression (JMESPath) that finds the user's role. Grafana asks it of the ID token
// first and of the user info only while it has found none. So it ends without a default: the
// portal's ID token holds no groups, and a default would be found there, for everybody
// (grafana/grafana issue 106686). Without a role nobody gets in.
func roles(login Login) string {
	role := func(group, role string) string {
		return "groups && contains(groups, '" + group + "') && '" + role + "'"
	}
	out := []string{role(login.AdminGroup, "Admin")}
	for _, g := range login.ViewerGroups {
		out = append(out, role(g, "Viewer"))
	}
	return strings.Join(out, " || ")
}
