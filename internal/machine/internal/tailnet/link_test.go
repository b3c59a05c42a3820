//go:build linux

package tailnet

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"homelab/internal/machine/internal/link"
)

// plugged is the machine that this namespace plays on the link.
var plugged = link.Machine{
	ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 3}, IPv4: netip.MustParseAddr("116.203.10.1"), IPv6: netip.MustParsePrefix("2a01:4f8:c17:1::/64"),
}

// plug joins this network namespace to the link, by a network card whose other end is the test.
func plug(t *testing.T, network *link.Network) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	request, err := unix.NewIfreq("eth0")
	require.NoError(t, err)
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	require.NoError(t, unix.SetNonblock(fd, true))
	card := os.NewFile(uintptr(fd), "eth0")
	for _, line := range []string{
		"ip link set eth0 address " + plugged.MAC.String(), "ip link set eth0 up", "ip address add " + plugged.IPv4.String() + "/32 dev eth0",
		"ip route add 172.31.1.1 dev eth0", "ip route add default via 172.31.1.1 dev eth0",
	} {
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
	}
	ours, theirs := net.Pipe()
	go func() { _ = network.Attach(theirs, plugged) }()
	t.Cleanup(func() {
		_ = card.Close()
		_ = ours.Close()
	})
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			size, err := card.Read(buffer[4:])
			if err != nil {
				return
			}
			binary.BigEndian.PutUint32(buffer, uint32(size))
			if _, err := ours.Write(buffer[:4+size]); err != nil {
				return
			}
		}
	}()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			if _, err := io.ReadFull(ours, buffer[:4]); err != nil {
				return
			}
			frame := buffer[4 : 4+binary.BigEndian.Uint32(buffer)]
			if _, err := io.ReadFull(ours, frame); err != nil {
				return
			}
			if _, err := card.Write(frame); err != nil {
				return
			}
		}
	}()
}

// coverFor covers a file for the time of a test.
func coverFor(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, cover(path, []byte(content)))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, 0)) })
}

// TestAMachineOnTheLinkJoins runs Tailscale's programs as a machine does: it knows the names of
// Tailscale's servers, the network's name server, and the rehearsal's authority.
func TestAMachineOnTheLinkJoins(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test needs root: it makes a network namespace")
	network, err := link.New(link.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, network.Close()) })
	issue, trust := newAuthority(t)
	port := serve(t)
	tailnet, err := Start(t.Context(), Options{
		Dir: t.TempDir(), Network: network, IPv4: netip.MustParseAddr("198.51.100.80"), IPv6: netip.MustParseAddr("2001:db8:80::80"),
		Certificate: issue, Domain: domain, Operator: operator, Policy: policyFor(t, port),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		begin := time.Now()
		assert.NoError(t, tailnet.Close())
		assert.Less(t, time.Since(begin), stopTimeout, "headscale had to be killed")
	})
	coverFor(t, "/etc/hosts", "127.0.0.1 localhost\n")
	coverFor(t, "/etc/resolv.conf", "nameserver 185.12.64.1\n")
	plug(t, network)

	key, err := tailnet.AuthKey(t.Context(), KeyOptions{Tags: []string{"tag:homelab"}, Expiry: time.Hour})
	require.NoError(t, err)
	server := newMachine(t, trust)
	require.NoError(t, server.up(t, key.Secret, "media", time.Minute))
	client, err := tailnet.Client(t.Context(), operator)
	require.NoError(t, err)
	// The laptop hears a little later by which relay the machine is reached.
	require.Eventually(t, func() bool {
		text, err := greeting(client, fmt.Sprintf("media:%d", port))
		return err == nil && text == "hello\n"
	}, 30*time.Second, 100*time.Millisecond)
	out, err := exec.Command(server.client, "--socket="+server.socket, "netcheck").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "IPv4: yes, "+plugged.IPv4.String()+":", "the machine is told how it is seen")
	assert.Contains(t, string(out), "Nearest DERP: Rehearsal")
	assert.NotContains(t, server.log.String(), "DetectCaptivePortal(found=true", "nothing is in the way of the machine")
}
