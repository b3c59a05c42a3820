package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // a script
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"homelab/internal/machine/internal/qemu"
)

// packages are what a server of Hetzner's image has and debootstrap would leave out: what its cloud
// needs, a kernel for virtual machines, and the network's configuration as Debian's own cloud images
// have it.
var packages = []string{
	"apparmor", "ca-certificates", "cloud-guest-utils", "cloud-init", "dbus", "e2fsprogs", "fdisk", "initramfs-tools", "libpam-systemd",
	"linux-image-cloud-amd64", "locales", "netplan.io", "openssh-server", "qemu-guest-agent", "sudo", "systemd-resolved", "systemd-sysv",
	"systemd-timesyncd", "zstd",
}

// unwanted is what debootstrap installs and cloud images leave out: with it cloud-init would not
// configure systemd-networkd.
var unwanted = []string{"ifupdown"}

const (
	// diskSize is the base disk's own, as mkfs takes it; the first boot grows the file system to the
	// machine's disk.
	diskSize  = "2500M"
	minimumGB = 4
	// partitionStart is where the only partition begins, in bytes.
	partitionStart = 1 << 20
)

// build makes a base disk beside the target and moves the finished folder there.
func build(ctx context.Context, o Options, release, target string) (err error) {
	programs, err := findPrograms("debootstrap", "mkfs.ext4", "sfdisk")
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("debootstrap needs root: run this once as root; afterwards the base disk is in the cache")
	}
	work, err := os.MkdirTemp(o.Cache, ".building-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b := builder{Options: o, programs: programs, work: work, tree: filepath.Join(work, "tree"), release: release}
	_, _ = fmt.Fprintln(o.Progress, "building a disk with Debian 13, once (some minutes)")
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"Debian's packages (debootstrap)", b.debian},
		{"substitutes of vendors' packages", b.substitute},
		{"settings of a cloud's image", b.settle},
		{"kernel and initial RAM disk", b.takeKernel},
		{"file system", b.makeDisk},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		took := time.Since(began)
		b.steps = append(b.steps, Step{step.name, took})
		_, _ = fmt.Fprintf(o.Progress, "disk: %s: %s\n", step.name, took.Round(100*time.Millisecond))
	}
	if err := os.RemoveAll(b.tree); err != nil {
		return err
	}
	steps, err := json.MarshalIndent(b.steps, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, stepsName), append(steps, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	// A folder that is not whole is what somebody left who deleted by hand.
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return os.Rename(work, target)
}

// builder is one build of a base disk.
type builder struct {
	Options
	programs map[string]string
	work     string
	release  string // of the mirror: see fetchRelease
	tree     string // the file system, as a folder
	steps    []Step
}

func findPrograms(names ...string) (map[string]string, error) {
	found := map[string]string{}
	var problems []error
	for _, name := range names {
		path, err := qemu.Program(name)
		problems = append(problems, err)
		found[name] = path
	}
	return found, errors.Join(problems...)
}

// debian puts Debian's packages into the tree, from a copy in the cache, which the first build of
// these packages makes: files of our own change more often.
func (b *builder) debian(ctx context.Context) error {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q", []any{b.Mirror, suite, packages, unwanted, b.release})
	kept := filepath.Join(b.Cache, fmt.Sprintf("debian-%.24x", hash.Sum(nil)))
	if _, err := os.Stat(kept); err != nil {
		tree := filepath.Join(b.work, "debian")
		if err := b.debootstrap(ctx, tree); err != nil {
			return err
		}
		if err := os.Rename(tree, kept); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return b.run(ctx, "", "cp", "--archive", "--reflink=auto", kept, b.tree)
}

func (b *builder) debootstrap(ctx context.Context, tree string) error {
	archives := filepath.Join(b.Cache, "packages")
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return err
	}
	return b.run(ctx, "", b.programs["debootstrap"], "--cache-dir="+archives, "--components=main",
		"--include="+strings.Join(packages, ","), "--exclude="+strings.Join(unwanted, ","), suite, tree, b.Mirror)
}

// substituteScript builds Debian's package anew under another name, with Debian's own tools in the
// disk's file system: apt checks what it fetches. What Debian's says of other packages that must not
// be beside it goes.
//
//go:embed substitute.sh
var substituteScript string

// substitute builds the packages of the options, beside the disk.
func (b *builder) substitute(ctx context.Context) error {
	out := filepath.Join(b.work, packagesName)
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	if len(b.Substitutes) == 0 {
		return nil
	}
	scratch := filepath.Join(b.tree, "tmp", "substitutes")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	if err := b.lendNameServers(); err != nil {
		return err
	}
	var words []string
	for _, s := range b.Substitutes {
		words = append(words, s.Debian, s.Name, strconv.Itoa(s.Epoch))
	}
	if err := b.run(ctx, b.tree, "sh", append([]string{"-ec", substituteScript, "substitute"}, words...)...); err != nil {
		return err
	}
	built, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil {
		return err
	}
	for _, path := range built {
		if err := os.Rename(path, filepath.Join(out, filepath.Base(path))); err != nil {
			return err
		}
	}
	return os.RemoveAll(scratch)
}

// lendNameServers puts those of this computer where the disk looks for them: in a folder that is
// empty at a boot.
func (b *builder) lendNameServers() error {
	servers, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	path := filepath.Join(b.tree, "run", "systemd", "resolve", "stub-resolv.conf")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, servers, 0o644)
}

// settle turns a Debian that was just installed into an image: what belongs to one machine is gone.
func (b *builder) settle(ctx context.Context) error {
	remove, err := filepath.Glob(filepath.Join(b.tree, "etc/ssh/ssh_host_*"))
	if err != nil {
		return err
	}
	for _, path := range []string{"etc/hostname", "etc/apt/sources.list", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"} {
		remove = append(remove, filepath.Join(b.tree, path))
	}
	for _, pattern := range []string{"var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/cache/apt/*.bin", "var/log/*.log"} {
		found, err := filepath.Glob(filepath.Join(b.tree, pattern))
		if err != nil {
			return err
		}
		remove = append(remove, found...)
	}
	for _, path := range remove {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Empty: systemd makes a new one at the first boot.
	if err := os.WriteFile(filepath.Join(b.tree, "etc/machine-id"), nil, 0o444); err != nil {
		return err
	}
	if err := b.ownFiles(); err != nil {
		return err
	}
	for _, words := range [][]string{{"update-ca-certificates"}, {"systemctl", "enable", "systemd-networkd"}} {
		if err := b.run(ctx, b.tree, words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// ownFiles puts this package's files and those of the options on the disk.
func (b *builder) ownFiles() error {
	all := b.Files
	err := fs.WalkDir(files, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		all = append(all, File{Path: strings.TrimPrefix(path, "files"), Mode: 0o644, Content: content})
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range all {
		path := filepath.Join(b.tree, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Content, f.Mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.Mode); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

func (b *builder) takeKernel(context.Context) error {
	for _, f := range []struct{ pattern, name string }{{"boot/vmlinuz-*", kernelName}, {"boot/initrd.img-*", initrdName}} {
		found, err := filepath.Glob(filepath.Join(b.tree, f.pattern))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d files are named %s", len(found), f.pattern)
		}
		content, err := os.ReadFile(found[0])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.work, f.name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk makes a disk with one partition, as cloud images have it, so that the first boot grows
// partition and file system.
func (b *builder) makeDisk(ctx context.Context) error {
	disk := filepath.Join(b.work, diskName)
	if err := b.run(ctx, "", b.programs["mkfs.ext4"], "-q", "-L", "root", "-d", b.tree, "-E", fmt.Sprintf("offset=%d", partitionStart), disk, diskSize); err != nil {
		return err
	}
	info, err := os.Stat(disk)
	if err != nil {
		return err
	}
	// Behind the partition lies the table's copy.
	if err := os.Truncate(disk, info.Size()+(1<<20)); err != nil {
		return err
	}
	cmd := command(ctx, b.programs["sfdisk"], "--quiet", disk)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=linux\n", partitionStart/512, (info.Size()-partitionStart)/512))
	return outcome(cmd)
}

// run runs a program, in the disk's file system where root names it.
func (b *builder) run(ctx context.Context, root, program string, arguments ...string) error {
	cmd := command(ctx, program, arguments...)
	if root != "" {
		cmd = command(ctx, "chroot", append([]string{root, program}, arguments...)...)
	}
	return outcome(cmd)
}

// command is in a group of its own, all of which ends with ctx: debootstrap is a script. What it
// mounts, nobody else sees, and it is gone with the last of its processes.
func command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return cmd
}

// outcome runs the command; the error ends with the last lines that it said.
func outcome(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}
