package probe

import "strings"

// KnownTCP are the ports that are tried at every pass: what listens on a server of Debian's before
// anybody asked it to, what a Docker engine opens, and what this program's own services listen on
// among themselves.
var KnownTCP = []uint16{
	22,                          // sshd
	25, 465, 587, 110, 143, 993, // a mail server, which Debian's packages like to bring
	53, 853, 5353, 5355, // resolvers: systemd-resolved answers LLMNR at 5355
	80, 443, 8000, 8080, 8443, 9443, // proxies and portals
	111, 2049, 139, 445, // rpcbind, NFS, Samba
	631, 3389, 5900, // printing, screens
	2375, 2376, 2377, 7946, // Docker's engine, its swarm
	2019,                           // Caddy's administration
	3306, 5432, 6379, 11211, 27017, // databases
	3000, 3100, 9090, 9091, 9093, 9100, 12345, // Grafana, Loki, Prometheus, the portal, Alertmanager, node exporter, Alloy
	6060, 7422, // CrowdSec's metrics and AppSec
	5055, 6767, 7878, 8096, 8989, 9696, // the media services
	8888,  // Gluetun's proxy
	41112, // Tailscale's own debugging
}

// udpQuestion is what a service of UDP answers to, if it is there.
type udpQuestion struct {
	port     uint16
	question string
}

// knownUDP are those UDP ports whose services answer whoever asks rightly. A service that keeps
// silent towards strangers, as WireGuard's does, cannot be told from a packet filter: of the others
// silence says that they are shut.
var knownUDP = []udpQuestion{
	{53, dnsQuestion},   // a resolver
	{67, dhcpDiscover},  // a DHCP server
	{68, dhcpDiscover},  // a DHCP client, which a filter must let in from servers only
	{69, tftpRead},      // TFTP
	{111, rpcCall},      // rpcbind
	{123, ntpQuestion},  // NTP; an open one amplifies
	{137, nameStatus},   // NetBIOS
	{161, snmpGet},      // SNMP
	{443, quicUnknown},  // HTTP/3: a server names the versions that it speaks
	{500, ikeOpening},   // IKE
	{546, dhcpv6Reply},  // a DHCPv6 client
	{547, dhcpv6Asking}, // a DHCPv6 server
	{1194, openVPNHello},
	{1900, ssdpSearch},
	{2375, dnsQuestion},                     // nothing of Docker's is at these: a refusal says that packets come through
	{3478, stunBinding},                     // STUN
	{4500, "\x00\x00\x00\x00" + ikeOpening}, // IKE past a NAT
	{4789, dnsQuestion},                     // Docker's overlay
	{5353, dnsQuestion},                     // mDNS
	{5355, dnsQuestion},                     // LLMNR
	{7946, dnsQuestion},                     // Docker's swarm
	{11211, memcachedVersion},               // memcached; an open one amplifies
	{41641, stunBinding},                    // Tailscale, which keeps silent
	{51820, wireguardHello},                 // WireGuard, which keeps silent
}

// The questions, as the protocols have them.
var (
	// The address of example.com.
	dnsQuestion = "\x47\x11\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07\x65\x78\x61\x6d\x70\x6c\x65\x03\x63\x6f\x6d\x00\x00\x01\x00\x01"
	// BOOTREQUEST with option 53 (discover).
	dhcpDiscover = "\x01\x01\x06\x00\x47\x11\x47\x11\x00\x00\x80\x00" + strings.Repeat("\x00", 16) + "\x96\x00\x00\x00\x47\x11" + strings.Repeat("\x00", 202) + "\x63\x82\x53\x63\x35\x01\x01\xff"
	tftpRead     = "\x00\x01motd\x00octet\x00"
	// NULL of program 100000, version 2.
	rpcCall = "\x47\x11\x47\x11\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa0\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// Version 4, client.
	ntpQuestion = "\x23" + strings.Repeat("\x00", 47)
	// NBSTAT of *.
	nameStatus = "\x47\x11\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x20\x43\x4b" + strings.Repeat("\x41", 30) + "\x00\x00\x21\x00\x01"
	// GetRequest of sysDescr, community public, version 1.
	snmpGet = "\x30\x26\x02\x01\x00\x04\x06\x70\x75\x62\x6c\x69\x63\xa0\x19\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00"
	// A long header of a version that nobody speaks, filled up to 1200 bytes.
	quicUnknown = "\xc0\x1a\x2a\x3a\x4a\x08\x01\x02\x03\x04\x05\x06\x07\x08\x00" + strings.Repeat("\x00", 1185)
	// IKEv2, IKE_SA_INIT without a payload.
	ikeOpening   = "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x22\x08\x00\x00\x00\x00\x00\x00\x00\x1c"
	dhcpv6Reply  = "\x07\x47\x11\x47"
	dhcpv6Asking = "\x01\x47\x11\x47\x00\x01\x00\x0a\x00\x03\x00\x01\x96\x00\x00\x00\x47\x11"
	// P_CONTROL_HARD_RESET_CLIENT_V2.
	openVPNHello     = "\x38\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00"
	ssdpSearch       = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n"
	stunBinding      = "\x00\x01\x00\x00\x21\x12\xa4\x42\x47\x00\x47\x11\x47\x11\x47\x11\x47\x11\x47\x11"
	memcachedVersion = "\x00\x01\x00\x00\x00\x01\x00\x00version\r\n"
	// A handshake's first message, of 148 bytes.
	wireguardHello = "\x01\x00\x00\x00\x00\x00\x47\x11" + strings.Repeat("\x00", 140)
)
