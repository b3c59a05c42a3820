package substitute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"homelab/components/images"
	"homelab/internal/buildfolder"
	"homelab/internal/standins"
	"homelab/internal/toolchain"
)

// deployed are the images that a deployment may ask for.
var deployed = []images.Image{
	images.CrowdSec, images.Authelia, images.Valkey, images.Jellyfin, images.Jellyseerr, images.Radarr, images.Sonarr, images.Recyclarr,
	images.Prowlarr, images.Jackett, images.QBittorrent, images.Gluetun, images.Prometheus, images.Alertmanager, images.Blackbox,
	images.NodeExporter, images.CAdvisor, images.Loki, images.Alloy, images.Promtail, images.Grafana, images.DockerAPI,
}

// plans are all images that can be made: those of this repository, the real programs of others, and
// the stand-ins.
func (b *builder) plans(ctx context.Context) ([]plan, error) {
	var out []plan
	for _, tool := range []toolchain.Tool{toolchain.CaddyTool, toolchain.HomeTool, toolchain.WireTool} {
		p, err := b.built(tool)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tool.Dir, err)
		}
		out = append(out, p)
	}
	for _, of := range []func(context.Context) (plan, error){b.crowdsec, b.valkey, b.qbittorrent} {
		p, err := of(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	out = append(out, b.monitoring()...)
	for _, s := range standins.Images {
		p, err := b.standin(s)
		if err != nil {
			return nil, fmt.Errorf("stand-in for %s: %w", s.Repository, err)
		}
		// The real program is better.
		if !slices.ContainsFunc(out, func(other plan) bool { return other.image == p.image }) {
			out = append(out, p)
		}
	}
	return out, nil
}

// reference is how a deployment names an image of a repository.
func reference(repository string) (string, error) {
	for _, i := range deployed {
		if strings.HasPrefix(i.Reference(), repository+":") {
			return i.Reference(), nil
		}
	}
	return "", errors.New("no deployment has such an image")
}

// built is an image that the deployment builds from a folder of this repository, made as the
// Dockerfile there says.
func (b *builder) built(tool toolchain.Tool) (plan, error) {
	folder := filepath.Join(b.root, filepath.FromSlash(tool.Dir))
	digest, err := buildfolder.Digest(folder)
	if err != nil {
		return plan{}, err
	}
	text, err := os.ReadFile(filepath.Join(folder, "Dockerfile"))
	if err != nil {
		return plan{}, err
	}
	recipe, err := readDockerfile(string(text))
	if err != nil {
		return plan{}, fmt.Errorf("reading its Dockerfile: %w", err)
	}
	name := path.Base(tool.Dir)
	return plan{
		image: fmt.Sprintf("homelab/%s:%s", name, buildfolder.Tag(digest)), name: "homelab-" + name, config: recipe.config,
		fill: func(ctx context.Context, l layer) error {
			if recipe.certificates {
				if err := b.addCertificates(ctx, l); err != nil {
					return err
				}
			}
			return b.tool(ctx, l, recipe.program, tool)
		},
	}, nil
}

// tool builds a program and puts it into a layer.
func (b *builder) tool(ctx context.Context, l layer, inside string, tool toolchain.Tool) error {
	source, err := toolchain.Build(ctx, tool, b.Progress)
	if err == nil {
		l.program(inside, source)
	}
	return err
}

// valkeyEntrypoint is what the image's own script comes to for a container that is not root.
const valkeyEntrypoint = `#!/bin/sh
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
	set -- valkey-server "$@"
fi
exec "$@"
`

func (b *builder) valkey(ctx context.Context) (plan, error) {
	version, err := b.debian.version(ctx, "valkey-server")
	if err != nil {
		return plan{}, err
	}
	return plan{
		image: images.Valkey.Reference(), name: "valkey", on: []string{baseLayer, shellLayer}, debian: []string{"valkey-server", "valkey-cli"},
		config: ocispec.ImageConfig{
			Env: []string{searchPath, "VALKEY_VERSION=" + version}, Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"valkey-server"},
			WorkingDir: "/data", Volumes: map[string]struct{}{"/data": {}},
		},
		fill: func(_ context.Context, l layer) error {
			l.file("/usr/local/bin/docker-entrypoint.sh", 0o755, []byte(valkeyEntrypoint))
			l.folder("/data", 0o755, 999, 1000)
			return nil
		},
		instead: fmt.Sprintf("Valkey %s of Debian in the place of %s", version, tag(images.Valkey)),
	}, nil
}

// tag is the version that a deployment asks for.
func tag(i images.Image) string {
	name, _, _ := strings.Cut(i.Reference(), "@")
	return name[strings.LastIndex(name, ":")+1:]
}

// monitoring are the programs of the monitoring that can be built.
func (b *builder) monitoring() []plan {
	var out []plan
	for _, m := range []struct {
		image  images.Image
		name   string
		tool   toolchain.Tool
		beside []toolchain.Tool // that the deployment runs in the container
		user   string
		config ocispec.ImageConfig
		folder string // that the image gives to its user
		note   string
	}{
		{
			image: images.Prometheus, name: "prometheus", tool: toolchain.PrometheusTool, user: "nobody", folder: "/prometheus",
			config: ocispec.ImageConfig{Cmd: []string{"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"}},
			note:   "Prometheus, built without its discovery of targets in clouds",
		},
		{
			image: images.Alertmanager, name: "alertmanager", tool: toolchain.AlertmanagerTool, user: "nobody", folder: "/alertmanager",
			beside: []toolchain.Tool{toolchain.AmtoolTool},
			config: ocispec.ImageConfig{Cmd: []string{"--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"}},
			note:   "Alertmanager, built without its web pages",
		},
		{
			image: images.Blackbox, name: "blackbox", tool: toolchain.BlackboxTool,
			config: ocispec.ImageConfig{Cmd: []string{"--config.file=/etc/blackbox_exporter/config.yml"}},
			note:   "Blackbox exporter, built from its module",
		},
		{
			image: images.NodeExporter, name: "node-exporter", tool: toolchain.NodeExporterTool, user: "nobody", note: "Node exporter, built from its module",
		},
	} {
		config := m.config
		inside := func(tool toolchain.Tool) string { return "/bin/" + tool.Name }
		config.Entrypoint, config.User, config.Env = []string{inside(m.tool)}, m.user, []string{searchPath}
		if m.folder != "" {
			config.WorkingDir, config.Volumes = m.folder, map[string]struct{}{m.folder: {}}
		}
		out = append(out, plan{
			image: m.image.Reference(), name: m.name, on: []string{baseLayer, shellLayer}, config: config, instead: m.note,
			fill: func(ctx context.Context, l layer) error {
				if m.folder != "" {
					l.folder(m.folder, 0o755, 65534, 65534)
				}
				for _, tool := range append([]toolchain.Tool{m.tool}, m.beside...) {
					if err := b.tool(ctx, l, inside(tool), tool); err != nil {
						return err
					}
				}
				return nil
			},
		})
	}
	return out
}

// standin is the image of a stand-in.
func (b *builder) standin(s standins.Image) (plan, error) {
	image, err := reference(s.Repository)
	if err != nil {
		return plan{}, err
	}
	if s.Package == "" || s.Instead == "" {
		return plan{}, errors.New("package and instead are required")
	}
	on := []string{baseLayer, shellLayer}
	if s.Bare {
		on = on[:1]
	}
	env := []string{}
	if s.Env["PATH"] == "" {
		env = append(env, searchPath)
	}
	for name, value := range s.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return plan{
		image: image, name: strings.ReplaceAll(s.Repository[strings.Index(s.Repository, "/")+1:], "/", "-"), on: on, debian: s.Debian,
		config:  ocispec.ImageConfig{Entrypoint: s.Entrypoint, Cmd: s.Cmd, Env: env, User: s.User},
		instead: s.Instead,
		fill: func(ctx context.Context, l layer) error {
			program, err := b.compiled(ctx, s.Package)
			if err != nil {
				return err
			}
			l.program(standins.ProgramPath, program)
			return addFiles(l, s)
		},
	}, nil
}

// compiled builds a package of the checkout, once.
func (b *builder) compiled(ctx context.Context, pkg string) (string, error) {
	out := filepath.Join(b.work, strings.ReplaceAll(strings.TrimPrefix(pkg, "./"), "/", "-"))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	return out, toolchain.CompileStatic(ctx, out, pkg, b.Progress)
}

// addFiles puts the links and folders of a stand-in into a layer.
func addFiles(l layer, s standins.Image) error {
	uid, gid, err := ids(s.User)
	if err != nil {
		return err
	}
	for name, what := range s.Files {
		switch {
		case what == standins.Directory:
			l.folder(name, 0o755, uid, gid)
		case path.IsAbs(what):
			l.link(name, what)
		default:
			return fmt.Errorf("%s is neither a folder nor a link: %q", name, what)
		}
	}
	return nil
}

// ids are the numbers of an image's user.
func ids(user string) (uid, gid int, err error) {
	switch user {
	case "", "root":
		return 0, 0, nil
	case "nobody":
		return 65534, 65534, nil
	}
	text := user
	if !strings.Contains(text, ":") {
		text += ":0"
	}
	if n, err := fmt.Sscanf(text+" ", "%d:%d ", &uid, &gid); n != 2 || err != nil {
		return 0, 0, fmt.Errorf("user %q is neither root nor nobody nor numbers", user)
	}
	return uid, gid, nil
}

// torrentEntrypoint is what the image's own comes to where the deployment has put a configuration
// into /config.
const torrentEntrypoint = `#!/bin/sh
set -e
umask "${UMASK:-0002}"
if [ ! -f /config/qBittorrent/qBittorrent.conf ]; then
	echo "/config/qBittorrent/qBittorrent.conf is missing" >&2
	exit 1
fi
log=/config/qBittorrent/logs/qbittorrent.log
if [ ! -f "$log" ]; then
	mkdir -p "${log%/*}"
	ln -sf /proc/self/fd/1 "$log"
fi
exec qbittorrent-nox "$@"
`

func (b *builder) qbittorrent(ctx context.Context) (plan, error) {
	version, err := b.debian.version(ctx, "qbittorrent-nox")
	if err != nil {
		return plan{}, err
	}
	return plan{
		image: images.QBittorrent.Reference(), name: "qbittorrent", on: []string{baseLayer, shellLayer}, debian: []string{"bash", "curl", "qbittorrent-nox"},
		config: ocispec.ImageConfig{
			Env: []string{
				"HOME=/config", searchPath, "QBT_CONFIRM_LEGAL_NOTICE=1", "TZ=Etc/UTC", "UMASK=0002", "XDG_CONFIG_HOME=/config", "XDG_DATA_HOME=/config",
			},
			Entrypoint: []string{"/entrypoint.sh"}, User: "65534:65533", WorkingDir: "/config", Volumes: map[string]struct{}{"/config": {}},
		},
		fill: func(_ context.Context, l layer) error {
			l.file("/entrypoint.sh", 0o755, []byte(torrentEntrypoint))
			l.folder("/config", 0o755, 65534, 65533)
			return nil
		},
		instead: fmt.Sprintf("qBittorrent %s of Debian in the place of %s", version, tag(images.QBittorrent)),
	}, nil
}
