//go:build linux

// Package netns makes network namespaces without names: they end with the process that made them,
// whatever ends it.
package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is one network namespace with a thread of this process inside.
type Namespace struct {
	name string
	jobs chan job
	self *os.File
}

type job struct {
	run  func() error
	done chan error
}

// New makes a namespace whose loopback interface is up. It needs root.
func New(name string) (*Namespace, error) {
	n := &Namespace{name: name, jobs: make(chan job)}
	ready := make(chan error)
	go n.serve(ready, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	return n, n.IP("link set lo up")
}

// Of returns the namespace that a process is in. It needs root.
func Of(name string, pid int) (*Namespace, error) {
	n := &Namespace{name: name, jobs: make(chan job)}
	ready := make(chan error)
	go n.serve(ready, func() error {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer file.Close()
		return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	})
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("entering network namespace %s: %w", name, err)
	}
	return n, nil
}

// serve works inside the namespace. Its thread is never unlocked, so the runtime ends it with the
// goroutine instead of reusing it.
func (n *Namespace) serve(ready chan<- error, enter func() error) {
	runtime.LockOSThread()
	if err := enter(); err != nil {
		ready <- err
		return
	}
	var err error
	n.self, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	ready <- err
	if err != nil {
		return
	}
	for j := range n.jobs {
		j.done <- j.run()
	}
}

// Close ends the thread. The namespace itself ends with the last process and connection in it.
func (n *Namespace) Close() error {
	close(n.jobs)
	return n.self.Close()
}

// Do runs f on the thread inside the namespace: sockets that f opens and processes that it starts
// belong to the namespace for ever.
func (n *Namespace) Do(f func() error) error {
	j := job{f, make(chan error, 1)}
	n.jobs <- j
	return <-j.done
}

// DialContext connects from the namespace to an address without names in it.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in the namespace.
func (n *Namespace) Listen(address string) (listener net.Listener, err error) {
	err = n.Do(func() error {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// Start starts the command in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// IP runs the command ip with the words of arguments.
func (n *Namespace) IP(arguments string) error {
	return n.Run(nil, "ip", strings.Fields(arguments)...)
}

// Run runs a program in the namespace to its end.
func (n *Namespace) Run(stdin io.Reader, program string, arguments ...string) error {
	return n.Do(func() error {
		var output bytes.Buffer
		cmd := exec.Command(program, arguments...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &output, &output
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("in network namespace %s: %s %q: %w: %s", n.name, program, arguments, err, bytes.TrimSpace(output.Bytes()))
		}
		return nil
	})
}

// Connect joins two namespaces by a pair of interfaces.
func Connect(a *Namespace, interfaceA string, b *Namespace, interfaceB string) error {
	return a.IP(fmt.Sprintf("link add %s type veth peer name %s netns /proc/%d/fd/%d", interfaceA, interfaceB, os.Getpid(), b.self.Fd()))
}

// Forward lets the namespace pass packets on.
func (n *Namespace) Forward() error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600) })
}

// Switch adds a bridge with an address, or without one if it is empty.
func (n *Namespace) Switch(name, address string) error {
	err := errors.Join(n.IP("link add "+name+" type bridge"), n.IP("link set "+name+" up"))
	if err == nil && address != "" {
		err = n.IP("address add " + address + " dev " + name)
	}
	return err
}
