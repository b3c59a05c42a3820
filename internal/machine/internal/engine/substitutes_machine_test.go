//go:build machine

package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/images"
	"homelab/internal/machine/internal/authority"
	"homelab/internal/machine/internal/substitute"
	"homelab/internal/rehearsal"
	imagefolder "homelab/internal/substitutes"
)

// put writes files that a container reads.
func put(t *testing.T, folder string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return folder
}

func bind(source, target string, readOnly bool) m {
	return m{"type": "bind", "source": source, "target": target, "readOnly": readOnly, "bindOptions": m{"propagation": "rprivate"}}
}

// trial is a container of a substitute, as the deployment declares it.
type trial struct {
	image   images.Image
	user    string
	command []any
	health  []any
	mounts  []any
	envs    []any
	// beside is a program of the image that the deployment runs in the container.
	beside []string
}

func trials(t *testing.T, dir string) map[string]trial {
	writable := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, os.Chmod(path, 0o777))
		return path
	}
	wget := func(url string) []any { return []any{"CMD", "wget", "--quiet", "--output-document=/dev/null", url} }
	secrets := put(t, filepath.Join(dir, "valkey"), map[string]string{"valkey.conf": "requirepass abc\nsave \"\"\nappendonly no\n", "probe": "AUTH abc\nPING\n"})
	prometheus := put(t, filepath.Join(dir, "prometheus-config"), map[string]string{"prometheus.yml": "global: {}\n"})
	alertmanager := put(t, filepath.Join(dir, "alertmanager-config"), map[string]string{"alertmanager.yml": "route: {receiver: x}\nreceivers: [{name: x}]\n"})
	blackbox := put(t, filepath.Join(dir, "blackbox-config"), map[string]string{"config.yml": "modules: {x: {prober: tcp}}\n"})
	torrents := writable("torrents")
	put(t, torrents, map[string]string{"qBittorrent/qBittorrent.conf": "[LegalNotice]\nAccepted=true\n[Preferences]\nWebUI\\LocalHostAuth=false\nWebUI\\Port=8080\n"})
	require.NoError(t, os.Chown(torrents, 2001, 2001))
	require.NoError(t, os.Chown(filepath.Join(torrents, "qBittorrent"), 2001, 2001))
	require.NoError(t, os.Chown(filepath.Join(torrents, "qBittorrent", "qBittorrent.conf"), 2001, 2001))
	keys := put(t, filepath.Join(dir, "keys"), map[string]string{"bouncer_key_caddy": "0123456789abcdef"})
	return map[string]trial{
		"valkey": {
			image: images.Valkey, user: "999:1000", command: []any{"valkey-server", "/run/secrets/valkey.conf"},
			health: []any{"CMD", "sh", "-c", "valkey-cli < /run/secrets/probe | grep -qx PONG"}, mounts: []any{bind(secrets, "/run/secrets", true)},
		},
		"crowdsec": {
			image: images.CrowdSec, user: "0:0", health: []any{"CMD", "cscli", "lapi", "status"},
			mounts: []any{bind(writable("crowdsec"), "/var/lib/crowdsec/data", false), bind(keys, "/run/secrets", true)},
			envs: []any{
				"DISABLE_ONLINE_API=true", "COLLECTIONS=LePresidente/authelia crowdsecurity/appsec-generic-rules crowdsecurity/appsec-virtual-patching " +
					"crowdsecurity/base-http-scenarios crowdsecurity/caddy crowdsecurity/http-cve",
			},
		},
		"prometheus": {
			image: images.Prometheus, user: "2000:2000", health: wget("http://127.0.0.1:9090/-/ready"),
			command: []any{"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"},
			mounts:  []any{bind(prometheus, "/etc/prometheus", true), bind(writable("prometheus"), "/prometheus", false)},
		},
		"alertmanager": {
			image: images.Alertmanager, user: "2000:2000", health: wget("http://127.0.0.1:9093/-/ready"),
			command: []any{"--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager", "--cluster.listen-address="},
			mounts:  []any{bind(alertmanager, "/etc/alertmanager", true), bind(writable("alertmanager"), "/alertmanager", false)},
			beside:  []string{"amtool", "--alertmanager.url=http://127.0.0.1:9093", "alert", "query"},
		},
		"blackbox": {
			image: images.Blackbox, user: "2000:2000", health: wget("http://127.0.0.1:9115/-/healthy"),
			command: []any{"--config.file=/etc/blackbox/config.yml"}, mounts: []any{bind(blackbox, "/etc/blackbox", true)},
		},
		"node-exporter": {image: images.NodeExporter, user: "2000:2000", health: wget("http://127.0.0.1:9100/")},
		"qbittorrent": {
			image: images.QBittorrent, user: "2001:2001", health: wget("http://127.0.0.1:8080/api/v2/app/version"),
			mounts: []any{bind(torrents, "/config", false)},
		},
	}
}

// The folder as a user makes it, on a real engine: each program is healthy by the command that the
// deployment asks with.
func TestSubstitutesRunAsTheDeploymentRunsThem(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "homelab-substitutes-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	made, cache := filepath.Join(dir, "images"), filepath.Join(cache, "homelab", "machine")
	trusted, err := authority.OfCache(cache)
	require.NoError(t, err)
	options := substitute.Options{Folder: made, Cache: cache, Authority: trusted.PEM(), Progress: t.Output()}
	require.NoError(t, substitute.Build(t.Context(), options))
	before := archives(t, made)
	require.NoError(t, substitute.Build(t.Context(), options))
	assert.Equal(t, before, archives(t, made), "the same programs give the same archives")

	folder, err := imagefolder.Open(made)
	require.NoError(t, err)
	e := startDocker(t)
	e.options = Options{Images: folder.Archive, Offline: true}
	for name, each := range trials(t, dir) {
		t.Run(name, func(t *testing.T) {
			e.t = t
			_, out := e.do(rehearsal.Create, remoteImage, "", m{"name": each.image.Reference()})
			in := m{
				"name": name, "image": out["imageId"], "user": each.user, "memory": 256, "memorySwap": 256, "readOnly": each.user != "0:0",
				"capabilities": m{"drops": []any{"ALL"}}, "securityOpts": []any{"no-new-privileges"}, "networkMode": "none", "init": true,
				"mounts":      append([]any{m{"type": "tmpfs", "target": "/tmp", "readOnly": false, "tmpfsOptions": m{"sizeBytes": 64 << 20, "mode": 0o1777}}}, each.mounts...),
				"healthcheck": m{"tests": each.health, "interval": "1s", "timeout": "5s", "retries": 60, "startPeriod": "1m0s"},
				"wait":        true, "waitTimeout": 60, "mustRun": true, "restart": "no", "destroyGraceSeconds": 5, "logDriver": "json-file",
			}
			if each.command != nil {
				in["command"] = each.command
			}
			if each.envs != nil {
				in["envs"] = each.envs
			}
			result, err := e.try(rehearsal.Create, containers, "", in)
			require.NoError(t, err)
			require.Empty(t, result.NotReady, e.docker("logs", name))
			if each.beside != nil {
				e.docker(append([]string{"exec", name}, each.beside...)...) // which must succeed
			}
			if name == "crowdsec" {
				assert.Contains(t, e.docker("exec", name, "cscli", "bouncers", "list", "-o", "raw"), "caddy,")
				e.docker("restart", name)
				require.Eventually(t, func() bool {
					return e.docker("inspect", "--format", "{{.State.Health.Status}}", name) == "healthy"
				}, time.Minute, time.Second)
				assert.Contains(t, e.docker("exec", name, "cscli", "decisions", "add", "--ip", "192.0.2.77", "--duration", "5m"), "Decision successfully added")
			}
			_, err = e.try(rehearsal.Remove, containers, result.ID, in)
			require.NoError(t, err)
		})
	}
	e.t = t
	ours := ""
	for _, i := range mustRead(t, made).Images {
		if strings.HasPrefix(i.Image, "homelab/caddy:") {
			ours = i.Image + "-4711"
		}
	}
	_, out := e.do(rehearsal.Create, builtImage, "", m{"imageName": ours, "skipPush": true, "build": m{"context": "."}})
	assert.Contains(t, e.docker("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", out["imageId"].(string), "version"), "v2.")
}

func mustRead(t *testing.T, folder string) imagefolder.Index {
	t.Helper()
	index, err := imagefolder.Read(folder)
	require.NoError(t, err)
	return index
}

// archives are the hashes of a folder's archives.
func archives(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, i := range mustRead(t, folder).Images {
		out[i.Archive] = i.SHA256
	}
	return out
}
