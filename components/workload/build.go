package workload

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/internal/buildfolder"
)

// Built is an image that was built on the machine from a folder of this repository. Its tag is a
// digest of the folder, so a change of any file in it is a new image, and nothing else is. Only
// Build makes a usable one.
type Built struct {
	name     pulumi.StringOutput
	resource *docker.Image
}

// Build builds a folder below the project's, which must hold a Dockerfile with pinned base images.
// The engine runs providers in the project's folder, so the path that reaches the state is the
// relative one, alike on every laptop.
func Build(ctx *pulumi.Context, name string, h *host.Host, root, folder string, opts ...pulumi.ResourceOption) (*Built, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	digest, err := buildfolder.Digest(filepath.Join(root, folder))
	if err != nil {
		return nil, fmt.Errorf("reading the folder of image %s: %w", name, err)
	}
	image, err := docker.NewImage(ctx, name, &docker.ImageArgs{
		ImageName: pulumi.Sprintf("homelab/%s:%s-%s", name, buildfolder.Tag(digest), h.Machine()),
		Build: &docker.DockerBuildArgs{
			Context:        pulumi.String(folder),
			Dockerfile:     pulumi.String(folder + "/Dockerfile"),
			Platform:       pulumi.String("linux/amd64"),
			BuilderVersion: docker.BuilderVersionBuilderBuildKit,
		},
		BuildOnPreview: pulumi.Bool(false),
		SkipPush:       pulumi.Bool(true),
	}, append(opts, h.Docker(),
		// The name says what was built for which machine: another one is another image, not the old
		// one changed.
		pulumi.ReplaceOnChanges([]string{"imageName"}))...)
	if err != nil {
		return nil, fmt.Errorf("building image %s: %w", name, err)
	}
	return &Built{name: image.ImageName, resource: image}, nil
}

func (b *Built) ready() error {
	if b.resource == nil {
		return errors.New("the image was not built: pass the value that workload.Build returned")
	}
	return nil
}
