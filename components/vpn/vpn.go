// Package vpn runs the VPN tunnel. What is behind it has no other network, and reaches the internet
// through it or not at all: by Gluetun's own rules, and by the machine's packet filter, which lets
// nothing but the tunnel itself out, before Gluetun has loaded a rule and after it has crashed.
package vpn

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/memory"
	"homelab/components/internal/validate"
	"homelab/components/internal/vpnserver"
	"homelab/components/workload"
)

// Type is the component's type token.
const Type = "homelab:vpn:Tunnel"

// Name is the tunnel's container, and so the host name by which others reach what is behind it.
const Name = "gluetun"

// slot is its number in the ranges of its networks; see workload.Spec.Slot.
const slot = 20

// secretFolder is where Gluetun finds what it must keep to itself, and programFolder what it runs.
const (
	secretFolder  = "/run/secrets"
	programFolder = "/etc/homelab"
	roleFolder    = "/gluetun/auth"
)

//go:embed files/forwarded
var forwardedProgram string

// Args describes the tunnel.
type Args struct {
	// Host is the machine.
	Host *host.Host
	// Network is where the tunnel leaves from, and where what is behind it is reached. Nobody else is
	// there but who reaches that: the tunnel's container could take a neighbour's address.
	Network *workload.Network
	// VPN is whose VPN it is, and where its server is.
	VPN vpnserver.VPN
	// PrivateKey is the WireGuard private key, PresharedKey the preshared one, nil for none.
	PrivateKey, PresharedKey pulumi.StringInput
	// Configuration is the provider's OpenVPN file, Password the password of the login.
	Configuration, Password pulumi.StringInput
	// ClientPort is where the torrent client's API answers behind the tunnel: it is told which port
	// the provider forwards.
	ClientPort int
	// Timezone is an IANA name.
	Timezone string
}

// Validate returns every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("vpn")
	p.Merge(a.Host.Ready())
	p.Merge(a.Network.Ready())
	p.Require(a.VPN.Provider != vpnserver.Off && a.VPN.Provider.Valid(), "%q is no provider", a.VPN.Provider)
	for _, problem := range a.VPN.Check() {
		p.Add("%s %s", problem.Field, problem.What)
	}
	if a.VPN.Provider.Type() == vpnserver.OpenVPN {
		p.Require(a.Configuration != nil && a.Password != nil, "OpenVPN needs the provider's file and a password")
	} else {
		p.Require(a.PrivateKey != nil, "WireGuard needs a private key")
		p.Require(a.PresharedKey == nil || a.VPN.Provider.MayHavePresharedKey(), "%s has no preshared keys", a.VPN.Provider)
	}
	p.Require(a.ClientPort >= 1024 && a.ClientPort < 1<<16, "port %d of the torrent client is not between 1024 and 65535", a.ClientPort)
	return p.Err()
}

// Tunnel is the VPN tunnel, up and healthy. Only New makes a usable one.
type Tunnel struct {
	pulumi.ResourceState

	tunnel *workload.VPNTunnel
}

// New runs the tunnel.
func New(ctx *pulumi.Context, args *Args, opts ...pulumi.ResourceOption) (*Tunnel, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	t := &Tunnel{}
	inputs := pulumi.Map{"provider": pulumi.String(string(args.VPN.Provider)), "type": pulumi.String(string(args.VPN.Provider.Type()))}
	if err := ctx.RegisterComponentResourceV2(Type, Name, inputs, t, opts...); err != nil {
		return nil, fmt.Errorf("registering the tunnel: %w", err)
	}
	placed, err := workload.Place(ctx, args.Host, Name, "0:0", folders(args), pulumi.Parent(t))
	if err != nil {
		return nil, err
	}
	t.tunnel, err = workload.NewTunnel(ctx, Name, &workload.Spec{
		Host:       args.Host,
		Image:      images.Gluetun,
		User:       "0:0",
		RootReason: "it makes a network device, routes and rules of its own network",
		// Docker mounts a container's resolv.conf as it mounts its root.
		WritableReason: "it names its own resolver, which asks through the tunnel, in /etc/resolv.conf",
		Networks:       []*workload.Network{args.Network},
		Slot:           slot,
		WayOut:         workload.ToServer(workload.VPNServer{Address: args.VPN.Address, Protocol: host.Protocol(args.VPN.Protocol), Port: args.VPN.Port}),
		Capabilities:   []string{"CAP_NET_ADMIN", "CAP_NET_RAW"},
		Devices:        []workload.Device{workload.Tunnel("the VPN's interface")},
		Mounts:         placed.Mounts,
		RestartOn:      placed.Files(),
		// Gluetun makes the folder without the right to look into it, which root without further
		// capabilities needs.
		Scratch:   map[string]int{"/tmp/gluetun": 1},
		Env:       environment(args),
		MemoryMiB: memory.VPN,
		Health:    workload.Health{Command: []string{"/gluetun-entrypoint", "healthcheck"}},
		Metrics:   tunnelMetrics,
	}, pulumi.Parent(t))
	if err != nil {
		return nil, err
	}
	return t, ctx.RegisterResourceOutputs(t, pulumi.Map{})
}

// Network is what a container is put behind.
func (t *Tunnel) Network() *workload.VPNTunnel {
	if t == nil {
		return nil
	}
	return t.tunnel
}

// Ready reports a Tunnel that New did not make.
func (t *Tunnel) Ready() error {
	if t == nil || t.tunnel == nil {
		return errors.New("no tunnel: pass the value that vpn.New returned")
	}
	return nil
}

// oneRoute is the control server's configuration: a single route, which says whether the tunnel
// runs. Without any role, Gluetun 3.41 lets everybody who reaches it stop the tunnel.
const oneRoute = `[[roles]]
name = "health"
routes = ["GET /v1/vpn/status"]
auth = "none"
`

func folders(args *Args) []workload.Folder {
	var secrets []workload.File
	if args.VPN.Provider.Type() == vpnserver.OpenVPN {
		secrets = []workload.File{
			{Base: "openvpn.conf", Content: args.Configuration},
			{Base: "openvpn_password", Content: args.Password},
			{Base: "openvpn_user", Content: pulumi.String(args.VPN.Username)},
		}
	} else {
		secrets = []workload.File{{Base: "wireguard_private_key", Content: args.PrivateKey}}
		if args.PresharedKey != nil {
			secrets = append(secrets, workload.File{Base: "wireguard_preshared_key", Content: args.PresharedKey})
		}
	}
	return []workload.Folder{
		{Base: "secrets", Target: secretFolder, Files: secrets},
		{Base: "auth", Target: roleFolder, Files: []workload.File{{Base: "config.toml", Content: pulumi.String(oneRoute)}}},
		{Base: "bin", Target: programFolder, Files: []workload.File{{Base: "forwarded", Content: pulumi.String(forwardedProgram)}}},
	}
}

// environment is Gluetun's configuration, with the names of version 3.41: the next ones differ.
// The server is given by its address, as a custom one: Gluetun's own lists would let it choose one
// that the packet filter does not know.
func environment(args *Args) map[string]string {
	v := args.VPN
	out := map[string]string{
		"VPN_SERVICE_PROVIDER": "custom",
		"VPN_TYPE":             string(v.Provider.Type()),
		"VPN_INTERFACE":        Interface,
		"TZ":                   args.Timezone,
		"PUID":                 "0", "PGID": "0", // whoever else would need to be made, or own files
		// Nobody else is on its loopback but what is behind the tunnel.
		"HTTP_CONTROL_SERVER_ADDRESS": "127.0.0.1:8000",
		"HTTP_CONTROL_SERVER_LOG":     "off",
		"STORAGE_FILEPATH":            "",
		"VERSION_INFORMATION":         "off",
		"PUBLICIP_ENABLED":            "off",
		"BLOCK_MALICIOUS":             "off", // lists of 50 MB in memory, for a client that opens no sites
		"CLIENT_PORT":                 strconv.Itoa(args.ClientPort),
	}
	if v.Provider.Type() == vpnserver.OpenVPN {
		maps.Copy(out, map[string]string{
			"OPENVPN_CUSTOM_CONFIG":       secretFolder + "/openvpn.conf",
			"OPENVPN_ENDPOINT_PORT":       strconv.Itoa(v.Port),
			"OPENVPN_USER_SECRETFILE":     secretFolder + "/openvpn_user",
			"OPENVPN_PASSWORD_SECRETFILE": secretFolder + "/openvpn_password",
		})
	} else {
		addresses := make([]string, 0, len(v.Addresses))
		for _, a := range v.Addresses {
			addresses = append(addresses, a.String())
		}
		maps.Copy(out, map[string]string{
			"WIREGUARD_ENDPOINT_IP":            v.Address.String(),
			"WIREGUARD_ENDPOINT_PORT":          strconv.Itoa(v.Port),
			"WIREGUARD_PUBLIC_KEY":             v.PublicKey,
			"WIREGUARD_ADDRESSES":              strings.Join(addresses, ","),
			"WIREGUARD_PRIVATE_KEY_SECRETFILE": secretFolder + "/wireguard_private_key",
		})
		if args.PresharedKey != nil {
			out["WIREGUARD_PRESHARED_KEY_SECRETFILE"] = secretFolder + "/wireguard_preshared_key"
		}
	}
	if v.ForwardedPort != 0 {
		out["FIREWALL_VPN_INPUT_PORTS"] = strconv.Itoa(v.ForwardedPort)
	}
	if v.PortForwarding {
		maps.Copy(out, map[string]string{
			"VPN_PORT_FORWARDING":              "on",
			"VPN_PORT_FORWARDING_PROVIDER":     string(v.Provider),
			"VPN_PORT_FORWARDING_UP_COMMAND":   "/bin/sh " + programFolder + "/forwarded {{PORT}} {{VPN_INTERFACE}}",
			"VPN_PORT_FORWARDING_DOWN_COMMAND": "/bin/sh " + programFolder + "/forwarded 0 lo",
		})
	}
	return out
}

// Interface is the tunnel's network interface, which the torrent client is bound to.
const Interface = "tun0"
