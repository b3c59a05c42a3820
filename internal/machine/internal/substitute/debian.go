package substitute

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"homelab/internal/filelock"
	"homelab/internal/machine/internal/qemu"
)

const (
	debianSuite  = "trixie"
	debianMirror = "http://deb.debian.org/debian"
)

// debianPackages are those that substitutes take programs, certificates and time zones from.
var debianPackages = []string{
	"bash", "busybox-static", "ca-certificates", "coreutils", "curl", "qbittorrent-nox", "rsync", "tzdata", "valkey-server", "valkey-tools",
}

// debian is a small Debian in a folder, out of which images take files.
type debian struct{ tree string }

// openDebian returns it, and makes it where the cache has none: that takes a minute or two, and
// needs root and Debian's mirror.
func openDebian(ctx context.Context, b *builder) (_ debian, err error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []any{debianMirror, debianSuite, debianPackages}))
	d := debian{filepath.Join(b.cache, fmt.Sprintf("debian-%.24x", sum))}
	lock, err := filelock.Acquire(ctx, d.tree+".lock", func() { b.say("waiting for another process that installs Debian's packages") })
	if err != nil {
		return debian{}, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if _, err := os.Stat(d.tree); !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	program, err := qemu.Program("debootstrap")
	if err != nil {
		return debian{}, err
	}
	if os.Geteuid() != 0 {
		return debian{}, errors.New("debootstrap needs root: run this once as root; afterwards Debian's programs are in the cache")
	}
	b.say("fetching Debian's programs, once (a minute or two)")
	work, err := os.MkdirTemp(b.cache, ".building-")
	if err != nil {
		return debian{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	tree := filepath.Join(work, "tree")
	if _, err := output(ctx, program, "--variant=minbase", "--components=main", "--include="+strings.Join(debianPackages, ","), debianSuite, tree, debianMirror); err != nil {
		return debian{}, err
	}
	return d, os.Rename(tree, d.tree)
}

// run runs a program of Debian's, and returns what it prints.
func (d debian) run(ctx context.Context, words ...string) (string, error) {
	return output(ctx, "chroot", append([]string{d.tree}, words...)...)
}

// output runs a program. What it mounts is gone when it ends, and all that it starts ends with ctx.
func output(ctx context.Context, program string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()+said.String()), "\n")
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return out.String(), nil
}

// file is where a file of Debian's is on this computer, links followed as Debian sees them.
func (d debian) file(ctx context.Context, name string) (string, error) {
	out, err := d.run(ctx, "readlink", "--canonicalize-existing", name)
	if err != nil {
		return "", fmt.Errorf("no %s in Debian: %w", name, err)
	}
	return filepath.Join(d.tree, strings.TrimSpace(out)), nil
}

// program puts one of Debian's programs into a layer, in /usr/bin and by a link in /bin, with the
// libraries that it is linked with.
func (d debian) program(ctx context.Context, l layer, name string) error {
	inside := path.Join("/usr/bin", name)
	source, err := d.file(ctx, inside)
	if err != nil {
		return err
	}
	l.program(inside, source)
	l.link(path.Join("/bin", name), inside)
	return d.libraries(ctx, l, inside)
}

// libraries puts what a program or library is linked with into a layer, where its loader looks for
// it.
func (d debian) libraries(ctx context.Context, l layer, inside string) error {
	listed, err := d.run(ctx, "ldd", inside)
	if err != nil {
		return err
	}
	needed, err := parseLdd(listed)
	if err != nil {
		return fmt.Errorf("%s: %w", inside, err)
	}
	for _, library := range needed {
		source, err := d.file(ctx, library)
		if err != nil {
			return err
		}
		l.program(library, source)
	}
	return nil
}

// parseLdd returns the files that ldd lists.
func parseLdd(listed string) (files []string, err error) {
	for line := range strings.Lines(listed) {
		line = strings.TrimSpace(line)
		name, found, arrow := strings.Cut(line, " => ")
		if !arrow {
			name, found = "", line // the loader, or what the kernel has
		}
		file, _, _ := strings.Cut(found, " (")
		switch {
		case file == "not found":
			return nil, fmt.Errorf("%s is missing", name)
		case path.IsAbs(file):
			files = append(files, file)
		}
	}
	return files, nil
}

// version is the version of a package, as its authors number it.
func (d debian) version(ctx context.Context, name string) (string, error) {
	out, err := d.run(ctx, "dpkg-query", "--show", "--showformat=${Version}", name)
	if err != nil {
		return "", err
	}
	return upstream(out), nil
}

// upstream is a version of Debian's without what Debian adds: 1:8.1.4+dfsg1-2 is 8.1.4.
func upstream(version string) string {
	if _, rest, found := strings.Cut(version, ":"); found {
		version = rest
	}
	version, _, _ = strings.Cut(version, "-")
	version, _, _ = strings.Cut(version, "+")
	return version
}
