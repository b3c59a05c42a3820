package host

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	ts "github.com/pulumi/pulumi-tailscale/sdk/go/tailscale"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/tailnet"
)

// joinTimeout is how long a first boot may take until the machine is in the tailnet: packages are
// upgraded and installed before.
const joinTimeout = "15m"

// tailscale asks for the addresses of the device with this host name, waiting for it to appear.
func tailscale(ctx *pulumi.Context, hostname pulumi.StringOutput, parent pulumi.Resource) pulumi.StringArrayOutput {
	return ts.GetDeviceOutput(ctx, ts.GetDeviceOutputArgs{
		Hostname: hostname,
		WaitFor:  pulumi.String(joinTimeout),
	}, pulumi.Parent(parent)).Addresses()
}

func firstIPv4(addresses []string) (string, error) {
	for _, text := range addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return "", fmt.Errorf("reading the device's tailnet address %q: %w", text, err)
		}
		if address.Is4() {
			return address.String(), nil
		}
	}
	return "", fmt.Errorf("the device has no IPv4 address in the tailnet (it has %q)", addresses)
}

// connection goes over the tailnet, where Tailscale SSH decides by identity: there is no key on the
// laptop to lose. Without a host key the provider would accept any machine that answers.
func (h *Host) connection() remote.ConnectionArgs {
	return remote.ConnectionArgs{
		Host:           h.tailnetIPv4,
		User:           pulumi.String(tailnet.DeployUser),
		HostKey:        h.hostKey,
		DialErrorLimit: pulumi.Int(30),
		PerDialTimeout: pulumi.Int(15),
	}
}

// SSHOptions make the ssh program trust this one host key and nothing else, without a file on the
// laptop: ssh asks the command for the key instead of reading known_hosts (OpenSSH 8.5 and later).
func SSHOptions(hostKey string) []string {
	return []string{
		"-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "HostKeyAlgorithms=ssh-ed25519",
		"-o", "UserKnownHostsFile=/dev/null",
		"-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "KnownHostsCommand=/bin/echo %H " + hostKey,
	}
}

// sshOptions are those of the ssh program that Docker's provider starts.
func sshOptions(hostKey pulumi.StringOutput) pulumi.StringArrayInput {
	return hostKey.ApplyT(SSHOptions).(pulumi.StringArrayOutput)
}

// authorizedKey drops the line end that the tls provider writes after a public key.
func authorizedKey(key pulumi.StringOutput) pulumi.StringOutput {
	return key.ApplyT(strings.TrimSpace).(pulumi.StringOutput)
}
