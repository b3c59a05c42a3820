//go:build host

package host

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"homelab/tests/internal/netns"
)

// dialing begins a connection in a namespace and does not wait for it, so that hundreds of refused
// ones take as long as one.
func dialing(n *netns.Namespace, address string) (fd int, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	var remote unix.Sockaddr
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
	return fd, err
}

// established waits for connections that were begun, closes them, and returns those that came about.
func established(begun map[int]string) []string {
	var answered []string
	for deadline := time.Now().Add(patience); len(begun) > 0; {
		polled := make([]unix.PollFd, 0, len(begun))
		for fd := range begun {
			polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
		}
		left := time.Until(deadline)
		if _, err := unix.Poll(polled, int(max(left, 0).Milliseconds())); err != nil && err != unix.EINTR {
			break
		}
		for _, p := range polled {
			if p.Revents == 0 {
				continue
			}
			fd := int(p.Fd)
			if failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && failed == 0 {
				answered = append(answered, begun[fd])
			}
			_ = unix.Close(fd)
			delete(begun, fd)
		}
		if left <= 0 {
			break
		}
	}
	for fd := range begun {
		_ = unix.Close(fd)
	}
	return answered
}
