// Package qemu runs a virtual machine: its power, its serial console and its network cable. A
// machine ends with the process that started it, whatever way that process ends.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
)

// Config describes a machine. The zero value of a field that is not required means its default.
type Config struct {
	// Dir is an existing folder of this machine alone; QEMU's own messages go to qemu.log in it.
	// Required.
	Dir string
	// Disk is the machine's disk, a qcow2 image that it writes to. Required.
	Disk string
	// Archives is the content of a second disk, which the machine has at ArchivesDevice and can only
	// read. Default: no such disk.
	Archives string
	// Server is the server's ID at Hetzner. The machine says that it is one of Hetzner's, as they do,
	// so cloud-init asks Hetzner's metadata service what to do. Required.
	Server string
	// Kernel and Initrd are booted without a boot loader. Required.
	Kernel, Initrd string
	// Append is the kernel's command line. Required: it names the root file system.
	Append string
	// CPUs is the number of processors. Default 2.
	CPUs int
	// MemoryMB is the machine's memory in MiB. Default 4096.
	MemoryMB int
	// MAC is the address of its network card. Required.
	MAC net.HardwareAddr
	// Link gets the far end of the network cable each time the machine is switched on: four bytes of
	// length, the highest first, then an Ethernet frame. The connection ends with the power, and Link
	// must return then: only after that is the machine off. Required.
	Link func(net.Conn)
	// Console gets what the machine prints on its serial console. Default: nobody.
	Console io.Writer
	// Progress gets a line about what is slow or unusual. Default: nobody.
	Progress io.Writer
	// Acceleration is how the processors are run. Default: Auto.
	Acceleration Acceleration
}

const (
	defaultCPUs     = 2
	defaultMemoryMB = 4096
)

// withDefaults fills what is not set and reports every problem of the rest.
func (c Config) withDefaults() (Config, error) {
	var problems []error
	for _, f := range []struct{ name, value string }{
		{"folder", c.Dir}, {"disk", c.Disk}, {"server's ID", c.Server}, {"kernel", c.Kernel}, {"initial RAM disk", c.Initrd}, {"kernel command line", c.Append}, {"MAC", c.MAC.String()},
	} {
		if f.value == "" {
			problems = append(problems, fmt.Errorf("no %s", f.name))
		}
	}
	if c.Link == nil {
		problems = append(problems, errors.New("no link"))
	}
	if c.CPUs < 0 || c.MemoryMB < 0 {
		problems = append(problems, fmt.Errorf("%d processors and %d MiB of memory", c.CPUs, c.MemoryMB))
	}
	if len(problems) > 0 {
		return c, fmt.Errorf("describing a virtual machine: %w", errors.Join(problems...))
	}
	if c.CPUs == 0 {
		c.CPUs = defaultCPUs
	}
	if c.MemoryMB == 0 {
		c.MemoryMB = defaultMemoryMB
	}
	if c.Console == nil {
		c.Console = io.Discard
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c, nil
}

// Machine is a machine that was switched on. Its methods may be called at any time from several
// goroutines.
type Machine struct {
	ctx    context.Context
	config Config
	binary string

	mu  sync.Mutex
	now *running
	// cycling says that the power goes off only to come back.
	cycling bool

	ended chan struct{} // closed when the machine is off and stays so
	once  sync.Once
	err   error
}

// ErrOff says that the machine is switched off already.
var ErrOff = errors.New("the virtual machine is off")

// Start switches a machine on. It is switched off when ctx ends. The error names the package when
// QEMU is missing.
func Start(ctx context.Context, config Config) (*Machine, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	binary, err := Program("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	if config.Acceleration, err = config.Acceleration.choose(ctx, binary, config); err != nil {
		return nil, err
	}
	m := &Machine{ctx: ctx, config: config, binary: binary, ended: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.powerOn(); err != nil {
		return nil, err
	}
	return m, nil
}

// Acceleration is how the machine's processors are run, as it was chosen at its start.
func (m *Machine) Acceleration() Acceleration { return m.config.Acceleration }

// Console returns where what is typed on the serial console goes. Writing to it fails while the
// machine is off.
func (m *Machine) Console() io.Writer { return keyboard{m} }

type keyboard struct{ m *Machine }

func (k keyboard) Write(text []byte) (int, error) {
	k.m.mu.Lock()
	now := k.m.now
	k.m.mu.Unlock()
	return now.keys.Write(text)
}

// Cut takes the power away: nothing that is not on the disk already gets there. Once it returns, the
// machine is off.
func (m *Machine) Cut() error {
	m.mu.Lock()
	m.cycling = false
	now := m.now
	m.mu.Unlock()
	return now.kill()
}

// Shutdown presses the power button and waits until the machine is off. When ctx ends first, the
// machine goes on with whatever it does.
func (m *Machine) Shutdown(ctx context.Context) error {
	m.mu.Lock()
	now := m.now
	m.mu.Unlock()
	if err := now.button(ctx); err != nil {
		return fmt.Errorf("shutting the virtual machine down: %w", err)
	}
	return nil
}

// Reboot presses the power button, waits until the machine is off, and switches it on again.
func (m *Machine) Reboot(ctx context.Context) error {
	m.mu.Lock()
	m.cycling = true
	now := m.now
	m.mu.Unlock()
	err := now.button(ctx)

	m.mu.Lock()
	defer m.mu.Unlock()
	again := m.cycling
	m.cycling = false
	if err == nil && !again {
		err = ErrOff
	}
	if err == nil {
		err = m.powerOn()
	}
	if err != nil {
		if now.isOff() {
			m.end(now.err)
		}
		return fmt.Errorf("rebooting the virtual machine: %w", err)
	}
	return nil
}

// Wait waits until the machine is off and is not about to come back. The error is nil after Cut,
// after a shutdown from inside or outside, and when the context of Start ended; otherwise it is what
// QEMU complained of.
func (m *Machine) Wait() error {
	<-m.ended
	return m.err
}

// powerOn starts QEMU. The caller holds the lock.
func (m *Machine) powerOn() error {
	now, err := start(m.ctx, m.binary, m.config)
	if err != nil {
		return err
	}
	m.now = now
	go func() {
		<-now.off
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.now == now && !m.cycling {
			m.end(now.err)
		}
	}()
	return nil
}

// end tells those who wait that the machine is off for good.
func (m *Machine) end(err error) {
	m.once.Do(func() {
		m.err = err
		close(m.ended)
	})
}

// Program returns where a program is, or an error that names Debian's package of it.
func Program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if pkg, ok := packages[name]; ok {
		return "", fmt.Errorf("%s is missing: install it, as root: apt-get install --no-install-recommends %s: %w", name, pkg, err)
	}
	return "", fmt.Errorf("%s is missing: %w", name, err)
}

// packages are Debian's packages of the programs that a virtual machine and its disk need.
var packages = map[string]string{
	"debootstrap":        "debootstrap",
	"mkfs.ext4":          "e2fsprogs",
	"qemu-img":           "qemu-utils",
	"qemu-system-x86_64": "qemu-system-x86",
	"sfdisk":             "fdisk",
}
