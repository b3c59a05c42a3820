//go:build !linux

package tunnel

import (
	"context"
	"errors"
)

var errLinux = errors.New("a tunnel needs Linux")

// Shut would close the network.
func Shut(Settings) error { return errLinux }

// Tunnel is not to be had here.
type Tunnel struct{}

// Open would open a tunnel.
func Open(Settings, func(format string, values ...any)) (*Tunnel, error) { return nil, errLinux }

// Check would report why the tunnel does not work.
func (*Tunnel) Check(context.Context, string) error { return errLinux }

// Ended is closed when the tunnel has ended.
func (*Tunnel) Ended() <-chan struct{} { return nil }

// Close would end the tunnel.
func (*Tunnel) Close() {}
