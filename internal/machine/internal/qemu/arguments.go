package qemu

import (
	"fmt"
	"strconv"
	"strings"
)

// archivesSerial is the serial number of the disk of archives.
const archivesSerial = "homelab-archives"

// ArchivesDevice is where a machine has its disk of archives.
const ArchivesDevice = "/dev/disk/by-id/virtio-" + archivesSerial

// arguments are QEMU's, with the descriptors of the network cable, the monitor and the guest agent.
func arguments(c Config, cable, control, inside int) []string {
	out := []string{
		"-smbios", "type=1,manufacturer=Hetzner,product=vServer,serial=" + quoted(c.Server),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-m", strconv.Itoa(c.MemoryMB), "-smp", strconv.Itoa(c.CPUs),
		"-rtc", "base=utc", // and it keeps the host's time
		"-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.Append,
		"-serial", "stdio",
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", control), "-mon", "chardev=control,mode=control",
		"-drive", "if=none,id=disk,format=qcow2,discard=unmap,file=" + quoted(c.Disk), "-device", "virtio-blk-pci,drive=disk",
		"-netdev", fmt.Sprintf("stream,id=cable,server=off,addr.type=fd,addr.str=%d", cable), "-device", "virtio-net-pci,netdev=cable,mac=" + c.MAC.String(),
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=inside,fd=%d", inside), "-device", "virtserialport,chardev=inside,name=org.qemu.guest_agent.0",
	}
	if c.Archives != "" {
		// Last, so that the other devices have the places that they have without it.
		out = append(out, "-drive", "if=none,id=archives,format=raw,readonly=on,file="+quoted(c.Archives),
			"-device", "virtio-blk-pci,drive=archives,serial="+archivesSerial)
	}
	return append(out, c.Acceleration.arguments()...)
}

// quoted doubles commas, which part QEMU's options.
func quoted(path string) string { return strings.ReplaceAll(path, ",", ",,") }
