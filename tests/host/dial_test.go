//go:build host

package host

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"homelab/tests/internal/netns"
)

// dialing begins a connection in a namespace and does not wait for it, so that hundreds of refused
// ones take as long as one.
func dialing(n *netns.Namespace, address string) (fd int, remote unix.Sockaddr, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, nil, err
	}
	family := unix.AF_INET
	if at.Addr().Is4() {
		remote = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else {
		family, remote = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	err = n.Do(func() error {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Connect(fd, remote); err != nil && err != unix.EINPROGRESS {
			_ = unix.Close(fd)
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
		return nil
	})
	return fd, remote, err
}

// established waits for the connection, and closes it.
func established(ctx context.Context, fd int, remote unix.Sockaddr) bool {
	defer unix.Close(fd)
	for ctx.Err() == nil {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if ready, err := unix.Poll(polled, 10); err == nil && ready == 1 {
			failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			return err == nil && failed == 0
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}
