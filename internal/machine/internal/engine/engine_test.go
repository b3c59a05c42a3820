package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

const (
	containers  = "container:Container"
	networks    = "network:Network"
	volumes     = "volume:Volume"
	remoteImage = "remoteImage:RemoteImage"
	builtImage  = "image:Image"
)

var pin = strings.Repeat("ab", 32)

// app is a container as this project declares its own.
func app(image string, network string) m {
	return m{
		"__defaults": []any{}, "name": "app", "image": image, "user": "1000:1000", "command": []any{"/bin/busybox", "sleep", "1000"},
		"entrypoints": []any{}, "envs": []any{"A=1"}, "labels": []any{m{"label": "homelab.machine", "value": "7"}}, "memory": 64, "memorySwap": 64,
		"readOnly": true, "privileged": false, "publishAllPorts": false, "init": true, "capabilities": m{"drops": []any{"ALL"}},
		"securityOpts": []any{"no-new-privileges"}, "logDriver": "local", "logOpts": m{"max-size": "10m"}, "restart": "unless-stopped", "mustRun": true,
		"mounts": []any{
			m{"type": "bind", "source": "/etc/hostname", "target": "/etc/name", "readOnly": true, "bindOptions": m{"propagation": "rslave"}},
			m{"type": "tmpfs", "target": "/tmp", "readOnly": false, "tmpfsOptions": m{"sizeBytes": 1 << 20, "mode": 0o1777}},
		},
		"networksAdvanced": []any{m{"name": network, "ipv4Address": "10.99.0.20"}}, "ports": []any{m{"internal": 8080, "external": 18080, "ip": "127.0.0.1", "protocol": "tcp"}},
		"hosts":       []any{m{"host": "other", "ip": "10.99.0.30"}},
		"healthcheck": m{"tests": []any{"CMD", "/bin/busybox", "true"}, "interval": "1s", "timeout": "1s", "retries": 3, "startPeriod": "1m0s"},
		"wait":        true, "waitTimeout": 30, "stopTimeout": 5, "destroyGraceSeconds": 1, "dns": []any{"10.99.0.1"},
	}
}

func TestTheResourcesOfADeployment(t *testing.T) {
	e := startDocker(t)
	image := e.importSample()
	front := m{
		"name": "front", "driver": "bridge", "internal": false, "ipv6": false, "labels": []any{m{"label": "homelab.machine", "value": "7"}},
		"ipamConfigs": []any{m{"subnet": "10.99.0.0/24", "gateway": "10.99.0.1"}},
	}
	networkID, n := e.do(rehearsal.Create, networks, "", front)
	recorded(t, "network", front, n)
	assert.Equal(t, m{
		"name": "front", "driver": "bridge", "internal": false, "ipv6": false, "attachable": false, "ingress": false, "scope": "local", "options": m{},
		"ipamDriver": "default", "ipamOptions": m{}, "ipamConfigs": []any{m{"subnet": "10.99.0.0/24", "gateway": "10.99.0.1"}},
		"labels": []any{m{"label": "homelab.machine", "value": "7"}},
	}, n)
	_, err := e.try(rehearsal.Create, networks, "", m{"name": "front"})
	require.ErrorContains(t, err, "Unable to create network: Error response from daemon: network with name front already exists")

	in := app(image, "front")
	start := time.Now()
	id, out := e.do(rehearsal.Create, containers, "", in)
	assert.Greater(t, time.Since(start), time.Second, "it waits for the first check of its health")
	assert.Equal(t, "healthy", e.docker("inspect", "--format", "{{.State.Health.Status}}", "app"))
	// What the program declared is what the engine reports: the next preview has no change.
	for name, want := range in {
		if _, read := out[name]; !read || name == "entrypoints" {
			continue
		}
		text, err := json.Marshal(want)
		require.NoError(t, err)
		got, err := json.Marshal(out[name])
		require.NoError(t, err)
		if name == "healthcheck" {
			text = bytes.Replace(text, []byte(`"startPeriod"`), []byte(`"startInterval":"0s","startPeriod"`), 1)
		}
		assert.JSONEq(t, string(text), string(got), name)
	}
	// What is another one each time.
	recorded(t, "container", in, out, fmt.Sprint(out["image"]), "sha256:"+pin, fmt.Sprint(out["hostname"]), "0123456789ab",
		fmt.Sprint(out["networkDatas"].([]any)[0].(m)["macAddress"]), "02:42:00:00:00:01")
	assert.NotContains(t, out, "envs")
	assert.NotContains(t, out, "labels")
	data := out["networkDatas"].([]any)
	require.Len(t, data, 1, "it has left the default network")
	assert.Equal(t, "10.99.0.20", data[0].(m)["ipAddress"])
	assert.Equal(t, "front", data[0].(m)["networkName"])
	assert.Equal(t, "1000:1000 true [ALL] true", e.docker("inspect", "--format", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.Init}}", "app"))

	_, err = e.try(rehearsal.Create, containers, "", in)
	require.ErrorContains(t, err, `Unable to create container: Error response from daemon: Conflict. The container name "/app" is already in use`)
	in["memory"], in["memorySwap"], in["restart"] = 96, 96, "no"
	_, out = e.do(rehearsal.Update, containers, id, in)
	assert.EqualValues(t, 96, out["memory"])
	assert.Equal(t, "no", out["restart"])

	e.patience = time.Second
	_, err = e.try(rehearsal.Remove, networks, networkID, m{"name": "front"})
	require.ErrorContains(t, err, "has active endpoints")
	_, err = e.try(rehearsal.Remove, containers, id, in)
	require.NoError(t, err)
	_, err = e.try(rehearsal.Remove, containers, id, in)
	require.ErrorContains(t, err, "1 error occurred: * Error stopping container "+id+": Error response from daemon: No such container")
	gone, err := e.try(rehearsal.Read, containers, id, in)
	require.NoError(t, err)
	assert.True(t, gone.Gone)
	_, err = e.try(rehearsal.Remove, networks, networkID, m{"name": "front"})
	require.NoError(t, err)
	_, err = e.try(rehearsal.Remove, networks, networkID, m{"name": "front"})
	require.NoError(t, err, "one that is gone is none")
	gone, err = e.try(rehearsal.Read, networks, networkID, m{"name": "front"})
	require.NoError(t, err)
	assert.True(t, gone.Gone)
}

var update = flag.Bool("update", false, "write what the engine says to testdata")

// recorded compares what the engine says with what is on record, some words replaced. A test of the
// simulated clouds makes sure that such an answer is no change in the next preview.
func recorded(t *testing.T, name string, in, out m, replaced ...string) {
	t.Helper()
	text, err := json.MarshalIndent(m{"inputs": in, "outputs": out}, "", "  ")
	require.NoError(t, err)
	got := strings.NewReplacer(replaced...).Replace(string(text)) + "\n"
	file := "testdata/" + name + ".json"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestContainersThatFail(t *testing.T) {
	e := startDocker(t)
	image := e.importSample()
	simple := func(change m) m {
		in := m{"name": "app", "image": image, "command": []any{"/bin/busybox", "sleep", "1000"}, "networkMode": "none"}
		for name, v := range change {
			in[name] = v
		}
		return in
	}
	for name, c := range map[string]struct {
		change m
		want   string
	}{
		"sick":           {m{"wait": true, "waitTimeout": 3, "healthcheck": m{"tests": []any{"CMD", "/bin/busybox", "false"}, "interval": "1s"}}, "container failed to be in healthy state"},
		"no-healthcheck": {m{"wait": true}, "you have supplied a 'wait' argument, but the container does not have a healthcheck defined"},
		"no-program":     {m{"command": []any{"/nothing"}}, "Unable to start container: Error response from daemon"},
		"no-network":     {m{"networkMode": nil, "networksAdvanced": []any{m{"name": "nowhere"}}}, "network nowhere not found"},
		"no-gate":        {m{"mounts": []any{m{"type": "bind", "source": "/run/no-gate", "target": "/gate"}}}, "bind source path does not exist"},
	} {
		in := simple(c.change)
		in["name"] = name
		result, err := e.try(rehearsal.Create, containers, "", in)
		if name == "no-gate" {
			require.ErrorContains(t, err, c.want, "the engine refuses it before it exists")
			continue
		}
		require.NoError(t, err, name)
		assert.Contains(t, result.NotReady, c.want, name)
		assert.Equal(t, result.ID, e.docker("inspect", "--format", "{{.Id}}", name), "what failed exists: the engine must know what it has to delete")
	}
	slow := simple(m{
		"name": "slow", "wait": true, "waitTimeout": 2, "command": []any{"/bin/busybox", "sh", "-c", "/bin/busybox sleep 4; /bin/busybox touch /dev/shm/ready; /bin/busybox sleep 600"},
		"healthcheck": m{"tests": []any{"CMD", "/bin/busybox", "test", "-e", "/dev/shm/ready"}, "interval": "1s", "retries": 60},
	})
	e.options.Slowness = func() int { return 10 }
	result, err := e.try(rehearsal.Create, containers, "", slow)
	require.NoError(t, err)
	assert.Empty(t, result.NotReady, "a slow machine is given more time")
	const often = "{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Timeout}}"
	assert.Equal(t, "10s 5m0s", e.docker("inspect", "--format", often, "slow"), "and is asked less often")
	assert.Equal(t, "1s", result.Outputs["healthcheck"].(healthInput).Interval, "the program knows what it has declared")
	e.options.Slowness = nil
	_, out := e.do(rehearsal.Read, containers, result.ID, slow)
	assert.Equal(t, "1s", out["healthcheck"].(m)["interval"])
	_, err = e.try(rehearsal.Create, containers, "", simple(m{"command": []any{"/bin/busybox", "true"}}))
	require.EqualError(t, err, "container exited immediately")
	assert.NotContains(t, e.docker("ps", "--all", "--format", "{{.Names}}"), "app", "the provider removes it")
	var id string
	ends := simple(m{"command": []any{"/bin/busybox", "sh", "-c", "exit 7"}, "mustRun": false})
	id, out = e.do(rehearsal.Create, containers, "", ends)
	require.Eventually(t, func() bool {
		_, out = e.do(rehearsal.Read, containers, id, simple(m{"mustRun": false}))
		return out["exitCode"] == 7.0
	}, 10*time.Second, 100*time.Millisecond, "%v", out)
	gone, err := e.try(rehearsal.Read, containers, id, simple(nil))
	require.NoError(t, err)
	assert.True(t, gone.Gone, "one that must run is removed when it is read")
	assert.NotContains(t, e.docker("ps", "--all", "--format", "{{.Names}}"), "app")

	for name, in := range map[string]m{
		"an input that is not rehearsed": simple(m{"gpus": "all"}),
		"an address that is none":        simple(m{"dns": []any{"dns.example.com"}}),
		"an empty word":                  simple(m{"command": []any{""}}),
		"a volume without a path":        simple(m{"volumes": []any{m{"hostPath": "/x"}}}),
		"an image that is nowhere":       simple(m{"image": "sha256:" + pin}),
	} {
		result, err := e.try(rehearsal.Create, containers, "", in)
		require.Error(t, err, name)
		assert.Empty(t, result.ID, name)
	}
	_, err = e.try(rehearsal.Create, "plugin:Plugin", "", m{})
	require.ErrorContains(t, err, "not part of a rehearsal")
	_, err = e.try(rehearsal.Update, networks, "x", m{})
	require.ErrorContains(t, err, "not part of a rehearsal")
}

func TestVolumes(t *testing.T) {
	e := startDocker(t)
	image := e.importSample()
	id, out := e.do(rehearsal.Create, volumes, "", m{"name": "data", "labels": []any{m{"label": "a", "value": "b"}}})
	assert.Equal(t, "data", id)
	assert.Equal(t, "local", out["driver"])
	assert.Contains(t, out["mountpoint"], "/volumes/data/_data")
	c := m{
		"name": "app", "image": image, "command": []any{"/bin/busybox", "sleep", "1000"}, "networkMode": "none",
		"volumes": []any{m{"volumeName": "data", "containerPath": "/data", "readOnly": true}},
	}
	containerID, _ := e.do(rehearsal.Create, containers, "", c)
	assert.Equal(t, "[data:/data:ro]", e.docker("inspect", "--format", "{{.HostConfig.Binds}}", "app"))
	e.patience = time.Second
	_, err := e.try(rehearsal.Remove, volumes, "data", m{"name": "data"})
	require.ErrorContains(t, err, "unable to remove volume 'data'")
	_, err = e.try(rehearsal.Remove, containers, containerID, c)
	require.NoError(t, err)
	_, err = e.try(rehearsal.Remove, volumes, "data", m{"name": "data"})
	require.NoError(t, err)
	gone, err := e.try(rehearsal.Read, volumes, "data", m{"name": "data"})
	require.NoError(t, err)
	assert.True(t, gone.Gone)
}

// saved is an archive of an image, as a store of substitutes has it.
func (e *engineUnderTest) saved(name string) []byte {
	e.t.Helper()
	out, err := exec.Command("docker", "--host", "unix://"+e.socket, "save", name).Output()
	require.NoError(e.t, err)
	return out
}

func TestImagesHaveSubstitutes(t *testing.T) {
	e := startDocker(t)
	e.importSample()
	archive := e.saved("sample:1")
	e.docker("rmi", "sample:1")
	name := "docker.io/library/redis:8@sha256:" + pin
	in := m{"name": name, "keepLocally": true, "triggers": m{"homelab.machine": "7"}}
	e.options.Offline = true
	_, err := e.try(rehearsal.Create, remoteImage, "", in)
	require.EqualError(t, err, "Unable to read Docker image into resource: unable to pull image "+name+": the rehearsal is offline and has no substitute for it")

	var asked []string
	e.options.Images = func(ref string) (io.ReadCloser, error) {
		asked = append(asked, ref)
		switch ref {
		case name, "homelab/caddy:1":
			return io.NopCloser(bytes.NewReader(archive)), nil
		case "broken:1":
			return io.NopCloser(strings.NewReader("")), nil
		}
		return nil, fmt.Errorf("no substitute of %s: %w", ref, fs.ErrNotExist)
	}
	id, out := e.do(rehearsal.Create, remoteImage, "", in)
	image := out["imageId"].(string)
	assert.Equal(t, image+name, id)
	assert.Equal(t, "docker.io/library/redis@sha256:"+pin, out["repoDigest"])
	_, again := e.do(rehearsal.Read, remoteImage, id, in)
	assert.Equal(t, out, again)
	e.do(rehearsal.Create, remoteImage, "", in)
	assert.Equal(t, []string{name}, asked, "what is there is not loaded again")
	other := m{"name": strings.Replace(name, pin, strings.Repeat("cd", 32), 1)}
	_, err = e.try(rehearsal.Create, remoteImage, "", other)
	require.ErrorContains(t, err, "no substitute for it", "another digest is another image")
	_, err = e.try(rehearsal.Create, remoteImage, "", m{"name": "broken:1"})
	require.ErrorContains(t, err, "loading the substitute of image broken:1")

	containerID, _ := e.do(rehearsal.Create, containers, "", m{"name": "app", "image": image, "command": []any{"/bin/busybox", "sleep", "1000"}, "networkMode": "none"})
	_, err = e.try(rehearsal.Remove, remoteImage, id, m{"name": name})
	require.ErrorContains(t, err, "unable to remove Docker image: Error response from daemon: conflict")
	_, err = e.try(rehearsal.Remove, containers, containerID, m{"name": "app", "image": image})
	require.NoError(t, err)
	_, err = e.try(rehearsal.Remove, remoteImage, id, in)
	require.NoError(t, err)
	e.docker("inspect", image) // kept
	_, err = e.try(rehearsal.Remove, remoteImage, id, m{"name": name})
	require.NoError(t, err)
	gone, err := e.try(rehearsal.Read, remoteImage, id, in)
	require.NoError(t, err)
	assert.True(t, gone.Gone)

	builtID, _ := e.do(rehearsal.Create, builtImage, "", m{"imageName": "homelab/caddy:1", "skipPush": true, "build": m{"context": "images/caddy"}})
	assert.Equal(t, "homelab/caddy:1", builtID)
	assert.Equal(t, image, e.docker("inspect", "--format", "{{.Id}}", "homelab/caddy:1"))
}

// A machine's own way gives the engine what the connection would.
func TestImagesAreLoadedByTheMachinesOwnWay(t *testing.T) {
	e := startDocker(t)
	e.importSample()
	folder := t.TempDir()
	archive := filepath.Join(folder, "sample.tar")
	require.NoError(t, os.WriteFile(archive, e.saved("sample:1"), 0o600))
	e.docker("rmi", "sample:1")
	name := "docker.io/library/redis:8@sha256:" + pin
	opened := ""
	e.options = Options{Offline: true, Images: func(ref string) (io.ReadCloser, error) {
		if ref == "none:1" {
			return nil, fs.ErrNotExist
		}
		opened = ref
		return os.Open(archive)
	}}
	create := func(load func(ctx context.Context, host, ref string) (string, bool, error), ref string) (string, error) {
		e.options.Load = load
		text, err := json.Marshal(m{"name": ref})
		require.NoError(t, err)
		result, err := e.Docker(t.Context(), rehearsal.DockerCall{
			Host: "ssh://deploy@100.64.0.7", Type: "docker:index/" + remoteImage, Operation: rehearsal.Create, Inputs: text,
		})
		if err != nil {
			return "", err
		}
		return result.Outputs["imageId"].(string), nil
	}
	tags := func(id string) string { return e.docker("inspect", "--format", "{{.RepoTags}}", id) }
	var unread error
	own := func(_ context.Context, host, ref string) (string, bool, error) {
		assert.Equal(t, "ssh://deploy@100.64.0.7", host)
		assert.Equal(t, name, ref)
		return e.docker("load", "--quiet", "--input", archive), true, unread
	}
	id, err := create(own, name)
	require.NoError(t, err)
	assert.Equal(t, name, opened, "whether there is a substitute is asked as before")
	assert.Equal(t, "[homelab.invalid/substitute:"+pin+"]", tags(id))
	e.docker("rmi", "homelab.invalid/substitute:"+pin)

	sent, err := create(func(context.Context, string, string) (string, bool, error) { return "", false, nil }, name)
	require.NoError(t, err)
	assert.Equal(t, id, sent, "a machine without a way of its own is sent the archive")
	assert.Equal(t, "[homelab.invalid/substitute:"+pin+"]", tags(sent))
	e.docker("rmi", "homelab.invalid/substitute:"+pin)

	unread = errors.New("unexpected EOF")
	_, err = create(own, name)
	require.ErrorContains(t, err, "loading the substitute of image "+name+": unexpected EOF")
	_, err = create(func(context.Context, string, string) (string, bool, error) { return "unheard of\n", true, nil }, name)
	require.ErrorContains(t, err, "the archive has no image")
	_, err = create(own, "none:1")
	require.ErrorContains(t, err, "has no substitute for it", "what Images does not have is not loaded")
}

func TestImagesAreBuilt(t *testing.T) {
	e := startDocker(t)
	pack := func(files map[string]string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for name, content := range files {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
			_, err := io.WriteString(w, content)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	build := func(files map[string]string, arguments m) error {
		text, err := json.Marshal(m{"imageName": "homelab/x:1", "skipPush": true, "build": arguments})
		require.NoError(t, err)
		_, err = e.Docker(t.Context(), rehearsal.DockerCall{
			Type: "docker:index/image:Image", Operation: rehearsal.Create, Inputs: text, Context: pack(files), Dockerfile: "Dockerfile",
		})
		return err
	}
	files := map[string]string{
		"Dockerfile": "FROM scratch\nARG WHO\nLABEL who=$WHO\nCOPY . /files/\n", ".dockerignore": "Dockerfile\n**/*_test.go\n", "a.go": "package a", "sub/a_test.go": "package a",
	}
	for _, builder := range []string{"BuilderBuildKit", "BuilderV1"} {
		require.NoError(t, build(files, m{"context": "x", "dockerfile": "x/Dockerfile", "platform": "linux/amd64", "builderVersion": builder, "args": m{"WHO": builder}}))
		assert.Equal(t, builder, e.docker("inspect", "--format", "{{.Config.Labels.who}}", "homelab/x:1"))
		inside := e.docker("create", "homelab/x:1", "/none")
		listing, err := exec.Command("sh", "-c", "docker --host unix://"+e.socket+" export "+inside+" | tar --list").Output()
		require.NoError(t, err)
		assert.Contains(t, string(listing), "files/a.go")
		assert.NotContains(t, string(listing), "a_test.go", "what .dockerignore names stays out")
	}
	files["Dockerfile"] = "FROM scratch\nCOPY nothing /\n"
	require.ErrorContains(t, build(files, m{"builderVersion": "BuilderBuildKit"}), "building image homelab/x:1: ")
	require.ErrorContains(t, build(files, m{"builderVersion": "BuilderBuildKit", "network": "host"}), "not part of a rehearsal")
}
