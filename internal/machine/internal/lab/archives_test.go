package lab

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/disk"
	"homelab/internal/machine/internal/qemu"
	"homelab/internal/rehearsal"
	"homelab/internal/substitutes"
)

// fakeQEMU is the word with which this test's executable is a QEMU whose machine is this computer: its
// guest agent runs what it is told to, with the file behind the disk of archives in the disk's place.
const fakeQEMU = "fake-qemu"

func beQEMU(words []string) error {
	var archives string
	for n, word := range words {
		if word == "-no-reboot" {
			return nil // it is asked whether KVM works, and has no kernel to show
		}
		if rest, ok := strings.CutPrefix(word, "if=none,id=archives,format=raw,readonly=on,file="); ok && words[n+2] == "virtio-blk-pci,drive=archives,serial=homelab-archives" {
			archives = rest
		}
	}
	agent := os.NewFile(5, "guest agent")
	var ended []byte // what is to be said of the program that ran last
	for lines := bufio.NewScanner(agent); lines.Scan(); {
		var asked struct {
			Execute   string `json:"execute"`
			Arguments struct {
				ID   int64    `json:"id"`
				Path string   `json:"path"`
				Arg  []string `json:"arg"`
			} `json:"arguments"`
		}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		answer := []byte(`{"error": {"desc": "no such command"}}`)
		switch asked.Execute {
		case "guest-sync":
			answer = fmt.Appendf(nil, `{"return": %d}`, asked.Arguments.ID)
		case "guest-exec":
			for n, word := range asked.Arguments.Arg {
				if word == qemu.ArchivesDevice && archives != "" {
					asked.Arguments.Arg[n] = archives
				}
			}
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(asked.Arguments.Path, asked.Arguments.Arg...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var failed *exec.ExitError
			if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
				return err
			}
			text, err := json.Marshal(map[string]any{"return": map[string]any{
				"exited": true, "exitcode": cmd.ProcessState.ExitCode(), "out-data": stdout.Bytes(), "err-data": stderr.Bytes(),
			}})
			if err != nil {
				return err
			}
			ended, answer = text, []byte(`{"return": {"pid": 7}}`)
		case "guest-exec-status":
			answer = ended
		}
		if _, err := agent.Write(append(answer, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// script puts a program before the real ones.
func script(t *testing.T, folder, name string, lines ...string) {
	t.Helper()
	text := "#!/bin/sh\nset -eu\n" + strings.Join(lines, "\n") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o755))
}

// withMachine is a rehearsal whose machine, at 100.64.0.7, is this computer, with an engine that
// keeps in the folder what it was given.
func withMachine(t *testing.T, images *substitutes.Folder) (l *Lab, m *machine, engine string) {
	t.Helper()
	engine = t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	script(t, engine, "qemu-system-x86_64", `exec "`+self+`" `+fakeQEMU+` "$@"`)
	script(t, engine, "ip", `[ "$*" != "-oneline address show to 100.64.0.7" ] || echo "3: tailscale0 inet 100.64.0.7/32"`)
	script(t, engine, "docker", `[ "$*" = "load --quiet" ]`, `cat >"`+engine+`/given"`,
		`if grep -q broken "`+engine+`/given"; then echo "unexpected EOF" >&2; exit 1; fi`, `echo "Loaded image ID: sha256:0123"`)
	t.Setenv("PATH", engine+":"+os.Getenv("PATH"))
	l, err = Open(t.Context(), Options{State: t.TempDir(), Cache: t.TempDir(), Images: images, Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(t.Context(), false)) })
	l.image = &disk.Image{Kernel: "/vmlinuz", Initrd: "/initrd", Append: "root=/dev/vda1"}
	m = l.newMachine(rehearsal.Server{ID: "100000007", Name: "homelab", CPUs: 1, MemoryMB: 512, IPv4: netip.MustParseAddr("198.51.100.7")})
	require.NoError(t, os.MkdirAll(l.folder("100000007"), 0o700))
	return l, m, engine
}

// imageOf puts an archive into a folder of images.
func imageOf(t *testing.T, folder, name, archive string, content []byte) substitutes.Image {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, archive), content, 0o644))
	sum := sha256.Sum256(content)
	return substitutes.Image{Image: name, Archive: archive, SHA256: hex.EncodeToString(sum[:])}
}

const host = "ssh://deploy@100.64.0.7:22"

func TestImagesAreLoadedFromTheMachinesDisk(t *testing.T) {
	folder := t.TempDir()
	pinned := func(letter string) string {
		return "docker.io/library/" + letter + ":1@sha256:" + strings.Repeat(letter, 64)
	}
	contents := map[string][]byte{
		pinned("a"): bytes.Repeat([]byte("an archive "), 300_001), pinned("b"): []byte("another"), "homelab/caddy:0123456789abcdef": bytes.Repeat([]byte{0, 1}, shelfAlignment/2),
	}
	var all []substitutes.Image
	for name, content := range contents {
		all = append(all, imageOf(t, folder, name, fmt.Sprintf("%x.tar", sha256.Sum256([]byte(name))), content))
	}
	all = append(all, imageOf(t, folder, pinned("c"), "c.tar", []byte("broken")), imageOf(t, folder, pinned("d"), "d.tar", contents[pinned("b")]))
	require.NoError(t, substitutes.Write(folder, all))
	images, err := substitutes.Open(folder)
	require.NoError(t, err)
	l, m, engine := withMachine(t, images)
	ctx := t.Context()
	_, loaded, err := l.loadFromShelf(ctx, host, pinned("a"))
	require.NoError(t, err)
	assert.False(t, loaded, "a machine that is off loads nothing")

	require.NoError(t, l.switchOn(ctx, m))
	given := func(name string) []byte {
		t.Helper()
		said, loaded, err := l.loadFromShelf(ctx, host, name)
		require.NoError(t, err)
		require.True(t, loaded)
		assert.Equal(t, "Loaded image ID: sha256:0123\n", said)
		content, err := os.ReadFile(filepath.Join(engine, "given"))
		require.NoError(t, err)
		return content
	}
	for name, content := range contents {
		assert.True(t, bytes.Equal(content, given(name)), name)
	}
	assert.Equal(t, contents[pinned("b")], given(pinned("d")))
	_, _, err = l.loadFromShelf(ctx, host, pinned("c"))
	require.ErrorContains(t, err, "docker load on the machine ended with 1 and said: unexpected EOF")
	_, _, err = l.loadFromShelf(ctx, host, pinned("e"))
	require.ErrorContains(t, err, "has no image")
	_, loaded, err = l.loadFromShelf(ctx, "ssh://deploy@100.64.0.8:22", pinned("a"))
	require.NoError(t, err)
	assert.False(t, loaded, "another machine")

	// A folder that is made anew counts at once, and is on the disk after the next start.
	anew := imageOf(t, folder, pinned("a"), "anew.tar", []byte("made anew"))
	require.NoError(t, substitutes.Write(folder, []substitutes.Image{anew}))
	_, loaded, err = l.loadFromShelf(ctx, host, pinned("a"))
	require.NoError(t, err)
	assert.False(t, loaded, "the disk has another archive")
	onDisk := filepath.Join(l.folder("100000007"), archivesFile)
	assert.FileExists(t, onDisk)
	require.NoError(t, l.off(ctx, m, false))
	assert.NoFileExists(t, onDisk)
	require.NoError(t, l.switchOn(ctx, m))
	assert.Equal(t, "made anew", string(given(pinned("a"))))
}

func TestAWrongArchiveKeepsAMachineOff(t *testing.T) {
	folder := t.TempDir()
	name := "docker.io/library/a:1@sha256:" + strings.Repeat("a", 64)
	require.NoError(t, substitutes.Write(folder, []substitutes.Image{imageOf(t, folder, name, "a.tar", []byte("an archive"))}))
	images, err := substitutes.Open(folder)
	require.NoError(t, err)
	l, m, _ := withMachine(t, images)
	imageOf(t, folder, name, "a.tar", []byte("an archive!"))
	require.ErrorContains(t, l.switchOn(t.Context(), m), "making the disk of images of machine 100000007")
	_, now := l.present(m)
	assert.False(t, now.on())
	assert.NoFileExists(t, filepath.Join(l.folder("100000007"), archivesFile))
}

// An agent that does not do as it is told is asked once, and the image comes the slow way.
func TestAMachineWithoutAnAgentIsSentItsImages(t *testing.T) {
	folder := t.TempDir()
	name := "docker.io/library/a:1@sha256:" + strings.Repeat("a", 64)
	require.NoError(t, substitutes.Write(folder, []substitutes.Image{imageOf(t, folder, name, "a.tar", []byte("an archive"))}))
	images, err := substitutes.Open(folder)
	require.NoError(t, err)
	l, m, engine := withMachine(t, images)
	script(t, engine, "qemu-system-x86_64", `while read -r line <&5; do`, `  case $line in`,
		`  *guest-sync*) echo "{\"return\": $(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')}" >&5 ;;`,
		`  *) echo asked >>"`+engine+`/asked"; echo '{"error": {"desc": "not allowed"}}' >&5 ;;`, `  esac`, `done`)
	require.NoError(t, l.switchOn(t.Context(), m))
	for range 2 {
		_, loaded, err := l.loadFromShelf(t.Context(), host, name)
		require.NoError(t, err)
		assert.False(t, loaded)
	}
	asked, err := os.ReadFile(filepath.Join(engine, "asked"))
	require.NoError(t, err)
	assert.Equal(t, "asked\n", string(asked))
	archive, err := l.fromFolder(name)
	require.NoError(t, err)
	content, err := io.ReadAll(archive)
	require.NoError(t, err)
	assert.Equal(t, "an archive", string(content))
	_, err = l.fromFolder("docker.io/library/b:1")
	require.ErrorContains(t, err, folder+" has none: homelab machine images makes the folder")
}
