//go:build host

package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homelab/tests/internal/netns"
)

// dialing begins a connection in a namespace and does not wait for it, so that hundreds of refused
// ones take as long as one. A local port of 0 is any.
func dialing(n *netns.Namespace, address string, local int) (fd int, err error) {
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
		if local != 0 {
			err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Port: local}))
			if err != nil {
				_ = unix.Close(fd)
				return fmt.Errorf("taking port %d: %w", local, err)
			}
		}
		if err := unix.Connect(fd, remote); err != nil && err != unix.EINPROGRESS {
			_ = unix.Close(fd)
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
		return nil
	})
	return fd, err
}

// atOnce is how many connections are begun before the first of them are waited for.
const atOnce = 3000

// connectFrom tries addresses from several containers, and returns those that answered, by
// container and sorted.
func (f *filtered) connectFrom(tries map[string][]string) map[string][]string {
	out, begun := map[string][]string{}, map[int]string{}
	wait := func() {
		for _, answered := range established(begun) {
			from, address, _ := strings.Cut(answered, " ")
			out[from] = append(out[from], address)
		}
	}
	for from, addresses := range tries {
		for _, address := range addresses {
			if fd, err := dialing(f.containers[from].Namespace, address, 0); err == nil {
				begun[fd] = from + " " + address
			}
			if len(begun) == atOnce {
				wait()
			}
		}
	}
	wait()
	for _, answered := range out {
		slices.Sort(answered)
	}
	return out
}

// askFrom sends a datagram to each address from several containers, and returns those that
// answered, by container and sorted.
func (f *filtered) askFrom(t *testing.T, containers, addresses []string) map[string][]string {
	var mu sync.Mutex
	out := map[string][]string{}
	var wg sync.WaitGroup
	for _, name := range containers {
		wg.Go(func() {
			if answered := ask(t, f.containers[name].Namespace, addresses); answered != nil {
				mu.Lock()
				defer mu.Unlock()
				out[name] = answered
			}
		})
	}
	wg.Wait()
	return out
}

// established waits for connections that were begun, empties the list, and returns those that came
// about.
func established(begun map[int]string) []string {
	var answered []string
	for address, err := range settled(begun) {
		if err == nil {
			answered = append(answered, address)
		}
	}
	return answered
}

// settled waits for connections that were begun, closes them and empties the list, and returns
// those that something came back for: an answer, or an error that somebody sent.
func settled(begun map[int]string) map[string]error {
	out := map[string]error{}
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
			failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && failed != 0 {
				err = unix.Errno(failed)
			}
			out[begun[fd]] = err
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
	clear(begun)
	return out
}
