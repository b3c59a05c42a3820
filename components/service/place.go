package service

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/memory"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// spec is what the definition says of its container, without its folders and what it uses.
func (a *Args) spec(d Deployment) *workload.Spec {
	def := d.Definition
	out := &workload.Spec{
		Host: a.Host, Image: def.Image, User: def.user(), RootReason: def.RootReason, WritableReason: def.WritableReason, WayOut: def.WayOut,
		Command: slices.Clone(def.Command), Env: maps.Clone(def.Environment), MemoryMiB: d.MemoryMiB, Scratch: def.Scratch, Hosts: d.Hosts,
		Health: def.Health.check(def.Port), Metrics: def.Metrics, StopGrace: def.StopGrace, Devices: def.Devices, Views: def.Views,
	}
	if def.Arguments != nil {
		out.Command = append(out.Command, def.Arguments(*a.Watch)...)
	}
	switch {
	case def.BehindTunnel:
		out.Behind = a.Tunnel
	case def.Monitored && def.WayOut == workload.WayOut{}:
		out.Networks = []*workload.Network{a.Monitoring}
	case def.Monitored, def.Metrics.Port() != 0:
		out.Networks = []*workload.Network{a.Network, a.Monitoring}
	default:
		out.Networks = []*workload.Network{a.Network}
	}
	if !def.BehindTunnel {
		out.Slot = def.Slot
	}
	if out.Env == nil {
		out.Env = map[string]string{}
	}
	out.Env["TZ"] = a.Timezone
	if def.Go {
		out.Env = memory.WithGo(out.Env, d.MemoryMiB)
	}
	return out
}

// place puts the service's folders and files on the machine and gives them to its container.
func (s *Service) place(ctx *pulumi.Context, args *Args, def Definition, given Given, spec *workload.Spec) error {
	folders, err := s.folders(ctx, def, given)
	if err != nil {
		return err
	}
	placed, err := workload.Place(ctx, args.Host, def.Name, def.user(), folders, pulumi.Parent(s))
	if err != nil {
		return err
	}
	reread, err := def.reread(given)
	if err != nil {
		return err
	}
	spec.Mounts = placed.Mounts
	for _, f := range placed.Files() {
		if reread[f.Path] {
			spec.After = append(spec.After, f.Resource)
		} else {
			spec.RestartOn = append(spec.RestartOn, f)
		}
	}
	if def.Library != (Library{}) {
		spec.Mounts = append(spec.Mounts, workload.Mount{Media: args.Library, Target: def.Library.target, ReadOnly: !def.Library.write})
	}
	if def.Downloads != "" {
		spec.Mounts = append(spec.Mounts, workload.Mount{
			Downloads: args.Downloads, Target: def.Downloads, Keeps: workload.Disposable("what was downloaded is imported into the library, or can be had again"),
		})
	}
	for _, share := range def.Shares {
		spec.Mounts = append(spec.Mounts, args.Shares[share]...)
	}
	if len(def.Program) > 0 {
		spec.Entrypoint, spec.Command = slices.Clone(def.Program), nil
	}
	if len(def.Seeds) > 0 {
		spec.Entrypoint = append([]string{"sh", seedFolder + "/" + startProgram}, def.Program...)
	}
	return nil
}

// files are all files of the definition, sorted.
func (d Definition) files(given Given) ([]File, error) {
	out := slices.Clone(d.Files)
	if d.Derived != nil {
		derived, err := d.Derived(given)
		if err != nil {
			return nil, fmt.Errorf("rendering the files of %s: %w", d.Name, err)
		}
		p := validate.Of("service " + d.Name)
		for _, f := range derived {
			f.validate(p)
		}
		if err := p.Err(); err != nil {
			return nil, err
		}
		out = append(out, derived...)
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Target, b.Target) })
	for i, f := range out {
		if i > 0 && out[i-1].Target == f.Target {
			return nil, fmt.Errorf("service %s: two files are %s", d.Name, f.Target)
		}
	}
	return out, nil
}

// filesFolder is the folder on the machine with the files of a folder in the container: its name
// below the container's own, and where it is mounted. A folder inside another of these is part of
// that one, and mounted with it: it could not be mounted into one that is read-only.
func filesFolder(files []File, folder string) (base, target string) {
	outer := folder
	for _, f := range files {
		if dir := path.Dir(f.Target); strings.HasPrefix(outer, dir+"/") {
			outer = dir
		}
	}
	base = "files" + strings.ReplaceAll(outer, "/", "-")
	if outer == folder {
		return base, folder
	}
	return base + strings.TrimPrefix(folder, outer), ""
}

// reread are the files, by their paths on the machine, a change of which leaves the container as it
// is.
func (d Definition) reread(given Given) (map[string]bool, error) {
	files, err := d.files(given)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, f := range files {
		if f.Reread {
			base, _ := filesFolder(files, path.Dir(f.Target))
			out[path.Join(host.Root, d.Name, base, path.Base(f.Target))] = true
		}
	}
	return out, nil
}

// folders are the folders that the service writes to, and those of its files. Each folder of the
// container that files are in is a folder of its own on the machine.
func (s *Service) folders(ctx *pulumi.Context, def Definition, given Given) ([]workload.Folder, error) {
	var out []workload.Folder
	for _, f := range slices.SortedFunc(slices.Values(def.Folders), func(a, b Folder) int { return strings.Compare(a.Target, b.Target) }) {
		out = append(out, workload.Folder{Base: f.Base, Target: f.Target, Mode: 0o750, Keeps: f.Keeps})
	}
	given.Secrets = map[string]pulumi.StringOutput{}
	s.secrets = given.Secrets
	for _, name := range def.Secrets {
		secret, err := random.NewRandomPassword(ctx, def.Name+"-"+name, &random.RandomPasswordArgs{
			Length: pulumi.Int(48), Special: pulumi.Bool(false),
		}, pulumi.Parent(s))
		if err != nil {
			return nil, fmt.Errorf("making the secret %s of %s: %w", name, def.Name, err)
		}
		given.Secrets[name] = secret.Result
	}
	files, err := def.files(given)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		content, err := f.Content(given)
		if err != nil {
			return nil, fmt.Errorf("rendering %s of %s: %w", f.Target, def.Name, err)
		}
		base, target := filesFolder(files, path.Dir(f.Target))
		at := slices.IndexFunc(out, func(w workload.Folder) bool { return w.Base == base })
		if at < 0 {
			at, out = len(out), append(out, workload.Folder{Base: base, Target: target})
		}
		out[at].Files = append(out[at].Files, workload.File{
			Base: path.Base(f.Target), Name: def.Name + "-" + strings.ReplaceAll(base, "/", "-") + "-" + path.Base(f.Target), Content: content,
		})
	}
	seeds, err := seeds(def, given)
	if err != nil || seeds == nil {
		return out, err
	}
	return append(out, *seeds), nil
}
