package simcloud

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"homelab/internal/rehearsal"
)

// docker are the acts of every resource that a Docker engine keeps.
var docker = &acts{create: createDocker, update: updateDocker, remove: deleteDocker, read: readDocker}

// rehearsedDocker finds the machine that a docker provider's host is. Whether it answers is for the
// connection to find out, and the pinned host key too.
func (t *task) rehearsedDocker() (*machine, error) {
	host := text(t.config, "host")
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "ssh" || u.Hostname() == "" {
		return nil, fail("unable to parse docker host `%s`: only ssh://user@host is simulated", host)
	}
	for _, d := range t.w.state.Devices {
		for _, a := range d.Addresses {
			if m := t.w.state.Machines[d.Server]; m != nil && sameAddress(a, u.Hostname()) {
				return m, nil
			}
		}
	}
	for _, m := range t.w.state.Machines {
		if _, err := netip.ParseAddr(u.Hostname()); err == nil && t.w.is(m, u.Hostname()) {
			return m, nil
		}
	}
	return nil, fail("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", host)
}

// call is one operation on the engine.
func (t *task) call(operation rehearsal.Operation) (rehearsal.DockerCall, error) {
	out := rehearsal.DockerCall{Host: text(t.config, "host"), Type: t.token, Operation: operation, ID: t.id}
	for _, opt := range texts(t.config, "sshOpts") {
		out.HostKeys = append(out.HostKeys, pinnedKey.FindAllString(opt, -1)...)
	}
	var err error
	if out.Inputs, err = json.Marshal(t.in); err != nil {
		return out, err
	}
	if t.state != nil {
		out.State, err = json.Marshal(t.state)
	}
	return out, err
}

// settle takes over what the engine says: of the outputs all, and of the inputs those that the
// program gave, as a bridged provider does when it reads.
func (t *task) settle(result rehearsal.DockerResult) {
	inputs := map[string]any{}
	for name, v := range t.in {
		inputs[name] = v
	}
	t.out = result.Outputs
	if t.out == nil {
		t.out = map[string]any{}
	}
	t.in = inputs
}

func createDocker(ctx context.Context, t *task, _ *object) error {
	call, err := t.call(rehearsal.Create)
	if err != nil {
		return err
	}
	result, err := t.w.opts.Machines.Docker(ctx, call)
	if err != nil {
		return err
	}
	t.id = result.ID
	t.settle(result)
	if result.NotReady != "" {
		return notReady{fail("%s", result.NotReady)}
	}
	return nil
}

func updateDocker(ctx context.Context, t *task, _ *object) error {
	call, err := t.call(rehearsal.Update)
	if err != nil {
		return err
	}
	result, err := t.w.opts.Machines.Docker(ctx, call)
	if err != nil {
		return err
	}
	t.settle(result)
	return nil
}

func deleteDocker(ctx context.Context, t *task, o *object) error {
	if o != nil {
		t.in, t.state = o.Inputs, o.merged()
	}
	call, err := t.call(rehearsal.Remove)
	if err != nil {
		return err
	}
	if _, err := t.w.opts.Machines.Docker(ctx, call); err != nil {
		return err
	}
	if t.token == typeRemoteImage && flag(t.in, "keepLocally") {
		t.w.mu.Lock()
		defer t.w.mu.Unlock()
		t.leave(t.place.ID, text(t.in, "name"), text(t.state, "imageId"), text(t.state, "repoDigest"))
	}
	return nil
}

// readDocker reads a resource from the engine. What the program gave and the engine has otherwise
// is a changed input.
func readDocker(ctx context.Context, t *task, _ *object) (bool, error) {
	call, err := t.call(rehearsal.Read)
	if err != nil {
		return false, err
	}
	result, err := t.w.opts.Machines.Docker(ctx, call)
	if err != nil || result.Gone {
		return false, err
	}
	t.settle(result)
	for name := range t.in {
		if v, said := t.out[name]; said {
			t.in[name] = v
		}
	}
	return true, nil
}

// buildImage builds an image on the machine.
func buildImage(ctx context.Context, t *task, o *object) error {
	if err := t.build(); err != nil {
		return err
	}
	said := t.out
	folder, dockerfile := buildPaths(section(t.in, "build"))
	call, err := t.call(rehearsal.Create)
	if err != nil {
		return err
	}
	if call.Context, err = packContext(t.w.opts.ProjectDir, folder); err != nil {
		return fmt.Errorf("reading build context %s: %w", folder, err)
	}
	relative, err := filepath.Rel(folder, dockerfile)
	if err != nil || strings.HasPrefix(relative, "..") {
		return fail("the Dockerfile %s is outside of the build context %s", dockerfile, folder)
	}
	call.Dockerfile = filepath.ToSlash(relative)
	if _, err := t.w.opts.Machines.Docker(ctx, call); err != nil {
		return err
	}
	name := text(t.in, "imageName")
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if o != nil && text(o.Inputs, "imageName") != "" && text(o.Inputs, "imageName") != name {
		t.leave(t.place.ID, text(o.Inputs, "imageName"))
	}
	t.id, t.out = name, said
	return nil
}

// packContext packs the files of a build context into a tar archive that is the same for the same
// files. A .dockerignore is for the engine's side: it gets everything and leaves out what that says.
func packContext(project, folder string) ([]byte, error) {
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(project, folder)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	root := os.DirFS(folder)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Name: name, Mode: int64(0o644 | info.Mode().Perm()&0o111), Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
