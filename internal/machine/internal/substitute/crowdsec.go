package substitute

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gopkg.in/yaml.v3"

	"homelab/components/images"
	"homelab/internal/toolchain"
)

// hubFolder has what the tests of the chain use in the place of the hub's parsers, scenarios and
// rules.
const hubFolder = "tests/chain/internal/lab/crowdsec/etc"

// hubCollections are those that the deployment and the image's entry point ask the hub for, and
// hubParsers the parsers. Here they are the engine's own, without content: it does not look for
// them at the hub, and what they would bring is in hubFolder.
var (
	hubCollections = []string{
		"LePresidente/authelia", "crowdsecurity/appsec-generic-rules", "crowdsecurity/appsec-virtual-patching", "crowdsecurity/base-http-scenarios",
		"crowdsecurity/caddy", "crowdsecurity/http-cve", "crowdsecurity/linux",
	}
	hubParsers = []string{"crowdsecurity/docker-logs", "crowdsecurity/cri-logs"}
)

// crowdsec is the engine with the entry point of its image, which runs as it is.
func (b *builder) crowdsec(context.Context) (plan, error) {
	return plan{
		image: images.CrowdSec.Reference(), name: "crowdsec", on: []string{baseLayer, shellLayer}, debian: []string{"bash", "install", "rsync"},
		config: ocispec.ImageConfig{Env: []string{searchPath}, Entrypoint: []string{"/bin/bash", "/docker_start.sh"}},
		fill:   b.crowdsecFiles,
		instead: "CrowdSec " + tag(images.CrowdSec) + " built from its module, with the rules of the chain's tests in the place of the hub's: " +
			"what the hub's would find is not found",
	}, nil
}

func (b *builder) crowdsecFiles(ctx context.Context, l layer) error {
	for inside, tool := range map[string]toolchain.Tool{
		"/usr/local/bin/crowdsec": toolchain.CrowdSecTool, "/usr/local/bin/cscli": toolchain.CscliTool, "/usr/local/bin/yq": toolchain.YqTool,
	} {
		if err := b.tool(ctx, l, inside, tool); err != nil {
			return err
		}
	}
	module, err := b.module(ctx, toolchain.CrowdSecTool.Dir, "github.com/crowdsecurity/crowdsec")
	if err != nil {
		return err
	}
	// As the image's Dockerfile and the wizard that it calls put them there.
	const staging = "/staging/etc/crowdsec"
	for inside, source := range map[string]string{
		"/docker_start.sh":                           "build/docker/docker_start.sh",
		staging + "/config.yaml":                     "build/docker/config.yaml",
		staging + "/simulation.yaml":                 "config/simulation.yaml",
		staging + "/console.yaml":                    "config/console.yaml",
		staging + "/dev.yaml":                        "config/dev.yaml",
		staging + "/profiles.yaml":                   "config/profiles.yaml",
		"/staging/var/lib/crowdsec/data/detect.yaml": "config/detect.yaml",
	} {
		l[inside] = entry{kind: tar.TypeReg, mode: 0o644, source: filepath.Join(module, filepath.FromSlash(source))}
	}
	if err := l.tree(staging+"/patterns", filepath.Join(module, "config", "patterns"), 0o644); err != nil {
		return err
	}
	if err := l.tree(staging, filepath.Join(b.root, filepath.FromSlash(hubFolder)), 0o644); err != nil {
		return err
	}
	l.file(staging+"/acquis.yaml", 0o644, []byte(`{"source": "file", "filename": "/does/not/exist", "labels": {"type": "syslog"}}`+"\n"))
	l.file(staging+"/local_api_credentials.yaml", 0o600, []byte("url: http://0.0.0.0:8080\n"))
	l.file(staging+"/hub/.index.json", 0o644, []byte("{}\n"))
	l.folder(staging+"/acquis.d", 0o755, 0, 0)
	l.folder("/var/lib/crowdsec/data", 0o755, 0, 0)
	l.folder("/usr/local/lib/crowdsec/plugins", 0o755, 0, 0)
	return localItems(l, staging)
}

// localItem is an item of the engine's own.
type localItem struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Filter      string `yaml:"filter,omitempty"`
	OnSuccess   string `yaml:"onsuccess,omitempty"`
	// Statics are what a parser does; one without is refused.
	Statics []map[string]string `yaml:"statics,omitempty"`
}

// localItems adds what has the hub's names and no content.
func localItems(l layer, etc string) error {
	add := func(folder string, item localItem) error {
		text, err := yaml.Marshal(item)
		if err != nil {
			return err
		}
		l.file(path.Join(etc, folder, strings.ReplaceAll(item.Name, "/", "-")+".yaml"), 0o644, text)
		return nil
	}
	for _, name := range hubCollections {
		if err := add("collections", localItem{Name: name, Description: "in the place of the hub's"}); err != nil {
			return err
		}
	}
	for _, name := range hubParsers {
		item := localItem{Name: name, Description: "in the place of the hub's", Filter: "false", OnSuccess: "next_stage"}
		item.Statics = []map[string]string{{"parsed": "message", "expression": "evt.Line.Raw"}}
		if err := add("parsers/s00-raw", item); err != nil {
			return err
		}
	}
	return nil
}

// module is the folder of a Go module's sources.
func (b *builder) module(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(b.root, filepath.FromSlash(dir))
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the module %s: %w", module, err)
	}
	found := strings.TrimSpace(string(out))
	if found == "" {
		return "", fmt.Errorf("the module %s was not downloaded", module)
	}
	return found, nil
}
