package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	// lengthBytes come before each frame of QEMU's stream: its length, big endian.
	lengthBytes   = 4
	headroom      = lengthBytes + header.EthernetMinimumSize
	maxFrameBytes = 1 << 16
)

// frame is an Ethernet frame with its length before it, as it is written to the machine.
type frame []byte

// newFrame returns a frame with room for a packet of that many bytes.
func newFrame(bytes int) frame {
	f := make(frame, headroom+bytes)
	binary.BigEndian.PutUint32(f, uint32(header.EthernetMinimumSize+bytes))
	return f
}

func frameOf(ip []byte) frame {
	f := newFrame(len(ip))
	copy(f.ip(), ip)
	return f
}

// ip is what the frame carries.
func (f frame) ip() []byte { return f[headroom:] }

// address writes the Ethernet header, from the gateway.
func (f frame) address(to net.HardwareAddr, kind tcpip.NetworkProtocolNumber) {
	header.Ethernet(f[lengthBytes:]).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(gatewayMAC), DstAddr: tcpip.LinkAddress(to), Type: kind,
	})
}

// readFrames calls receive with every frame until the other end is gone. The slice is valid during
// the call. That a machine's power was cut, even in the middle of a frame, is no error.
func readFrames(conn io.Reader, receive func([]byte)) error {
	in := bufio.NewReaderSize(conn, 256<<10)
	buffer := make([]byte, maxFrameBytes)
	for {
		length, err := in.Peek(lengthBytes)
		if err != nil {
			return ended(err)
		}
		size := binary.BigEndian.Uint32(length)
		if size > maxFrameBytes {
			return fmt.Errorf("a frame of %d bytes: this is not QEMU's stream", size)
		}
		if _, err := in.Discard(lengthBytes); err != nil {
			return ended(err)
		}
		if _, err := io.ReadFull(in, buffer[:size]); err != nil {
			return ended(err)
		}
		receive(buffer[:size])
	}
}

func ended(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return nil
		}
	}
	return err
}
