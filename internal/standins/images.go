package standins

import "slices"

// Images are all stand-ins.
var Images = slices.Concat(gateway, media, monitoring)

// program is the package of all stand-ins but the portal's. It is told which one it is by the name
// under which it is started, by this variable, or by its first argument.
const (
	program  = "./internal/standins/program"
	variable = "HOMELAB_STANDIN"
)

// gateway are those of the chain.
var gateway = []Image{{
	Repository: "ghcr.io/authelia/authelia",
	Package:    "./tests/chain/standin",
	Entrypoint: []string{"/app/authelia"},
	Env:        map[string]string{"X_AUTHELIA_CONFIG": "/config/configuration.yml"},
	Files:      map[string]string{"/app/authelia": ProgramPath},
	Instead:    "the stand-in for Authelia of tests/chain, which reads the real one's files and has its API, but no pages",
}}

// media are those of the media services.
var media = []Image{
	{
		Repository: "docker.io/jellyfin/jellyfin",
		Package:    program,
		Entrypoint: []string{"/jellyfin/jellyfin"},
		Env:        map[string]string{"JELLYFIN_DATA_DIR": "/config", "JELLYFIN_CACHE_DIR": "/cache"},
		Debian:     []string{"curl"},
		Files:      map[string]string{"/jellyfin/jellyfin": ProgramPath},
		Instead:    "a stand-in for Jellyfin, which knows its first set-up and the calls of the wiring, and plays nothing",
	},
	{
		Repository: "ghcr.io/seerr-team/seerr",
		Package:    program,
		Entrypoint: []string{ProgramPath, "jellyseerr"},
		Instead:    "a stand-in for Seerr, which knows the calls of the wiring, and has no pages",
	},
	homeOperations("radarr", "a stand-in for Radarr, which knows the calls of the wiring, and has no pages"),
	homeOperations("sonarr", "a stand-in for Sonarr, which knows the calls of the wiring, and has no pages"),
	homeOperations("prowlarr", "a stand-in for Prowlarr, which knows the calls of the wiring and two indexers, and has no pages"),
	homeOperations("jackett", "a stand-in for Jackett, which knows the calls of the wiring and three indexers, and has no pages"),
	{
		Repository: "ghcr.io/recyclarr/recyclarr",
		Package:    program,
		Entrypoint: []string{"/usr/local/bin/recyclarr"},
		Files:      map[string]string{"/usr/local/bin/recyclarr": ProgramPath},
		Instead:    "a stand-in for Recyclarr, which makes the profiles that are missing, without what the guides say of them",
	},
	{
		Repository: "docker.io/qmcgaw/gluetun",
		Package:    program,
		Entrypoint: []string{"/gluetun-entrypoint"},
		Files:      map[string]string{"/gluetun-entrypoint": ProgramPath, "/usr/bin/wget": ProgramPath},
		Instead:    "a stand-in for Gluetun, with a tunnel by WireGuard to the rehearsal's VPN, by keys of its own; with OpenVPN it is never healthy",
	},
}

// homeOperations is an image of home-operations'. All of them start a script of the same name.
func homeOperations(name, instead string) Image {
	return Image{
		Repository: "ghcr.io/home-operations/" + name,
		Package:    program,
		Entrypoint: []string{"/entrypoint.sh"},
		Env:        map[string]string{variable: name},
		User:       "65534:65533",
		Files:      map[string]string{"/entrypoint.sh": ProgramPath},
		Instead:    instead,
	}
}

// monitoring are those of the programs that measure, keep and draw.
var monitoring = []Image{
	{
		Repository: "docker.io/wollomatic/socket-proxy",
		Package:    program,
		Entrypoint: []string{"/socket-proxy"},
		User:       "65534:65534",
		Bare:       true,
		Files:      map[string]string{"/socket-proxy": ProgramPath, "/healthcheck": ProgramPath},
		Instead:    "a stand-in for socket-proxy, which lets through what the real one does",
	},
	{
		Repository: "ghcr.io/google/cadvisor",
		Package:    program,
		Entrypoint: []string{"/usr/bin/cadvisor", "-logtostderr"},
		Files:      map[string]string{"/usr/bin/cadvisor": ProgramPath},
		Instead:    "a stand-in for cAdvisor, which measures processor and memory of control groups, and nothing else",
	},
	{
		Repository: "docker.io/grafana/loki",
		Package:    program,
		Entrypoint: []string{"/usr/bin/loki"},
		Cmd:        []string{"-config.file=/etc/loki/local-config.yaml"},
		User:       "10001:10001",
		Bare:       true,
		Files:      map[string]string{"/usr/bin/loki": ProgramPath},
		Instead:    "a stand-in for Loki, which keeps lines that come as JSON, and answers simple questions for them",
	},
	{
		Repository: "docker.io/grafana/alloy",
		Package:    program,
		Entrypoint: []string{"/bin/alloy"},
		Cmd:        []string{"run", "/etc/alloy/config.alloy", "--storage.path=/var/lib/alloy/data"},
		Debian:     []string{"bash"},
		Files:      map[string]string{"/bin/alloy": ProgramPath},
		Instead:    "a stand-in for Alloy, which ships the lines of containers, files and the journal",
	},
	{
		Repository: "docker.io/grafana/promtail",
		Package:    program,
		Entrypoint: []string{"/usr/bin/promtail"},
		Cmd:        []string{"-config.file=/etc/promtail/config.yml"},
		Debian:     []string{"bash"},
		Files:      map[string]string{"/usr/bin/promtail": ProgramPath},
		Instead:    "a stand-in for Promtail, which ships the lines of containers, files and the journal",
	},
	{
		Repository: "docker.io/grafana/grafana",
		Package:    program,
		Entrypoint: []string{"/run.sh"},
		Env:        map[string]string{variable: "grafana", "GF_PATHS_CONFIG": "/etc/grafana/grafana.ini"},
		User:       "472:0",
		Debian:     []string{"curl"},
		Files:      map[string]string{"/run.sh": ProgramPath},
		Instead:    "a stand-in for Grafana, with its login at the portal, and no pages",
	},
}
