package lab

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tailscale/wireguard-go/device"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"homelab/internal/machine/internal/link"
	"homelab/internal/rehearsal"
	"homelab/internal/vpnkeys"
)

// frame is a datagram of a machine, as QEMU writes it.
func frame(m link.Machine, to netip.AddrPort, payload []byte) []byte {
	size := header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize + len(payload)
	out := binary.BigEndian.AppendUint32(nil, uint32(size))
	out = append(out, make([]byte, size)...)
	eth := header.Ethernet(out[4:])
	eth.Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(m.MAC), DstAddr: tcpip.LinkAddress(link.GatewayMAC()), Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(eth[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: tcpip.AddrFrom4(m.IPv4.As4()), DstAddr: tcpip.AddrFrom4(to.Addr().As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	udp := header.UDP(ip[header.IPv4MinimumSize:])
	udp.Encode(&header.UDPFields{SrcPort: 40000, DstPort: to.Port(), Length: uint16(len(udp))})
	copy(udp.Payload(), payload)
	return out
}

// initiation begins a handshake with the server that has this key, as far as a server can tell
// before it looks at who begins it.
func initiation(key []byte) []byte {
	var macs device.CookieGenerator
	macs.Init(device.NoisePublicKey(key))
	out := make([]byte, device.MessageInitiationSize)
	out[0] = device.MessageInitiationType
	macs.AddMacs(out)
	return out
}

func TestAMachineFindsItsVPNWhereverItExpectsIt(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	m := link.Machine{ID: "4711", MAC: net.HardwareAddr{0x96, 0, 0, 1, 2, 3}, IPv4: netip.MustParseAddr("198.51.100.7")}
	ours, theirs := net.Pipe()
	go func() { _ = l.network.Attach(theirs, m) }()
	t.Cleanup(func() { _ = ours.Close() })
	go func() { _, _ = io.Copy(io.Discard, ours) }()
	right, wrong := netip.MustParseAddrPort("185.213.154.68:51820"), netip.MustParseAddrPort("185.213.154.69:51820")
	for _, send := range []struct {
		to      netip.AddrPort
		payload []byte
	}{
		{wrong, initiation(vpnkeys.Client().PublicKey().Bytes())}, {wrong, initiation(vpnkeys.Server().PublicKey().Bytes())[1:]}, {wrong, []byte("?")},
		{right, initiation(vpnkeys.Server().PublicKey().Bytes())},
	} {
		_, err := ours.Write(frame(m, send.to, send.payload))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return len(l.vpn.Addresses()) > 0 }, 20*time.Second, 10*time.Millisecond)
	assert.Equal(t, []netip.AddrPort{right}, l.vpn.Addresses(), "nobody else was asked for")
}

func TestSomebodySaysByWhichAddressOneIsSeen(t *testing.T) {
	l := open(t, t.TempDir(), t.TempDir())
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.authority.Pool()}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return l.Dial(ctx, rehearsal.Target{Origin: rehearsal.FromInternet, Network: "tcp", Address: address})
		},
	}}
	ask := func(path string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://1.1.1.1"+path, nil)
		require.NoError(t, err)
		answer, err := client.Do(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(text)
	}
	code, said := ask("/cdn-cgi/trace")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "h=1.1.1.1\nip="+operatorAddress.String()+"\nvisit_scheme=https\n", said)
	code, _ = ask("/")
	assert.Equal(t, http.StatusNotFound, code)
}
