//go:build host

package host

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/tests/internal/netns"
)

// Where the swarm's tracker and its only seeder are on the internet.
const (
	trackerAt = "45.83.221.1:6969"
	seederAt  = "45.83.221.9"
)

// tracker is an HTTP tracker, and who seeds.
type tracker struct {
	mutex     sync.Mutex
	announced map[string][]netip.AddrPort // by the torrent's hash, as it is sent
	seeder    *qbittorrent
}

// announces returns who has announced a torrent.
func (tr *tracker) announces(hash string) []netip.AddrPort {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return append([]netip.AddrPort{}, tr.announced[hash]...)
}

// ServeHTTP answers an announcement with the others.
func (tr *tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	port, err := strconv.ParseUint(query.Get("port"), 10, 16)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	peer := netip.AddrPortFrom(netip.MustParseAddrPort(r.RemoteAddr).Addr(), uint16(port))
	hash := fmt.Sprintf("%x", query.Get("info_hash"))
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	var others []byte
	known := false
	for _, other := range tr.announced[hash] {
		if other == peer {
			known = true
			continue
		}
		address := other.Addr().As4()
		others = append(append(others, address[:]...), byte(other.Port()>>8), byte(other.Port()))
	}
	if !known {
		tr.announced[hash] = append(tr.announced[hash], peer)
	}
	fmt.Fprintf(w, "d8:intervali30e5:peers%d:%se", len(others), others)
}

// wireSwarm makes the VPN's server, which forwards a port to the tunnel, and the swarm on the
// internet. The machine translates the tunnel's address, as Docker has it do.
func (f *flow) wireSwarm() {
	t := f.t
	require.NoError(t, f.outside.Forward())
	f.wireVPN()
	for _, protocol := range []string{"tcp", "udp"} {
		f.nft(f.vpn, fmt.Sprintf("table ip forwarded_%s { chain prerouting {\n type nat hook prerouting priority dstnat\n ip daddr %s %s dport %d dnat to %s\n }\n }",
			protocol, vpnServer, protocol, forwardedPort, insideTheVPN))
	}
	f.nft(f.machine, "table ip docker { chain postrouting {\n type nat hook postrouting priority srcnat\n oifname \"pub0\" ip saddr "+f.at.subnet+" masquerade\n }\n }")
	seeder, err := netns.New("seeder")
	require.NoError(t, err)
	t.Cleanup(func() { _ = seeder.Close() })
	require.NoError(t, netns.Connect(f.outside, "seed0", seeder, "tun0"))
	f.ip(f.outside, "address add 45.83.221.1/24 dev seed0", "link set seed0 up")
	f.ip(seeder, "address add "+seederAt+"/24 dev tun0", "link set tun0 up", "route add default via 45.83.221.1")
	f.tracker = &tracker{announced: map[string][]netip.AddrPort{}}
	listener, err := f.outside.Listen(trackerAt)
	require.NoError(t, err)
	server := &http.Server{Handler: f.tracker, ReadHeaderTimeout: 5 * time.Second}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	f.seeder = &qbittorrent{t: t, space: seeder}
}

// tunnelUp makes Gluetun's rules, with the ports that the deployment opens in the tunnel, and the
// tunnel itself.
func (f *flow) tunnelUp() {
	t := f.t
	t.Helper()
	var ports []string
	for _, variable := range f.inputs[theTunnel]["envs"].([]any) {
		if list, found := strings.CutPrefix(fmt.Sprint(variable), "FIREWALL_VPN_INPUT_PORTS="); found {
			ports = strings.Split(list, ",")
		}
	}
	require.Equal(t, []string{fmt.Sprint(forwardedPort)}, ports)
	f.loadGluetunsRules(vpnServer)
	for _, protocol := range []string{"tcp", "udp"} {
		require.NoError(t, f.tunnel.Run(nil, "iptables", strings.Fields("-A INPUT -i tun0 -p "+protocol+" -m "+protocol+" --dport "+ports[0]+" -j ACCEPT")...))
	}
	f.startServer()
	f.startTunnel(vpnServer)
}

// release is a film or an episode that somebody seeds.
type release struct {
	title, hash      string
	content, torrent []byte
}

func newRelease(t *testing.T, title string) *release {
	t.Helper()
	r := &release{title: title, content: make([]byte, 2<<20+12345)}
	_, err := rand.Read(r.content)
	require.NoError(t, err)
	r.torrent, r.hash = makeTorrent(r.file(), r.content)
	announce := "http://" + trackerAt + "/announce"
	r.torrent = append(fmt.Appendf(nil, "d8:announce%d:%s", len(announce), announce), r.torrent[1:]...)
	return r
}

func (r *release) file() string { return r.title + ".mkv" }

// seeds starts the seeder.
func (f *flow) seeds(releases ...*release) {
	t := f.t
	f.seeder = startQBittorrent(t, f.seeder.space)
	f.seeder.forwarded(6881, "tun0")
	folder := t.TempDir()
	for _, r := range releases {
		require.NoError(t, os.WriteFile(filepath.Join(folder, r.file()), r.content, 0o600))
		f.seeder.seed(r.torrent, folder)
	}
	for _, r := range releases {
		f.seeder.until(r.hash, "seeded", func(s torrentState) bool { return s.Progress == 1 && strings.HasSuffix(s.State, "UP") })
		require.Eventually(t, func() bool { return len(f.announces(r.hash)) > 0 }, 20*time.Second, 50*time.Millisecond, "the seeder does not announce %s", r.title)
	}
}

// connectsIn connects from the seeder's place to the VPN's forwarded port as a peer does, and
// reports whether the client behind the tunnel answers for the torrent.
func (f *flow) connectsIn(r *release) error {
	conn, err := f.seeder.space.DialContext(f.t.Context(), "tcp", net.JoinHostPort(vpnServer, fmt.Sprint(forwardedPort)))
	if err != nil {
		return err
	}
	defer conn.Close()
	var hash [20]byte
	if _, err := hex.Decode(hash[:], []byte(r.hash)); err != nil {
		return err
	}
	hello := "\x13BitTorrent protocol" + strings.Repeat("\x00", 8) + string(hash[:]) + "-XX0001-abcdefghijkl"
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, hello); err != nil {
		return err
	}
	answer := make([]byte, len(hello))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer[28:48]) != string(hash[:]) {
		return fmt.Errorf("it answers for another torrent: %x", answer[28:48])
	}
	return nil
}
