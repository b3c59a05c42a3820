package simcloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pinned = "ghcr.io/example/app:1.2@sha256:abababababababababababababababababababababababababababababababab"

// dockerHost boots a server and connects a docker provider to it.
func dockerHost(t *testing.T) (*fleet, *engine, *made) {
	t.Helper()
	f := newFleet(t)
	server := f.boot("homelab")
	return f, f.docker("homelab"), server
}

func (f *fleet) docker(host string) *engine {
	f.Helper()
	d, err := f.device(host)
	require.NoError(f, err)
	return f.connect("docker", m{"host": "ssh://root@" + d["addresses"].([]any)[0].(string), "sshOpts": []any{"-o", "KnownHostsCommand=/bin/echo %H " + f.publicKey}})
}

// image puts an image on the host and returns its ID.
func image(e *engine) string {
	return e.create(typeRemoteImage, "img", m{"name": pinned}).out["imageId"].(string)
}

func TestDockerConnectsLazilyAndChecksTheHostKey(t *testing.T) {
	f, _, _ := dockerHost(t)
	d, err := f.device("homelab")
	require.NoError(t, err)
	address := d["addresses"].([]any)[0].(string)
	for want, config := range map[string]m{
		"never uses the local Docker daemon":                        {},
		"only ssh://user@host is simulated":                         {"host": "unix:///var/run/docker.sock"},
		"Cannot connect to the Docker daemon at ssh://r@100.64.9.9": {"host": "ssh://r@100.64.9.9"},
		"Host key verification failed":                              {"host": "ssh://r@" + address, "sshOpts": []any{"-o", "KnownHostsCommand=/bin/echo x " + f.other}},
	} {
		e := f.connect("docker", config)
		assert.Contains(t, e.refuse(typeDockerVol, "v", m{"name": "v"}), want)
	}
	f.connect("docker", m{"host": "ssh://r@" + address + ":2222"}).create(typeDockerVol, "v", m{"name": "v"})
}

func TestTwoHostsAreSeparate(t *testing.T) {
	f, one, server := dockerHost(t)
	f.boot("second")
	two := f.docker("second")
	net := m{"name": "proxy", "ipamConfigs": []any{m{"subnet": "172.30.1.0/24"}}}
	a := one.create(typeNetwork, "a", net)
	b := two.create(typeNetwork, "b", net)
	require.True(t, one.refresh(a))
	assert.False(t, one.refresh(b))

	require.NoError(t, f.hcloud.delete(server))
	require.ErrorContains(t, one.delete(a), "Cannot connect to the Docker daemon")
	require.True(t, two.refresh(b))
	for _, entity := range f.w.Inventory() {
		assert.NotEqual(t, a.id, entity.ID, "the daemon went with its machine")
	}
}

func TestImages(t *testing.T) {
	f, e, _ := dockerHost(t)
	for _, bad := range []string{"caddy", "UPPER:1", "caddy:", "caddy@sha256:12"} {
		assert.NotEmpty(t, e.refusals(typeRemoteImage, m{"name": bad}), bad)
	}
	img := e.create(typeRemoteImage, "img", m{"name": pinned, "keepLocally": true})
	assert.Equal(t, "ghcr.io/example/app@sha256:"+strings.Repeat("ab", 32), img.out["repoDigest"])
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, img.out["imageId"])
	other := e.create(typeRemoteImage, "other", m{"name": "caddy:2.11.4"})
	assert.Regexp(t, `^caddy@sha256:[0-9a-f]{64}$`, other.out["repoDigest"])
	assert.Equal(t, []string{"name"}, e.diff(other, m{"name": "caddy:2.12.0"}).GetReplaces())

	c := e.create(typeContainer, "c", m{"name": "c1", "image": other.out["imageId"]})
	e.create(typeContainer, "c2", m{"name": "c2", "image": img.out["repoDigest"]})
	assert.Contains(t, e.refuse(typeContainer, "c4", m{"name": "c4", "image": "redis:7"}), "unable to find or pull image")
	require.ErrorContains(t, e.delete(other), "image is being used by running container")
	require.NoError(t, e.delete(c))
	require.NoError(t, e.delete(other))
	require.NoError(t, e.delete(img), "a kept image is only forgotten")
	e.create(typeContainer, "c5", m{"name": "c5", "image": pinned})
	assert.NotEmpty(t, f.w.Residue())
}

func TestNetworks(t *testing.T) {
	_, e, _ := dockerHost(t)
	in := m{"name": "proxy", "ipamConfigs": []any{m{"subnet": "172.30.1.0/24"}}}
	assert.Contains(t, e.refusals(typeNetwork, m{"ipamConfigs": []any{m{"subnet": "172.30.1.1/24"}}})[0], "is not a network")
	assert.Contains(t, e.refuse(typeNetwork, "n", m{"name": "host"}), "predefined")
	assert.Contains(t, e.refuse(typeNetwork, "n", m{"name": "n", "ipamConfigs": []any{m{"subnet": "172.17.128.0/24"}}}), "Pool overlaps", "the default bridge is there")
	assert.Contains(t, e.refuse(typeNetwork, "n", m{"name": "n", "ipamConfigs": []any{m{"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}}}), "no matching subnet")
	net := e.create(typeNetwork, "n", in)
	assert.Regexp(t, `^[0-9a-f]{64}$`, net.id)
	assert.Equal(t, "bridge", net.out["driver"])
	assert.Contains(t, e.refuse(typeNetwork, "m", with(in, m{"ipamConfigs": nil})), "already exists")
	assert.Contains(t, e.refuse(typeNetwork, "m", with(in, m{"name": "m"})), "Pool overlaps")
	auto := e.create(typeNetwork, "auto", m{})
	assert.Regexp(t, `^auto-[0-9a-f]{7}$`, auto.out["name"])
	assert.Equal(t, "172.18.0.0/16", auto.out["ipamConfigs"].([]any)[0].(m)["subnet"])
	d := e.diff(net, with(in, m{"internal": true}))
	assert.Equal(t, []string{"internal"}, d.GetReplaces())
	assert.True(t, d.GetDeleteBeforeReplace())

	c := e.create(typeContainer, "c", m{"name": "c1", "image": image(e), "networksAdvanced": []any{m{"name": "proxy"}}})
	require.ErrorContains(t, e.delete(net), "has active endpoints")
	require.NoError(t, e.delete(c))
	require.NoError(t, e.delete(net))
}

func TestContainerAddresses(t *testing.T) {
	_, e, _ := dockerHost(t)
	net := e.create(typeNetwork, "n", m{"name": "proxy", "ipamConfigs": []any{m{"subnet": "172.30.1.0/29"}}})
	img := image(e)
	on := func(name string, entry m) m {
		return m{"name": name, "image": img, "networksAdvanced": []any{with(m{"name": net.id}, entry)}}
	}
	address := func(r *made) any { return r.out["networkDatas"].([]any)[0].(m)["ipAddress"] }
	assert.Equal(t, "172.30.1.2", address(e.create(typeContainer, "a", on("a1", nil))))
	assert.Equal(t, "172.30.1.4", address(e.create(typeContainer, "b", on("b1", m{"ipv4Address": "172.30.1.4"}))))
	assert.Equal(t, "172.30.1.3", address(e.create(typeContainer, "c", on("c1", nil))))
	assert.Contains(t, e.refuse(typeContainer, "d", on("d1", m{"ipv4Address": "172.30.1.4"})), "Address already in use")
	assert.Contains(t, e.refuse(typeContainer, "d", on("d1", m{"ipv4Address": "10.0.0.1"})), "no configured subnet contains")
	assert.Contains(t, e.refuse(typeContainer, "d", m{"name": "d1", "image": img, "networksAdvanced": []any{m{"name": "ghost"}}}), "network ghost not found")
	e.create(typeContainer, "e", on("e1", nil))
	e.create(typeContainer, "f", on("f1", nil))
	assert.Contains(t, e.refuse(typeContainer, "g", on("g1", nil)), "no available IPv4 addresses")
}

func TestContainerIsRefused(t *testing.T) {
	_, e, _ := dockerHost(t)
	img := image(e)
	in := m{"name": "app", "image": img}
	for want, change := range map[string]m{
		"mount path must be absolute":         {"mounts": []any{m{"type": "bind", "source": "data", "target": "/x"}}},
		"must be an absolute path":            {"mounts": []any{m{"type": "bind", "source": "/x", "target": "x"}}},
		"the pattern '^(bind|volume|tmpfs)$'": {"mounts": []any{m{"type": "nfs", "source": "/x", "target": "/x"}}},
		"source must not be given":            {"mounts": []any{m{"type": "tmpfs", "source": "/x", "target": "/x"}}},
		"unknown propagation":                 {"mounts": []any{m{"type": "bind", "source": "/x", "target": "/x", "bindOptions": m{"propagation": "up"}}}},
		"host_path must be an absolute":       {"volumes": []any{m{"hostPath": "x", "containerPath": "/x"}}},
		"container_path must be":              {"volumes": []any{m{"volumeName": "v", "containerPath": "x"}}},
		"only one of 'content'":               {"uploads": []any{m{"file": "/x", "content": "a", "contentBase64": "Yg=="}}},
		"NAME=value":                          {"envs": []any{"A"}},
		"is not a duration":                   {"healthcheck": m{"tests": []any{"CMD", "x"}, "interval": "soon"}},
		"restart to be one of":                {"restart": "sometimes"},
		"one of [tcp udp sctp]":               {"ports": []any{m{"internal": 80.0, "protocol": "http"}}},
		"out of range":                        {"ports": []any{m{"internal": 80.0, "external": 70000.0}}},
		"invalid host IP":                     {"ports": []any{m{"internal": 80.0, "ip": "localhost"}}},
		"invalid container name":              {"name": "a b"},
		"memory to be at least":               {"memory": -1.0},
	} {
		assert.Contains(t, strings.Join(e.refusals(typeContainer, with(in, change)), "\n"), want)
	}
	assert.Contains(t, e.refuse(typeContainer, "x", with(in, m{"command": []any{""}})), "may not be empty")
	assert.Contains(t, e.refuse(typeContainer, "x", with(in, m{"networkMode": "ghost"})), "network ghost not found")
	first := e.create(typeContainer, "app", in)
	assert.Regexp(t, `^[0-9a-f]{64}$`, first.id)
	assert.Contains(t, e.refuse(typeContainer, "x", in), `The container name "/app" is already in use by container "`+first.id)
}

func TestContainerSharingANamespace(t *testing.T) {
	_, e, _ := dockerHost(t)
	img := image(e)
	vpn := e.create(typeContainer, "vpn", m{"name": "vpn", "image": img})
	in := m{"name": "app", "image": img, "networkMode": "container:" + vpn.id}
	assert.Contains(t, e.refuse(typeContainer, "app", with(in, m{"networkMode": "container:0123"})), "No such container")
	for _, change := range []m{{"hostname": "h"}, {"ports": []any{m{"internal": 80.0}}}, {"networksAdvanced": []any{m{"name": "x"}}}, {"dns": []any{"1.1.1.1"}}} {
		assert.Contains(t, e.refuse(typeContainer, "app", with(in, change)), "conflicting options")
	}
	e.create(typeContainer, "app", in)
}

func TestHostPorts(t *testing.T) {
	f, e, _ := dockerHost(t)
	img := image(e)
	on := func(name string, port m) m { return m{"name": name, "image": img, "ports": []any{port}} }
	e.create(typeContainer, "a", on("a1", m{"internal": 443.0, "external": 443.0, "ip": "198.51.100.1"}))
	e.create(typeContainer, "b", on("b1", m{"internal": 443.0, "external": 443.0, "ip": "100.64.0.1"}))
	e.create(typeContainer, "c", on("c1", m{"internal": 443.0, "external": 443.0, "ip": "198.51.100.1", "protocol": "udp"}))
	all, err := e.try(typeContainer, "d", on("d1", m{"internal": 443.0, "external": 443.0}))
	require.ErrorContains(t, err, "port is already allocated", "0.0.0.0 conflicts with every address")
	require.NotNil(t, all, "the daemon created it before it could not start it")
	assert.Equal(t, []Entity{{typeContainer, all.id, "d1"}}, f.w.Unready())
	assert.False(t, e.refresh(all), "a container that does not run is read as gone")
	e.create(typeContainer, "free", on("e1", m{"internal": 80.0, "external": 8080.0}))
	_, err = e.try(typeContainer, "f", on("f1", m{"internal": 80.0, "external": 8080.0, "ip": "100.64.0.1"}))
	require.ErrorContains(t, err, "port is already allocated")
}

func TestContainerHealth(t *testing.T) {
	f, e, _ := dockerHost(t)
	img := image(e)
	in := m{"name": "app", "image": img, "wait": true, "healthcheck": m{"tests": []any{"CMD", "true"}}}
	_, err := e.try(typeContainer, "none", with(in, m{"name": "none", "healthcheck": nil}))
	require.ErrorContains(t, err, "does not have a healthcheck defined")

	f.w.Inject(Fault{Type: typeContainer, Name: "app", Operation: OpCreate, Partial: true, Times: 1, Err: "container is unhealthy"})
	sick, err := e.try(typeContainer, "app", in)
	require.ErrorContains(t, err, "container is unhealthy")
	require.NotNil(t, sick)
	require.NoError(t, e.update(sick, in), "the next up does not wait again")
	assert.Contains(t, f.w.Unready(), Entity{typeContainer, sick.id, "app"})

	d := e.diff(sick, with(in, m{"healthcheck": m{"tests": []any{"CMD", "false"}}, "tmpfs": m{"/x": ""}, "init": true, "memory": 512.0}))
	assert.Empty(t, d.GetReplaces(), "these change in place, says the provider")
	require.NoError(t, e.update(sick, with(in, m{"healthcheck": m{"tests": []any{"CMD", "false"}}, "tmpfs": m{"/x": ""}, "memory": 512.0})))
	live, err := f.w.Live(typeContainer, "app")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"tests": []any{"CMD", "true"}}, live["healthcheck"], "and does nothing")
	assert.Nil(t, live["tmpfs"])
	assert.Equal(t, 512.0, live["memory"])
	assert.Equal(t, map[string]any{"tests": []any{"CMD", "false"}}, sick.out["healthcheck"])
}

func TestContainerDiff(t *testing.T) {
	_, e, _ := dockerHost(t)
	in := m{"name": "app", "image": image(e), "envs": []any{"A=1"}, "restart": "always"}
	c := e.create(typeContainer, "app", in)
	d := e.diff(c, with(in, m{"envs": []any{"A=2"}}))
	assert.Equal(t, map[string]string{"envs[0]": "UPDATE_REPLACE"}, changed(d))
	assert.True(t, d.GetDeleteBeforeReplace())
	assert.Empty(t, e.diff(c, with(in, m{"restart": "no"})).GetReplaces())
}

func TestReadingAStoppedContainerDeletesIt(t *testing.T) {
	f, e, _ := dockerHost(t)
	in := m{"name": "app", "image": image(e)}
	c := e.create(typeContainer, "app", in)
	require.NoError(t, f.w.Drift(typeContainer, "app", func(p map[string]any) { p["exitCode"] = 1.0 }))
	assert.False(t, e.refresh(c))
	require.ErrorContains(t, e.delete(c), "No such container", "the read deleted it")
	e.create(typeContainer, "app", in)
}

func TestDockerVolumes(t *testing.T) {
	_, e, _ := dockerHost(t)
	vol := e.create(typeDockerVol, "v", m{"name": "data"})
	assert.Equal(t, "/var/lib/docker/volumes/data/_data", vol.out["mountpoint"])
	assert.Contains(t, e.refuse(typeDockerVol, "v2", m{"name": "data"}), "managed by another")
	c := e.create(typeContainer, "c", m{"name": "c1", "image": image(e), "mounts": []any{m{"type": "volume", "source": "data", "target": "/d"}}})
	require.ErrorContains(t, e.delete(vol), "volume is in use")
	require.NoError(t, e.delete(c))
	require.NoError(t, e.delete(vol))
}

func TestBuiltImages(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "images", "caddy"), 0o755))
	file := filepath.Join(dir, "images", "caddy", "Dockerfile")
	f := newFleet(t)
	f.w.opts.ProjectDir = dir
	server := f.boot("homelab")
	e := f.docker("homelab")
	in := m{"imageName": "homelab/caddy:1", "skipPush": true, "build": m{"context": "images/caddy"}}
	assert.Contains(t, e.refusals(typeImage, in)[0], "could not open dockerfile")
	require.NoError(t, os.WriteFile(file, []byte("FROM scratch"), 0o644))
	assert.Contains(t, e.refusals(typeImage, with(in, m{"skipPush": nil}))[0], "fully qualified")
	assert.Contains(t, e.refusals(typeImage, with(in, m{"build": m{"context": "images/caddy", "builderVersion": "3"}}))[0], "Builder version")
	assert.Contains(t, e.refuse(typeImage, "b", with(in, m{"skipPush": nil, "imageName": "ghcr.io/a/b:1"})), "no registry is simulated")

	built := e.create(typeImage, "b", in)
	assert.Equal(t, "homelab/caddy:1", built.id)
	assert.Equal(t, "Dockerfile", built.out["dockerfile"])
	assert.NotContains(t, built.out, "repoDigest", "nothing was pushed")
	assert.Regexp(t, "^linux/", built.out["build"].(m)["platform"])
	assert.Empty(t, changed(e.diff(built, in)))
	e.create(typeContainer, "c", m{"name": "caddy", "image": "homelab/caddy:1"})

	require.NoError(t, os.WriteFile(file, []byte("FROM busybox"), 0o644))
	assert.Equal(t, map[string]string{"build.contextDigest": "UPDATE"}, changed(e.diff(built, in)), "a changed file is a change")
	require.NoError(t, e.update(built, with(in, m{"imageName": "homelab/caddy:2"})))
	for name, ref := range map[string]any{"old": "homelab/caddy:1", "new": "homelab/caddy:2"} {
		e.create(typeContainer, name, m{"name": name, "image": ref})
	}
	require.NoError(t, e.delete(built))
	e.create(typeContainer, "after", m{"name": "after", "image": "homelab/caddy:2"})
	assert.NotEmpty(t, f.w.Residue(), "a delete leaves the image on the host")

	require.NoError(t, f.hcloud.delete(server))
	require.True(t, e.refresh(built), "the provider never looks")
	require.NoError(t, e.delete(built))
	f.boot("second")
	two := f.docker("second")
	assert.Contains(t, two.refuse(typeContainer, "c", m{"name": "caddy", "image": "homelab/caddy:2"}), "unable to find")
	require.NoError(t, two.update(built, in), "an update builds what is not there")
	two.create(typeContainer, "c", m{"name": "caddy", "image": "homelab/caddy:1"})
}

func TestRestlessContainers(t *testing.T) {
	_, e, _ := dockerHost(t)
	in := m{"name": "app", "image": image(e), "capabilities": m{"drops": []any{"ALL"}, "adds": []any{"CAP_CHOWN"}},
		"ports": []any{m{"internal": 443.0}, m{"internal": 443.0, "protocol": "udp"}, m{"internal": 80.0}}}
	c := e.create(typeContainer, "app", in)
	assert.Empty(t, changed(e.diff(c, in)))
	in["capabilities"] = m{"adds": []any{"CHOWN"}}
	in["ports"] = []any{m{"internal": 80.0}, m{"internal": 443.0}}
	restless := e.create(typeContainer, "app2", with(in, m{"name": "app2"}))
	assert.Equal(t, map[string]string{"capabilities.adds[0]": "UPDATE_REPLACE", "ports": "UPDATE_REPLACE"}, changed(e.diff(restless, with(in, m{"name": "app2"}))))
}
