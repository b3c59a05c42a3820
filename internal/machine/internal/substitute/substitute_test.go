package substitute

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/images"
	"homelab/internal/standins"
	"homelab/internal/substitutes"
	"homelab/internal/toolchain"
)

var later = time.Now().Add(time.Hour)

func TestALayerIsTheSameEachTime(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(source, []byte("#!"), 0o600))
	filled := func() layer {
		l := layer{}
		l.program("/usr/bin/program", source)
		l.link("/bin/program", "/usr/bin/program")
		l.folder("/data", 0o750, 999, 1000)
		l.file("/etc/passwd", 0o644, []byte("root"))
		return l
	}
	var first, second bytes.Buffer
	require.NoError(t, filled().write(&first))
	require.NoError(t, os.Chtimes(source, later, later))
	require.NoError(t, filled().write(&second))
	assert.Equal(t, first.Bytes(), second.Bytes())

	var found []string
	for r := tar.NewReader(&first); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.Zero(t, h.ModTime.Unix(), h.Name)
		found = append(found, strings.Join([]string{h.Name, h.FileInfo().Mode().String(), h.Linkname}, " "))
		if h.Name == "data/" {
			assert.Equal(t, []int{999, 1000}, []int{h.Uid, h.Gid})
		}
	}
	assert.Equal(t, []string{
		"bin/ drwxr-xr-x ", "bin/program Lrwxrwxrwx /usr/bin/program", "data/ drwxr-x--- ", "etc/ drwxr-xr-x ", "etc/passwd -rw-r--r-- ",
		"usr/ drwxr-xr-x ", "usr/bin/ drwxr-xr-x ", "usr/bin/program -rwxr-xr-x ",
	}, found)
}

func TestALayerThatNoImageCanHave(t *testing.T) {
	for name, l := range map[string]layer{
		"not the clean path":                {"etc/passwd": {kind: tar.TypeReg}},
		`"/a/../b" is not the clean path`:   {"/a/../b": {kind: tar.TypeReg}},
		"below /etc, which is not a folder": {"/etc": {kind: tar.TypeReg}, "/etc/passwd": {kind: tar.TypeReg}},
		"/etc/passwd: open":                 {"/etc/passwd": {kind: tar.TypeReg, source: filepath.Join(t.TempDir(), "gone")}},
	} {
		require.ErrorContains(t, l.write(io.Discard), name)
	}
}

func TestAnArchiveIsTheSameEachTimeAndSaysWhatItHas(t *testing.T) {
	dir := t.TempDir()
	config := ocispec.ImageConfig{
		User: "1:2", Env: []string{"A=1"}, Entrypoint: []string{"/program"}, Cmd: []string{"run"}, Volumes: map[string]struct{}{"/data": {}, "/cache": {}},
	}
	l := layer{}
	l.file("/program", 0o755, []byte("x"))
	var sums []string
	var written []byte
	for _, name := range []string{"a.tar", "b.tar"} {
		own, err := l.blob(dir)
		require.NoError(t, err)
		sum, err := saveArchive(filepath.Join(dir, name), config, []blob{own, own})
		require.NoError(t, err)
		sums = append(sums, sum)
		written, err = os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
	}
	assert.Equal(t, sums[0], sums[1])

	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(written)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
	var manifests []manifest
	require.NoError(t, json.Unmarshal(files["manifest.json"], &manifests))
	require.Len(t, manifests, 1)
	assert.Nil(t, manifests[0].RepoTags)
	var image ocispec.Image
	require.NoError(t, json.Unmarshal(files[manifests[0].Config], &image))
	assert.Equal(t, config, image.Config)
	assert.Equal(t, ocispec.Platform{Architecture: "amd64", OS: "linux"}, image.Platform)
	assert.Nil(t, image.Created)
	require.Len(t, manifests[0].Layers, 2)
	for n, name := range manifests[0].Layers {
		assert.Contains(t, files, name)
		assert.Equal(t, name, image.RootFS.DiffIDs[n].Encoded()+".tar")
	}
}

// The deployment builds these images from these files; nothing may be lost on the way.
func TestTheDockerfilesOfThisRepositoryAreRead(t *testing.T) {
	root, err := toolchain.Root()
	require.NoError(t, err)
	for name, want := range map[string]recipe{
		"caddy": {program: "/usr/bin/caddy", certificates: true, config: ocispec.ImageConfig{
			User: "1000:1000", Entrypoint: []string{"caddy"}, Cmd: []string{"run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"},
			Env: []string{"PATH=/usr/bin", "HOME=/config", "XDG_CONFIG_HOME=/config", "XDG_DATA_HOME=/data"},
		}},
		"home": {program: "/usr/bin/homelab-home", config: ocispec.ImageConfig{
			User: "65534:65534", Entrypoint: []string{"homelab-home"}, Cmd: []string{"serve", "--page", "/etc/home/page.json"}, Env: []string{"PATH=/usr/bin"},
		}},
		"wire": {program: "/usr/bin/homelab-wire", certificates: true, config: ocispec.ImageConfig{
			User: "2001:2001", Entrypoint: []string{"homelab-wire"}, Cmd: []string{"run", "--plan", "/etc/wire/plan.json", "--state", "/state"},
			Env: []string{"PATH=/usr/bin", "HOME=/state"},
		}},
	} {
		text, err := os.ReadFile(filepath.Join(root, "images", name, "Dockerfile"))
		require.NoError(t, err)
		got, err := readDockerfile(string(text))
		require.NoError(t, err, name)
		assert.Equal(t, want, got)
	}
}

func TestADockerfileThatIsNotUnderstoodIsRefused(t *testing.T) {
	const good = "FROM scratch\nCOPY --from=build /out/x /x\nENTRYPOINT [\"/x\"]\n"
	_, err := readDockerfile("FROM golang AS build\nRUN make\n" + good)
	require.NoError(t, err)
	for text, want := range map[string]string{
		good + "RUN chmod x\n":                      `"RUN chmod x": an instruction that is not known here`,
		good + "VOLUME /data\n":                     "not known here",
		good + "COPY x /y\n":                        "not --from=build",
		good + "COPY --from=build \\\n /out/y /y\n": "neither the program nor the certificates",
		good + "ENV A\n":                            "a variable without a value",
		good + "CMD run\n":                          `"CMD run"`,
		"FROM alpine\n" + good[13:]:                 "no last stage FROM scratch",
		"FROM scratch\nUSER 1\n":                    "no last stage",
		good + "FROM alpine\nRUN x\n":               "",
	} {
		_, err := readDockerfile(text)
		if want != "" {
			assert.ErrorContains(t, err, want, text)
		}
	}
}

func TestLibrariesThatLddLists(t *testing.T) {
	files, err := parseLdd("\tlinux-vdso.so.1 (0x00007fba)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007fba)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007fba)\n")
	require.NoError(t, err)
	assert.Equal(t, []string{"/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"}, files)
	_, err = parseLdd("\tlibx.so.1 => not found\n")
	require.ErrorContains(t, err, "libx.so.1 is missing")
}

func TestVersionsOfDebian(t *testing.T) {
	for text, want := range map[string]string{"8.1.4+dfsg1-0+deb13u1": "8.1.4", "1:5.1.0-1": "5.1.0", "7.2": "7.2"} {
		assert.Equal(t, want, upstream(text))
	}
}

// An image that is pinned and not listed would be missing without a word.
func TestEveryPinnedImageIsListed(t *testing.T) {
	root, err := toolchain.Root()
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "components", "images", "images.go"), nil, 0)
	require.NoError(t, err)
	names := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			literal, ok := spec.Values[0].(*ast.CompositeLit)
			if !ok {
				return true
			}
			names++
			repository := strings.Trim(literal.Elts[0].(*ast.BasicLit).Value, `"`)
			_, err := reference(repository)
			assert.NoError(t, err, repository)
		}
		return true
	})
	assert.Equal(t, len(deployed), names)
	_, err = reference("docker.io/valkey")
	require.Error(t, err)
}

func TestTheImageOfAStandIn(t *testing.T) {
	b := &builder{work: t.TempDir()}
	in := standins.Image{
		Repository: "ghcr.io/home-operations/radarr", Package: "./x", Entrypoint: []string{"/entrypoint.sh"}, Env: map[string]string{"B": "2", "A": "1"},
		User: "nobody", Debian: []string{"curl"}, Instead: "a stand-in for Radarr",
		Files: map[string]string{"/entrypoint.sh": standins.ProgramPath, "/config": standins.Directory},
	}
	p, err := b.standin(in)
	require.NoError(t, err)
	assert.Equal(t, images.Radarr.Reference(), p.image)
	assert.Equal(t, "home-operations-radarr", p.name)
	assert.Equal(t, []string{"A=1", "B=2", searchPath}, p.config.Env)
	assert.Equal(t, []string{baseLayer, shellLayer}, p.on)
	assert.Equal(t, []string{"curl"}, p.debian)
	l := layer{}
	require.NoError(t, addFiles(l, in))
	assert.Equal(t, layer{
		"/entrypoint.sh": {kind: tar.TypeSymlink, mode: 0o777, target: standins.ProgramPath},
		"/config":        {kind: tar.TypeDir, mode: 0o755, uid: 65534, gid: 65534},
	}, l)

	in.Bare, in.Env = true, map[string]string{"PATH": "/app"}
	p, err = b.standin(in)
	require.NoError(t, err)
	assert.Equal(t, []string{baseLayer}, p.on)
	assert.Equal(t, []string{"PATH=/app"}, p.config.Env)

	for want, spoil := range map[string]func(*standins.Image){
		"no deployment has such an image":  func(s *standins.Image) { s.Repository = "docker.io/library/nginx" },
		"package and instead are required": func(s *standins.Image) { s.Instead = "" },
	} {
		bad := in
		spoil(&bad)
		_, err := b.standin(bad)
		require.ErrorContains(t, err, want)
	}
	in.Files = map[string]string{"/x": "wget"}
	require.ErrorContains(t, addFiles(layer{}, in), `/x is neither a folder nor a link: "wget"`)
	in.User = "operator"
	require.ErrorContains(t, addFiles(layer{}, in), `user "operator" is neither`)
}

func TestUsers(t *testing.T) {
	for text, want := range map[string][2]int{"": {0, 0}, "root": {0, 0}, "nobody": {65534, 65534}, "999:1000": {999, 1000}, "472": {472, 0}} {
		uid, gid, err := ids(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, [2]int{uid, gid}, text)
	}
	for _, text := range []string{"1:", "1:2:3", "1x", "a:b"} {
		_, _, err := ids(text)
		require.Error(t, err, text)
	}
}

// What the entry point asks the hub for must be the engine's own, or it looks for a network.
func TestWhatTheDeploymentAsksTheHubForIsThere(t *testing.T) {
	l := layer{}
	require.NoError(t, localItems(l, "/etc/crowdsec"))
	assert.Equal(t, "name: crowdsecurity/caddy\ndescription: in the place of the hub's\n", string(l["/etc/crowdsec/collections/crowdsecurity-caddy.yaml"].content))
	assert.Contains(t, string(l["/etc/crowdsec/parsers/s00-raw/crowdsecurity-docker-logs.yaml"].content), "name: crowdsecurity/docker-logs\n")
	root, err := toolchain.Root()
	require.NoError(t, err)
	model, err := os.ReadFile(filepath.Join(root, "components", "gateway", "internal", "crowdsec", "model.go"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(model), "func Collections() []string {\n\treturn []string{")
	require.True(t, found)
	list, _, found = strings.Cut(list, "\n\t}\n}")
	require.True(t, found)
	asked := 0
	for line := range strings.Lines(list) {
		if name := strings.Trim(strings.TrimSpace(line), `",`); name != "" {
			asked++
			assert.Contains(t, hubCollections, name)
		}
	}
	assert.Positive(t, asked)
}

func TestRealImagesStay(t *testing.T) {
	dir := t.TempDir()
	there, err := kept(dir)
	require.NoError(t, err)
	assert.Empty(t, there)
	theirs := substitutes.Image{Image: images.Valkey.Reference(), Archive: "v.tar", SHA256: strings.Repeat("0", 64)}
	ours := substitutes.Image{Image: images.CrowdSec.Reference(), Archive: "c.tar", SHA256: strings.Repeat("0", 64), Instead: "another"}
	built := substitutes.Image{Image: "homelab/caddy:0123456789abcdef", Archive: "h.tar", SHA256: strings.Repeat("0", 64)}
	require.NoError(t, substitutes.Write(dir, []substitutes.Image{theirs, ours, built}))
	there, err = kept(dir)
	require.NoError(t, err)
	assert.Equal(t, []substitutes.Image{theirs}, there)
	b := &builder{out: there}
	assert.NotContains(t, b.missing(), theirs.Image)
	assert.Contains(t, b.missing(), ours.Image)
}

func TestOptionsAreRequired(t *testing.T) {
	require.ErrorContains(t, Build(context.Background(), Options{}), "images need a folder, a cache and an authority")
}
