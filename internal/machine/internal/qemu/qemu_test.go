package qemu_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/internal/machine/internal/qemu"
)

func config(t *testing.T) qemu.Config {
	t.Helper()
	return described(t.TempDir())
}

// described is a machine of which nothing exists but its folder.
func described(dir string) qemu.Config {
	return qemu.Config{
		Dir: dir, Disk: "/disk.qcow2", Server: "4711", Kernel: "/vmlinuz", Initrd: "/initrd", Append: "root=/dev/vda1",
		MAC: net.HardwareAddr{0x96, 0, 0, 0, 0, 1}, Link: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, Acceleration: qemu.TCG,
	}
}

func TestStartRefusesWhatIsNotDescribed(t *testing.T) {
	_, err := qemu.Start(t.Context(), qemu.Config{})
	for _, missing := range []string{"no folder", "no disk", "no server's ID", "no kernel", "no initial RAM disk", "no kernel command line", "no MAC", "no link"} {
		assert.ErrorContains(t, err, missing)
	}
	negative := config(t)
	negative.MemoryMB = -1
	_, err = qemu.Start(t.Context(), negative)
	assert.ErrorContains(t, err, "-1 MiB")
}

func TestMissingProgramsNameTheirPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := qemu.Start(t.Context(), config(t))
	assert.ErrorContains(t, err, "qemu-system-x86_64 is missing: install it, as root: apt-get install --no-install-recommends qemu-system-x86")
	for program, pkg := range map[string]string{"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "qemu-img": "qemu-utils", "sfdisk": "fdisk"} {
		_, err := qemu.Program(program)
		assert.ErrorContains(t, err, "apt-get install --no-install-recommends "+pkg+":")
	}
	_, err = qemu.Program("no-such-program")
	assert.ErrorContains(t, err, "no-such-program is missing")
}

func TestUnknownAcceleration(t *testing.T) {
	if _, err := qemu.Program("qemu-system-x86_64"); err != nil {
		t.Setenv("PATH", fake(t))
	}
	odd := config(t)
	odd.Acceleration = "xen"
	_, err := qemu.Start(t.Context(), odd)
	assert.ErrorContains(t, err, `"xen" is no acceleration`)
}
