package policy

import (
	"slices"
	"strings"
)

// Resources of the monitoring's programs that mutants change.
const (
	prometheusConfig   = "prometheus-files-etc-prometheus-prometheus.yml"
	alertmanagerConfig = "alertmanager-files-etc-alertmanager-alertmanager.yml"
	grafanaConfig      = "grafana-files-etc-grafana-grafana.ini"
	// aroundTarget comes before a target in a configuration of Prometheus.
	aroundTarget = "- targets:\n          - "
)

// mountAlso gives a container one more folder of the machine.
func mountAlso(name, source string, readOnly bool) func(*state) {
	return func(s *state) {
		s.get(docker, name).append("mounts", object{"type": "bind", "source": source, "target": "/elsewhere", "readOnly": readOnly})
	}
}

// remount changes a container's mount of a folder.
func remount(name, source string, change func(object)) func(*state) {
	return func(s *state) {
		s.get(docker, name).each("mounts", func(m object) {
			if m["source"] == source {
				change(m)
			}
		})
	}
}

func writable(m object) { m["readOnly"] = false }

// edge lets one container reach another, as the filter and the graph have it.
func edge(file, from, to, address string) func(*state) {
	return func(s *state) {
		p := s.get(command, file)
		p.set(p.at("stdin").(string)+"add element bridge homelab edges { "+from+" . "+address+" }\n", "stdin")
		dependencies, _ := p.of["dependencies"].([]any)
		p.put("dependencies", append(slices.Clone(dependencies), s.get(docker, to).of["urn"]))
	}
}

// leave lets a container out.
func leave(file, address string) func(*state) {
	return func(s *state) {
		p := s.get(command, file)
		p.set(p.at("stdin").(string)+"add element inet homelab_containers internet { "+address+" }\n", "stdin")
	}
}

// labelled gives a container another label for its metrics; none if it is empty. Its outputs are
// encrypted as a whole, so the label is among its inputs.
func labelled(name, value string) func(*state) {
	return func(s *state) {
		inputs := s.get(docker, name).of["inputs"].(object)
		labels := slices.DeleteFunc(inputs["labels"].([]any), func(l any) bool { return l.(object)["label"] == "homelab.metrics" })
		if value != "" {
			labels = append(labels, object{"label": "homelab.metrics", "value": value})
		}
		inputs["labels"] = labels
	}
}

// asked gives the program before the engine's socket one more argument.
func asked(argument string) func(*state) {
	return func(s *state) { s.get(docker, "docker-api").append("command", argument) }
}

func machineMutants() []mutant {
	return []mutant{
		{"what counts for containers may be written to", remount("cadvisor", "/sys/fs/cgroup", writable), []string{"backup-covers", "container-mounts"}},
		{"another container reads what counts for containers", mountAlso("jellyseerr", "/sys/fs/cgroup", true), []string{"container-mounts"}},
		{"cAdvisor reads all of the kernel", remount("cadvisor", "/sys/fs/cgroup", func(m object) { m["source"] = "/sys" }), []string{"container-mounts"}},
		{"another container reads the journal", mountAlso("jellyseerr", "/var/log/journal", true), []string{"container-mounts"}},
		{"the log shipper may write to the journal", remount("alloy", "/var/log/journal", writable), []string{"backup-covers", "container-mounts", "container-user"}},
		{"the log shipper reads all logs of the machine", remount("alloy", "/var/log/journal", func(m object) { m["source"] = "/var/log" }), []string{"container-mounts", "container-user"}},
		{"a folder that holds the machine's own", mountAlso("jellyseerr", "/var", true), []string{"container-mounts"}},
		{"a way around by dots", mountAlso("jellyseerr", "/opt/../etc", true), []string{"container-mounts"}},
		{"the log shipper has a capability", setValue(docker, "alloy", object{"drops": []any{"ALL"}, "adds": []any{"DAC_OVERRIDE"}}, "capabilities"), []string{"container-user"}},
		{"cAdvisor is root", setValue(docker, "cadvisor", "0:0", "user"), []string{"container-user"}},
		{"another container reads the proxy's logs", mountAlso("jellyseerr", "/opt/homelab/caddy/logs", true), []string{"container-shares"}},
		{"the log shipper may write to the proxy's logs", remount("alloy", "/opt/homelab/caddy/logs", writable), []string{"container-shares"}},
		{"the log shipper reads the portal's database", mountAlso("alloy", "/opt/homelab/authelia/data", true), []string{"container-shares"}},
		{"a container reads the portal's secrets", mountAlso("jellyseerr", "/opt/homelab/authelia/secrets", true), []string{"container-shares"}},
		{"a container reads what all others keep", mountAlso("jellyseerr", "/opt/homelab", true), []string{"container-shares"}},
	}
}

func engineMutants() []mutant {
	caught := []string{"engine-socket"}
	return []mutant{
		{"the log shipper has the engine's socket itself", mountAlso("alloy", "/run/docker.sock", true), []string{"container-mounts", "engine-socket"}},
		{"the socket is written to", remount("docker-api", "/run/docker.sock", writable), []string{"backup-covers", "container-mounts", "container-user"}},
		{"another program stands before the engine's socket", replaceText("remoteImage:RemoteImage", "docker-api", "name", "wollomatic/socket-proxy", "tecnativa/docker-socket-proxy"), []string{"container-mounts", "container-user", "engine-socket"}},
		{"another maker's program of the same name", replaceText("remoteImage:RemoteImage", "docker-api", "name", "docker.io/wollomatic", "example.org/wollomatic"), []string{"container-mounts", "container-user", "engine-socket"}},
		{"the next version of the program before the engine's socket", replaceText("remoteImage:RemoteImage", "docker-api", "name", ":1.", ":2."), caught},
		{"the engine may be told to do something", asked("-allowPOST=/containers/[a-f0-9]{12}/restart"), caught},
		{"the engine may be told to delete something", asked("--allowDELETE=/_ping"), caught},
		{"files of containers may be read", asked("-allowGET=/containers/[a-f0-9]{12,64}/archive"), caught},
		{"everything below a container may be read", asked("-allowGET=/containers/.*"), caught},
		{"whatever follows a container's ID may be read", asked("-allowGET=/containers/[a-f0-9]{12,64}/[a-z]+"), caught},
		{"a pattern that is bound at one end", asked("-allowGET=/_ping|/version"), caught},
		{"secrets of a swarm may be read", asked("-allowGET=/v1\\.44/secrets"), caught},
		{"a container's whole file system may be asked for", asked("-allowHEAD=/containers/[a-f0-9]{64}/export"), caught},
		{"labels of other containers say what may be asked", asked("-proxycontainername=docker-api"), caught},
		{"a flag that nobody knows", asked("-allow=everything"), caught},
		{"whoever is in the network may ask the engine", asked("-allowfrom=0.0.0.0/0"), caught},
		{"Grafana may ask the engine", asked("-allowfrom=grafana"), caught},
		{"a variable says what the engine may be asked", func(s *state) { s.get(docker, "docker-api").append("envs", "SP_ALLOW_POST_1=.*") }, caught},
		{"another program in the image before the engine's socket", setValue(docker, "docker-api", []any{"/bin/other"}, "entrypoints"), caught},
		{"the program before the engine's socket has a way out", leave("docker-api-reach", "172.30.2.29"), []string{"engine-socket", "monitoring-internal"}},
		{"the program before the engine's socket is in the proxy's network", func(s *state) {
			s.get(docker, "docker-api").append("networksAdvanced", object{"name": "caddy-proxy", "ipv4Address": "172.30.1.29"})
		}, []string{"engine-socket", "monitoring-internal"}},
		{"Prometheus may ask the engine", edge("prometheus-later-reach", "172.30.2.21", "docker-api", "172.30.2.29 . 2375"), []string{"engine-socket", "monitoring-reach"}},
		{"a service may ask the engine", edge("jellyseerr-reach", "172.30.1.33", "docker-api", "172.30.2.29 . 2375"), []string{"engine-socket", "monitoring-reach"}},
	}
}

func monitoringMutants() []mutant {
	network := func(name, address string) func(*state) {
		return func(s *state) {
			s.get(docker, name).append("networksAdvanced", object{"name": "caddy-proxy", "ipv4Address": address})
		}
	}
	config := func(old, with string) func(*state) { return replaceText(command, prometheusConfig, "stdin", old, with) }
	complete := []string{"monitoring-complete"}
	return []mutant{
		{"Prometheus is in a second network", network("prometheus", "172.30.1.21"), []string{"monitoring-internal"}},
		{"Loki is in the proxy's network", network("loki", "172.30.1.23"), []string{"monitoring-internal"}},
		{"an exporter is in the proxy's network", network("cadvisor", "172.30.1.27"), []string{"monitoring-internal"}},
		{"Grafana has a way out", leave("grafana-reach", "172.30.2.25"), []string{"monitoring-internal"}},
		{"Prometheus has a way out", leave("prometheus-later-reach", "172.30.2.21"), []string{"monitoring-internal"}},
		{"a service reaches Prometheus", edge("jellyseerr-reach", "172.30.1.33", "prometheus", "172.30.2.21 . 9090"), []string{"monitoring-reach"}},
		{"the start page reads logs", edge("home-reach", "172.30.2.30", "loki", "172.30.2.23 . 3100"), []string{"monitoring-reach"}},
		{"the log shipper reaches Prometheus", edge("alloy-reach", "172.30.2.24", "prometheus", "172.30.2.21 . 9090"), []string{"monitoring-reach"}},
		{"the wiring may silence alerts", edge("wire-reach", "172.30.2.62", "alertmanager", "172.30.2.22 . 9093"), []string{"monitoring-reach"}},
		{"Grafana reaches an exporter past Prometheus", edge("grafana-reach", "172.30.2.25", "node-exporter", "172.30.2.26 . 9100"), []string{"monitoring-reach"}},
		{"the blackbox exporter reaches Grafana past the proxy", edge("blackbox-later-reach", "172.30.2.28", "grafana", "172.30.2.25 . 3000"), []string{"monitoring-reach"}},
		{"the proxy is not measured", config(aroundTarget+"caddy:9180", aroundTarget+"authelia:9959"), complete},
		{"a target that is no container", config(aroundTarget+"wire:9797", aroundTarget+"wire.example.com:9797"), complete},
		{"a target at another port", config(aroundTarget+"crowdsec:6060", aroundTarget+"crowdsec:6061"), complete},
		{"targets that nobody knows", config("  - job_name: wire\n", "  - job_name: wire\n    http_sd_configs:\n      - url: http://jellyseerr:5055/\n"), complete},
		{"a certificate that cannot be looked at", config(aroundTarget+"caddy:8443", aroundTarget+"caddy:8444"), complete},
		{"Prometheus may not reach the portal", replaceText(command, "prometheus-later-reach", "stdin", " . 172.30.2.18 . 9959", " . 172.30.2.19 . 9180"), complete},
		{"a configuration of Prometheus that nobody can read", config("scrape_configs:\n", "scrape_configs: [\n"), complete},
		{"nothing writes the configuration of Prometheus", func(s *state) { s.remove(s.get(command, prometheusConfig)) }, complete},
		{"no metrics, and no reason", labelled("jellyseerr", "none: "), complete},
		{"neither metrics nor a reason", labelled("jellyseerr", ""), complete},
		{"metrics that nobody measures", labelled("jellyseerr", "5055/metrics"), complete},
	}
}

func grafanaMutants() []mutant {
	caught := []string{"monitoring-grafana"}
	ini := func(old, with string) func(*state) { return replaceText(command, grafanaConfig, "stdin", old, with) }
	return []mutant{
		{"Grafana asks nobody who he is", ini("[auth.anonymous]\nenabled = false", "[auth.anonymous]\nenabled = true"), caught},
		{"Grafana asks nobody who he is, as it is said last", ini("[auth.basic]", "[auth.anonymous]\nenabled: yes ; for now\n\n[auth.basic]"), caught},
		{"Grafana asks nobody who he is, by a variable", setValue(docker, "grafana", []any{"GF_AUTH_ANONYMOUS_ENABLED=true"}, "envs"), caught},
		{"Grafana asks nobody who he is, by an argument", setValue(docker, "grafana", []any{"cfg:default.auth.anonymous.enabled=true"}, "command"), caught},
		{"Grafana has a login form", ini("disable_login_form = true", "disable_login_form = false"), caught},
		{"Grafana takes passwords", ini("[auth.basic]\nenabled = false", "[auth.basic]"), caught},
		{"Grafana believes a header", ini("[auth.proxy]\nenabled = false", "[auth.proxy]\nenabled = 1"), caught},
		{"anybody can make an account in Grafana", ini("[users]\nallow_sign_up = false", "[users]\nallow_sign_up = true"), caught},
		{"Grafana has an administrator of its own", ini("disable_initial_admin_creation = true\n", ""), caught},
		{"Grafana lets users of Google in", ini("[auth.ldap]", "[auth.google]\nenabled = true\n\n[auth.ldap]"), caught},
		{"whoever has no role in Grafana gets one", ini("role_attribute_strict = true", "role_attribute_strict = false"), caught},
		{"everybody is an administrator of Grafana", ini("role_attribute_path = groups && contains(groups, 'admins') && 'Admin'", "role_attribute_path = 'Admin'"), caught},
		{"whoever comes first is an administrator of Grafana", ini("auto_assign_org_role = None", "auto_assign_org_role = Admin"), caught},
		{"somebody else says who is in Grafana", ini("https://auth.example.com/api/oidc/userinfo", "https://login.example.org/userinfo"), caught},
		{"Grafana asks who is in without TLS", ini("https://auth.example.com/api/oidc/token", "http://auth.example.com/api/oidc/token"), caught},
		{"a configuration of Grafana that goes on in the next line", ini("allowed_groups = admins", "allowed_groups = \\"), caught},
		{"nothing writes the configuration of Grafana", func(s *state) { s.remove(s.get(command, grafanaConfig)) }, caught},
		{"a password is enough for Grafana", replaceText(command, "authelia-configuration.yml", "stdin", "- grafana.example.com\n      policy: two_factor", "- grafana.example.com\n      policy: one_factor"), caught},
		{"Grafana is past the portal", unasked("grafana:3000"), caught},
	}
}

// unasked makes the site that leads to an upstream ask the portal nothing.
func unasked(upstream string) func(*state) {
	return func(s *state) {
		p := s.get(command, "Caddyfile")
		before, after, _ := strings.Cut(p.at("stdin").(string), "import service "+upstream)
		at := strings.LastIndex(before, "import authenticate\n")
		p.set(before[:at]+before[at+len("import authenticate\n"):]+"import service "+upstream+after, "stdin")
	}
}

func alertMutants() []mutant {
	config := func(old, with string) func(*state) {
		return replaceText(command, alertmanagerConfig, "stdin", old, with)
	}
	return []mutant{
		{"nobody is told", config("receiver: operator", "receiver: nobody"), []string{"monitoring-alerts"}},
		{"the one who is told has no way to hear of it", config("webhook_configs:\n      - url_file: /etc/alertmanager/secrets/webhook\n        send_resolved: true\n        max_alerts: 5\n        timeout: 20s\n", "webhook_configs: []\n"), []string{"monitoring-alerts"}},
		{"nobody is told of what is critical", config("receiver: operator\n      matchers:\n        - severity=", "receiver: nobody\n      matchers:\n        - severity="), []string{"monitoring-alerts"}},
		{"a configuration of Alertmanager that nobody can read", config("receivers:\n", "receivers: [\n"), []string{"monitoring-alerts"}},
		{"nothing writes the configuration of Alertmanager", func(s *state) { s.remove(s.get(command, alertmanagerConfig)) }, []string{"monitoring-alerts"}},
		{"the address of a webhook in clear", config("url_file: /etc/alertmanager/secrets/webhook", "url: https://ntfy.sh/correct-horse"), []string{"monitoring-secrets"}},
		{"the mail server's password in clear", config("resolve_timeout: 5m", "resolve_timeout: 5m\n  smtp_auth_password: correct-horse"), []string{"monitoring-secrets"}},
		{"Grafana's secret at the portal in clear", replaceText(command, grafanaConfig, "stdin", "client_secret = $__file{/run/secrets/grafana-login-secret}", "client_secret = correct-horse"), []string{"monitoring-secrets"}},
		{"Grafana's secret in its environment", replaceText(command, grafanaConfig, "stdin", "client_secret = $__file{/run/secrets/grafana-login-secret}", "client_secret = $__env{SECRET}"), []string{"monitoring-secrets"}},
		{"a password of a datasource in clear", replaceText(command, "grafana-files-etc-grafana-provisioning-datasources-homelab.yaml", "stdin", "datasources:\n", "datasources:\n  - name: other\n    secureJsonData:\n      httpHeaderValue1: correct-horse\n"), []string{"monitoring-secrets"}},
	}
}

func startPageMutants() []mutant {
	return []mutant{
		{"Grafana says to the start page who a visitor is", edge("grafana-reach", "172.30.2.25", "home", "172.30.2.30 . 8080"), []string{"home-identity"}},
		{"a service says to the start page who a visitor is", edge("jellyseerr-reach", "172.30.1.33", "home", "172.30.2.30 . 8080"), []string{"home-identity"}},
		{"Prometheus measures the start page where it believes who asks", func(s *state) {
			edge("prometheus-later-reach", "172.30.2.21", "home", "172.30.2.30 . 8080")(s)
			s.get(command, prometheusConfig).replace("stdin", "home:9798", "home:8080")
			labelled("home", "8080/metrics")(s)
		}, []string{"home-identity"}},
		{"the start page believes visitors who they are", unasked("home:8080"), []string{"home-identity"}},
	}
}

func innerMutants() []mutant {
	caught := []string{"proxy-inner"}
	caddyfile := func(old, with string) func(*state) { return replaceText(command, "Caddyfile", "stdin", old, with) }
	const asks = "method GET\n\t\t\t\tvars {http.request.uri} /.well-known/openid-configuration"
	return []mutant{
		{"containers may log somebody in", caddyfile("vars {http.request.uri} /api/oidc/token", "vars {http.request.uri} /api/firstfactor /api/oidc/token"), caught},
		{"containers may ask for all paths of a kind", caddyfile(asks, "method GET\n\t\t\t\tpath /api/*"), caught},
		{"containers may use any method", caddyfile("method POST\n\t\t\t\tvars", "vars"), caught},
		{"containers may delete", caddyfile("method POST\n\t\t\t\tvars", "method POST DELETE\n\t\t\t\tvars"), caught},
		{"containers may ask anything", caddyfile("\t\trespond @not_asked 404\n", ""), caught},
		{"containers are answered before anything is refused", caddyfile("\t\trespond @not_asked 404\n\t\timport portal\n", "\t\timport portal\n\t\trespond @not_asked 404\n"), caught},
		{"what containers may not ask is answered", caddyfile("respond @not_asked 404", "respond @not_asked 204"), caught},
		{"a condition more on what containers may not ask", caddyfile("\t\t@not_asked {\n", "\t\t@not_asked {\n\t\t\theader X-Any *\n"), caught},
		{"the listener for containers leads to a service", caddyfile("respond @not_asked 404\n\t\timport portal", "respond @not_asked 404\n\t\timport service radarr:7878"), caught},
		{"the listener for containers has another name", caddyfile("https://auth.example.com:443 {", "https://radarr.example.com:443 {"), caught},
		{"the listener for containers answers to any name", caddyfile("https://:443 {\n\timport inner\n\tabort", "https://:443 {\n\timport inner\n\trespond 200"), caught},
		{"another container may ask the portal", edge("blackbox-later-reach", "172.30.2.28", "caddy", "172.30.2.19 . 443"), caught},
		{"banned containers are answered", caddyfile("import admit\n\t\tinspect body 64KiB portal\n\t\timport strip\n\t\t@not_asked", "inspect body 64KiB portal\n\t\timport strip\n\t\t@not_asked"), []string{"proxy-bouncer"}},
		{"what containers ask is not inspected", caddyfile("import admit\n\t\tinspect body 64KiB portal\n\t\timport strip\n\t\t@not_asked", "import admit\n\t\timport strip\n\t\t@not_asked"), []string{"proxy-inspection"}},
	}
}
