package lab

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"homelab/internal/machine/internal/link"
	"homelab/internal/machine/internal/vpn"
	"homelab/internal/vpnkeys"
)

// openVPN makes the VPN's server, and who answers beyond the tunnel: at the address of Cloudflare's
// resolver, which tells everybody by which address it sees him. The server answers wherever a machine
// begins a handshake with it, so the rehearsal need not know what the deployment declares.
func (l *Lab) openVPN() error {
	server, err := vpn.Start(vpn.Options{
		Network: l.network, Exit: vpnAddress, Key: vpnkeys.Server(), Client: vpnkeys.Client().PublicKey(), Log: l.options.Progress,
	})
	if err != nil {
		return err
	}
	l.vpn = server
	l.network.Newcomers(server.Newcomer)
	_, err = l.network.Serve(link.Site{ // it ends with the network
		Hosts: []string{link.OpenResolver.String()}, Addresses: []netip.Addr{link.OpenResolver}, Authority: l.authority, Handler: http.HandlerFunc(trace),
	})
	return err
}

// trace answers as Cloudflare's /cdn-cgi/trace does, with the lines that are known.
func trace(w http.ResponseWriter, r *http.Request) {
	seen, _, err := net.SplitHostPort(r.RemoteAddr)
	if r.URL.Path != "/cdn-cgi/trace" || err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprintf(w, "h=%s\nip=%s\nvisit_scheme=https\n", r.Host, seen) // who asked may have gone
}
