//go:build linux

package lab

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"homelab/tests/chain/internal/box"
)

//go:embed crowdsec
var crowdsecFiles embed.FS

// program is where a box has its own programs.
const program = "/program"

// furnish adds what the container's image would bring: the program, what the program needs, and the
// image's own command and environment.
func (l *Lab) furnish(name string, spec box.Spec) (box.Spec, error) {
	if p := l.containers[name].further; p != nil {
		return l.furnishFurther(name, spec, *p), nil
	}
	image := []box.Mount{{Target: "/etc/hosts", Source: l.image(name, "hosts"), ReadOnly: true}}
	tool := func(base, path string) {
		image = append(image, box.Mount{Target: program + "/" + base, Source: path, ReadOnly: true})
	}
	env := []string{"PATH=" + program + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	var command []string
	switch name {
	case "caddy", Plain, Usual:
		// From scratch, as images/caddy/Dockerfile: no shell, no library.
		image = append(image, box.Mount{Target: "/etc/ssl/certs", Source: "/etc/ssl/certs", ReadOnly: true})
		caddy := l.Programs.Caddy
		if other := l.containers[name].program; other != "" {
			caddy = other
		}
		tool("caddy", caddy)
		env = []string{"PATH=" + program, "HOME=/config", "XDG_CONFIG_HOME=/config", "XDG_DATA_HOME=/data"}
		command = []string{"caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"}
	case "crowdsec":
		etc, err := l.crowdsecEtc()
		if err != nil {
			return spec, err
		}
		image = append(image, box.Mount{Target: "/etc/crowdsec", Source: etc})
		tool("crowdsec", l.Programs.CrowdSec)
		tool("cscli", l.Programs.Cscli)
		tool("entrypoint.sh", l.image(name, "entrypoint.sh"))
		command = []string{"sh", program + "/entrypoint.sh"}
	case "authelia-store":
		tool("valkey-server", l.Programs.Store)
		tool("valkey-cli", l.Programs.StoreClient)
		for _, applet := range []string{"head", "nc", "sed", "sh", "sleep"} {
			tool(applet, l.Programs.Busybox)
		}
	case "authelia":
		command = []string{"authelia"}
		if root := l.Programs.AutheliaRoot; root != "" {
			image = append([]box.Mount{{Target: "/", Source: root}}, image...)
			env = []string{"PATH=" + filepath.Dir(l.Programs.Authelia) + ":/usr/sbin:/usr/bin:/sbin:/bin"}
		} else {
			tool("authelia", l.Programs.Authelia)
		}
		if !slices.ContainsFunc(spec.Env, func(pair string) bool { return strings.HasPrefix(pair, "X_AUTHELIA_CONFIG=") }) {
			env = append(env, "X_AUTHELIA_CONFIG=/config/configuration.yml")
		}
	}
	if name != "caddy" && neighbours[name] == 0 && image[0].Target != "/" {
		image = append(image, libraries()...)
	}
	if len(spec.Command) == 0 {
		spec.Command = command
	}
	spec.Mounts = slices.Concat(image, spec.Mounts)
	spec.Env = slices.Concat(env, spec.Env)
	return spec, nil
}

// libraries are this machine's programs and libraries.
func libraries() []box.Mount {
	var out []box.Mount
	for _, folder := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"} {
		if _, err := os.Stat(folder); err == nil {
			out = append(out, box.Mount{Target: folder, Source: folder, ReadOnly: true})
		}
	}
	return out
}

// crowdsecEtc makes /etc/crowdsec, as the image's entry point fills it: the default files of the
// program's module, then what stands in for the hub. It happens once; the folder is the container's
// afterwards.
func (l *Lab) crowdsecEtc() (string, error) {
	etc := l.image("crowdsec", "etc")
	if _, err := os.Stat(etc); err == nil {
		return etc, nil
	}
	defaults := l.Programs.CrowdSecModule
	if err := os.CopyFS(filepath.Join(etc, "patterns"), os.DirFS(filepath.Join(defaults, "config", "patterns"))); err != nil {
		return "", err
	}
	for _, base := range []string{"simulation.yaml", "console.yaml", "acquis.yaml"} {
		text, err := os.ReadFile(filepath.Join(defaults, "config", base))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(etc, base), text, 0o644); err != nil {
			return "", err
		}
	}
	if err := l.crowdsecMainFile(filepath.Join(defaults, "build", "docker", "config.yaml"), filepath.Join(etc, "config.yaml")); err != nil {
		return "", err
	}
	hub, err := fs.Sub(crowdsecFiles, "crowdsec/etc")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(etc, hub); err != nil {
		return "", err
	}
	entrypoint, err := crowdsecFiles.ReadFile("crowdsec/entrypoint.sh")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(l.image("crowdsec", "entrypoint.sh"), entrypoint, 0o644); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(etc, "hub"), 0o755); err != nil {
		return "", err
	}
	return etc, os.WriteFile(filepath.Join(etc, "hub", ".index.json"), []byte("{}\n"), 0o644)
}

// crowdsecMainFile is the image's config.yaml after the entry point removed what our environment
// switches off: the central API, and TLS.
func (l *Lab) crowdsecMainFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	api, _ := file["api"].(map[string]any)
	server, ok := api["server"].(map[string]any)
	if !ok {
		return fmt.Errorf("reading %s: no api.server", from)
	}
	delete(server, "online_client")
	delete(server, "tls")
	out, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	return os.WriteFile(to, out, 0o600)
}
