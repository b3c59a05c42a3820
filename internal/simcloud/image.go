package simcloud

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

const typeImage = "docker:index/image:Image"

// An image that is built differs from everything else here: the provider never
// reads it again, its delete leaves it on the host, and another name is an update.
// After a new server the state still says that it is there.
var _ = register(typeImage, &kind{
	native: true, defaults: map[string]any{"buildOnPreview": false}, place: dockerMachine, detached: true, volatile: []string{"repoDigest"},
	check: checkBuild,
	create: func(t *task) (string, error) {
		if err := t.build(); err != nil {
			return "", err
		}
		return text(t.in, "imageName"), nil
	},
	update: func(t *task, o *object) error {
		if old := text(o.Inputs, "imageName"); old != "" && old != text(t.in, "imageName") {
			t.leave(t.place.ID, old, imageID(old))
		}
		return t.build()
	},
	remove: func(t *task, o *object) error {
		name := text(o.Inputs, "imageName")
		t.leave(o.Machine, name, imageID(name))
		return nil
	},
	instead: &acts{create: buildImage, update: buildImage},
})

// buildPaths gives the context and the Dockerfile of a build, with their defaults.
func buildPaths(build map[string]any) (context, dockerfile string) {
	context, dockerfile = text(build, "context"), text(build, "dockerfile")
	if context == "" {
		context = "."
	}
	if dockerfile == "" {
		dockerfile = path.Join(context, "Dockerfile")
	}
	return context, dockerfile
}

// checkBuild reads the build context, as the provider does in every preview: a
// missing Dockerfile is an error, and a changed file is a change.
func checkBuild(c *checking) {
	v := c.news["build"]
	if v.IsComputed() {
		return
	}
	build := resource.PropertyMap{}
	if v.IsObject() {
		build = v.ObjectValue().Copy()
	}
	if b := build["builderVersion"]; b.IsString() && b.StringValue() != "BuilderV1" && b.StringValue() != "BuilderBuildKit" {
		c.refuse("build.builderVersion", "invalid Docker Builder version")
		return
	}
	if name, ok := c.text("imageName"); ok && !(c.news["skipPush"].IsBool() && c.news["skipPush"].BoolValue()) && !qualified(name) {
		c.refuse("imageName", "repository name must be canonical: this provider requires all image names to be fully qualified, got %s", name)
	}
	if _, given := build["platform"]; !given {
		build["platform"] = resource.NewStringProperty("linux/" + runtime.GOARCH)
	}
	if !build.ContainsUnknowns() {
		context, dockerfile := buildPaths(toGoValues(build))
		digest, err := contextDigest(c.opts.ProjectDir, context, dockerfile)
		if err != nil {
			c.refuse("build", "%v", err)
			return
		}
		if digest != "" {
			build["contextDigest"] = resource.NewStringProperty(digest)
		}
	}
	c.more["build"] = resource.NewObjectProperty(build)
}

// qualified reports whether an image name names its registry.
func qualified(name string) bool {
	first, _, more := strings.Cut(name, "/")
	return more && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// contextDigest hashes a build context; "" when it is not known where it is.
func contextDigest(dir, context, dockerfile string) (string, error) {
	if dir == "" && (!filepath.IsAbs(context) || !filepath.IsAbs(dockerfile)) {
		return "", nil
	}
	at := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	if _, err := os.Stat(at(dockerfile)); err != nil {
		return "", fmt.Errorf("could not open dockerfile at path %s: %w", dockerfile, err)
	}
	sum := sha256.New()
	root := os.DirFS(at(context))
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(content))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("unable to hash build context %s: %w", context, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// build builds an image on the host.
func (t *task) build() error {
	name, build := text(t.in, "imageName"), section(t.in, "build")
	if !flag(t.in, "skipPush") {
		return fail("pushing %s: no registry is simulated, set skipPush", name)
	}
	context, dockerfile := buildPaths(build)
	relative, err := filepath.Rel(context, dockerfile)
	if err != nil {
		return fail("relDockerfile error: %v", err)
	}
	// Without a push there is no manifest, and so no repoDigest.
	t.out = map[string]any{"baseImageName": name, "context": context, "dockerfile": relative, "registryServer": text(section(t.in, "registry"), "server")}
	return nil
}
