package workload

import (
	"path"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
)

// Folder is a folder of a container on the machine, with the files that the deployment writes
// there.
type Folder struct {
	// Base is its name below the container's own folder; Base and the container's name make the
	// resource's. Parts with a / between them are a folder in another.
	Base string
	// Target is where the container finds it; empty mounts only the files that have a target of
	// their own.
	Target string
	// Mode is the permission bits; 0 means 0o700.
	Mode uint32
	// Keeps is what the container writes there; the zero value means that it only reads.
	Keeps Contents
	// Files are the files in it, in order. Their owner is the folder's, and nobody else can read
	// them.
	Files []File
}

// File is a file that the deployment writes into a folder.
type File struct {
	// Base is its name.
	Base string
	// Name is its resource's name; empty means the container's name and Base.
	Name string
	// Content is the whole file.
	Content pulumi.StringInput
	// Target mounts the file by itself; only for a folder that is the image's own.
	Target string
	// After must exist before the file is written.
	After []pulumi.Resource
}

// Placed are the folders and files of a container that are on the machine.
type Placed struct {
	// Mounts are the folders, then the files that are mounted by themselves, both as they were
	// declared.
	Mounts []Mount

	files  []*host.Written
	byBase map[string]*host.Written
}

// Place puts the folders of a container and their files on the machine, below host.Root and the
// container's name. All belong to owner, which is uid:gid.
func Place(ctx *pulumi.Context, h *host.Host, container, owner string, folders []Folder, parent pulumi.ResourceOption) (*Placed, error) {
	out := &Placed{byBase: map[string]*host.Written{}}
	var single []Mount
	folder := map[string]pulumi.Resource{}
	for _, f := range folders {
		options := []pulumi.ResourceOption{parent}
		for outer := path.Dir(f.Base); outer != "."; outer = path.Dir(outer) {
			if made, ok := folder[outer]; ok {
				options = append(options, pulumi.DependsOn([]pulumi.Resource{made}))
			}
		}
		made, err := h.NewFolder(ctx, container+"-"+strings.ReplaceAll(f.Base, "/", "-"), host.Directory{
			Path: path.Join(host.Root, container, f.Base), Mode: orDefault(f.Mode, 0o700), Owner: owner,
		}, options...)
		if err != nil {
			return nil, err
		}
		folder[f.Base] = made.Resource()
		if f.Target != "" {
			out.Mounts = append(out.Mounts, Mount{Folder: made, Target: f.Target, ReadOnly: !f.Keeps.said, Keeps: f.Keeps})
		}
		for _, file := range f.Files {
			name := orDefault(file.Name, container+"-"+file.Base)
			written, err := made.Write(ctx, name, file.Base, 0o400, file.Content, parent, pulumi.DependsOn(file.After))
			if err != nil {
				return nil, err
			}
			out.files, out.byBase[file.Base] = append(out.files, written), written
			if file.Target != "" {
				single = append(single, Mount{File: written, Target: file.Target})
			}
		}
	}
	out.Mounts = append(out.Mounts, single...)
	return out, nil
}

// Files are all files, as they were declared.
func (p *Placed) Files() []*host.Written { return p.files }

// File is the file of this name, or nil.
func (p *Placed) File(base string) *host.Written { return p.byBase[base] }
