// Package rehearsal speaks to homelab-machine, the program that runs real virtual machines in place
// of rented servers: the types of its API, the client, and how it is started. It uses the standard
// library and boxkeys only, because that program, a module of its own, uses it too.
package rehearsal

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Service is all that homelab-machine can do. Client asks it over the socket. Every method may take
// as long as what it does; it ends early when its context does.
type Service interface {
	// Boot makes a machine and starts it behind its firewall. It returns when the machine runs, not
	// when it has booted. With an error the machine may exist all the same.
	Boot(ctx context.Context, server Server) error
	// Change gives a machine another size or other addresses: it is switched off and on again.
	Change(ctx context.Context, server Server) error
	// Delete ends a machine and removes its disk; graceful lets it shut down first. Deleting one
	// that is not there is no error.
	Delete(ctx context.Context, id string, graceful bool) error
	// SetFirewall replaces what may come in to a machine: each rule lets something in, and nothing
	// else is let in.
	SetFirewall(ctx context.Context, id string, rules []Rule) error
	// Machines lists the machines by ID.
	Machines(ctx context.Context) ([]Machine, error)
	// SetPower cuts the power of a machine, shuts it down, starts or restarts it.
	SetPower(ctx context.Context, id string, action Action) error
	// Console returns what the machine writes to its serial console, from its first boot on, and
	// with follow what it goes on to write. The caller closes it.
	Console(ctx context.Context, id string, follow bool) (io.ReadCloser, error)

	// SetPolicy puts a tailnet policy in force, as HuJSON; empty is the control server's default.
	SetPolicy(ctx context.Context, policy string) error
	// MakeKey makes a key with which machines join the tailnet.
	MakeKey(ctx context.Context, key Key) (MadeKey, error)
	// DeleteKey makes a key unusable. Deleting one that is not there is no error.
	DeleteKey(ctx context.Context, id string) error
	// Devices lists the nodes of the tailnet, oldest first: the machines, and this computer.
	Devices(ctx context.Context) ([]Device, error)

	// SetBox makes a storage box, or changes it to what is given.
	SetBox(ctx context.Context, box Box) error
	// DeleteBox removes a storage box with all it holds. Deleting one that is not there is no error.
	DeleteBox(ctx context.Context, id string) error
	// BoxKeys returns the public SSH host keys that every storage box shows, one of each type that
	// Hetzner's have, as lines of authorized_keys.
	BoxKeys(ctx context.Context) ([]string, error)

	// SetZone puts in force what the zone of Cloudflare was told, in place of all it was told before.
	// What has no effect in a rehearsal is in Edge.NotEnforced; what would have another effect than
	// at Cloudflare is an error, and then nothing changes.
	SetZone(ctx context.Context, zone Zone) error
	// Edge says what Cloudflare is in the rehearsal now.
	Edge(ctx context.Context) (Edge, error)

	// Docker acts on a machine's Docker engine as Docker's provider does.
	Docker(ctx context.Context, call DockerCall) (DockerResult, error)

	// SetAway takes a party off the network, or brings it back. The machines are not told.
	SetAway(ctx context.Context, who Party, away bool) error

	// Dial opens a connection into the network outside the machines; see Origin.
	Dial(ctx context.Context, target Target) (net.Conn, error)

	Prober
}

// Server is a machine as its cloud was asked for it.
type Server struct {
	// ID is the server's ID, a number, and the instance ID that cloud-init sees.
	ID string `json:"id"`
	// Name is its hostname.
	Name string `json:"name"`
	// Image is the system image, such as debian-13.
	Image string `json:"image"`
	// Location is where it stands, such as fsn1.
	Location string `json:"location"`
	// SSHKeys are the public keys that it was ordered with, as lines of authorized_keys.
	SSHKeys []string `json:"sshKeys"`
	// UserData is what cloud-init gets, byte for byte. It holds secrets.
	UserData string `json:"userData"`
	// IPv4 is its public address; the zero value is none.
	IPv4 netip.Addr `json:"ipv4"`
	// IPv6 is its public address with the length of its network, as 2001:db8:1::1/64; the zero
	// value is none.
	IPv6 netip.Prefix `json:"ipv6"`
	// CPUs, MemoryMB (MiB) and DiskGB (GB) are the size of its type. The program may give it less
	// than that, and never more.
	CPUs     int `json:"cpus"`
	MemoryMB int `json:"memoryMB"` // see CPUs
	DiskGB   int `json:"diskGB"`   // see CPUs
	// Firewall is what may come in from the first moment on; see Service.SetFirewall. Change leaves
	// it alone.
	Firewall []Rule `json:"firewall"`
}

// Rule lets packets in.
type Rule struct {
	// Protocol is tcp, udp, icmp, esp, gre, or any. icmp is that of both families.
	Protocol string `json:"protocol"`
	// First and Last are the ports of tcp and udp, 1 to 65535; 0 for the other protocols.
	First uint16 `json:"first,omitempty"`
	Last  uint16 `json:"last,omitempty"` // see First
	// Sources are the ranges that the packets may come from.
	Sources []netip.Prefix `json:"sources"`
}

// Machine is the present state of a machine.
type Machine struct {
	// ID and Name are the server's.
	ID   string `json:"id"`
	Name string `json:"name"` // see ID
	// Running is false while it is switched off.
	Running bool `json:"running"`
	// IPv4 and IPv6 are the server's.
	IPv4 netip.Addr   `json:"ipv4"`
	IPv6 netip.Prefix `json:"ipv6"` // see IPv4
}

// Action is what SetPower does.
type Action string

// The actions of SetPower.
const (
	// CutPower takes the power away at once.
	CutPower Action = "cut"
	// ShutDown presses the power button and waits until the machine is off.
	ShutDown Action = "shutdown"
	// SwitchOn starts a machine that is off.
	SwitchOn Action = "start"
	// Restart shuts the machine down and switches it on again.
	Restart Action = "restart"
)

// Key is a tailnet key to make.
type Key struct {
	// Tags are what a machine that joins with it gets, such as tag:server.
	Tags []string `json:"tags"`
	// Reusable lets more than one machine join.
	Reusable bool `json:"reusable"`
	// Ephemeral machines are forgotten when they go offline.
	Ephemeral bool `json:"ephemeral"`
	// Preauthorized machines need no approval.
	Preauthorized bool `json:"preauthorized"`
	// Expiry is how long it can be used.
	Expiry time.Duration `json:"expiry"`
}

// MadeKey is a key of the control server.
type MadeKey struct {
	// ID names it.
	ID string `json:"id"`
	// Secret is what a machine joins with.
	Secret string `json:"secret"`
}

// Device is a node of the tailnet.
type Device struct {
	// ID and NodeID are the control server's names for it; they may be equal.
	ID     string `json:"id"`
	NodeID string `json:"nodeID"` // see ID
	// Name is its full MagicDNS name, and Hostname what it calls itself.
	Name     string `json:"name"`
	Hostname string `json:"hostname"` // see Name
	// Addresses are those in the tailnet, IPv4 first.
	Addresses []netip.Addr `json:"addresses"`
	// Tags are the tags it has, sorted.
	Tags []string `json:"tags"`
	// User is the owner's login name.
	User string `json:"user"`
	// Authorized is false while it waits for approval.
	Authorized bool `json:"authorized"`
	// Online reports whether it is connected to the control server.
	Online bool `json:"online"`
	// Machine is the ID of the server that it is; empty for other computers, and for one that
	// nobody can tell.
	Machine string `json:"machine,omitempty"`
	// Created and LastSeen are when it joined, and when it was last online.
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"lastSeen"` // see Created
}

// Box is a storage box as its cloud was asked for it.
type Box struct {
	// ID, Name and Location are the box's.
	ID       string `json:"id"`
	Name     string `json:"name"`     // see ID
	Location string `json:"location"` // see ID
	// Bytes is how much it holds, and SnapshotSlots how many snapshots there may be.
	Bytes         int64 `json:"bytes"`
	SnapshotSlots int   `json:"snapshotSlots"` // see Bytes
	// Main is the account that owns it.
	Main Account `json:"main"`
	// SSHKeys are the main account's, as lines of authorized_keys.
	SSHKeys []string `json:"sshKeys"`
	// Snapshots is its plan of automatic snapshots; nil is none.
	Snapshots *SnapshotPlan `json:"snapshots,omitempty"`
	// Subaccounts are the further accounts, by their login names.
	Subaccounts []Account `json:"subaccounts"`
}

// Account is a login of a storage box.
type Account struct {
	// User is the login name, and Password what it logs in with.
	User     string `json:"user"`
	Password string `json:"password"` // see User
	// Server is the hostname at which it is served.
	Server string `json:"server"`
	// Home is its folder in the box, without leading slash; empty is all of it.
	Home string `json:"home"`
	// SSH serves SFTP on port 22, and borg on 23. WebDAV serves HTTPS on port 443.
	SSH    bool `json:"ssh"`
	WebDAV bool `json:"webdav"` // see SSH
	// Samba and ZFS are what the API has more; the program serves neither.
	Samba bool `json:"samba"`
	ZFS   bool `json:"zfs"` // see Samba
	// External lets it be reached from outside the cloud's own network.
	External bool `json:"external"`
	// ReadOnly refuses every change.
	ReadOnly bool `json:"readOnly"`
}

// SnapshotPlan says when a box makes snapshots, in UTC.
type SnapshotPlan struct {
	// Max is how many are kept.
	Max int `json:"max"`
	// Minute and Hour are the time of day.
	Minute int `json:"minute"`
	Hour   int `json:"hour"` // see Minute
	// DayOfWeek (1 is Monday) and DayOfMonth limit it to some days; 0 is every one.
	DayOfWeek  int `json:"dayOfWeek,omitempty"`
	DayOfMonth int `json:"dayOfMonth,omitempty"` // see DayOfWeek
}

// Party is somebody outside the machines, whom they or the deployment need.
type Party string

const (
	// Laptop is this computer: every connection FromTailnet ends, and none is opened.
	Laptop Party = "laptop"
	// TailnetServers are Tailscale's: those that control the tailnet, and those that pass packets on.
	TailnetServers Party = "tailnet"
)

// BoxParty is the storage box with an ID.
func BoxParty(id string) Party { return Party("box:" + id) }

// Origin is where a connection comes from.
type Origin string

// The origins of a connection.
const (
	// FromTailnet is this computer as a node of the tailnet: its policy decides. Addresses outside
	// the tailnet are reached through the internet, as from any computer.
	FromTailnet Origin = "tailnet"
	// FromInternet is a host of the internet with the address Target.From.
	FromInternet Origin = "internet"
)

// tailnetRanges are the addresses that Tailscale gives to nodes.
var tailnetRanges = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd7a:115c:a1e0::/48")}

// InTailnet reports whether an address is one that only the tailnet has.
func InTailnet(address netip.Addr) bool {
	return slices.ContainsFunc(tailnetRanges, func(p netip.Prefix) bool { return p.Contains(address) })
}

// Target says what to connect to.
type Target struct {
	// Origin is where the connection comes from.
	Origin Origin `json:"origin"`
	// From is the address it comes from; for FromInternet only, and then it may be left out.
	From netip.Addr `json:"from"`
	// Network is tcp or udp.
	Network string `json:"network"`
	// Address is host:port. A host that is no address is a name of the tailnet's.
	Address string `json:"address"`
}
