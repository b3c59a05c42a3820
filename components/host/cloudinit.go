package host

import (
	"embed"
	"fmt"
	"net/netip"

	"gopkg.in/yaml.v3"

	"homelab/components/tailnet"
)

//go:embed files
var files embed.FS

// maxUserData is Hetzner's limit on user data, in bytes.
const maxUserData = 32 << 10

// bootConfig is what cloud-init reads on the first boot. Only the keys in use are declared.
type bootConfig struct {
	Hostname      string            `yaml:"hostname"`
	Timezone      string            `yaml:"timezone"`
	SSHDeleteKeys bool              `yaml:"ssh_deletekeys"`
	SSHKeys       map[string]string `yaml:"ssh_keys"`
	SSHPwauth     bool              `yaml:"ssh_pwauth"`
	DisableRoot   bool              `yaml:"disable_root"`
	Users         []bootUser        `yaml:"users"`
	BootCmd       [][]string        `yaml:"bootcmd"` // before the files, and at every boot
	WriteFiles    []bootFile        `yaml:"write_files"`
	RunCmd        [][]string        `yaml:"runcmd"`
}

type bootUser struct {
	Name              string   `yaml:"name"`
	Groups            []string `yaml:"groups"`
	Shell             string   `yaml:"shell"`
	LockPasswd        bool     `yaml:"lock_passwd"`
	SSHAuthorizedKeys []string `yaml:"ssh_authorized_keys"`
}

type bootFile struct {
	Path        string `yaml:"path"`
	Permissions string `yaml:"permissions"`
	Content     string `yaml:"content"`
}

// bootValues is what the first boot needs to know.
type bootValues struct {
	Hostname       string
	Timezone       string
	HTTPSPort      int
	SSHPort        int
	TailscalePort  int
	Networks       []netip.Prefix // the ranges that Docker must leave to the stack's networks
	HostPrivateKey string         // OpenSSH format
	HostPublicKey  string         // authorized_keys format
	RecoveryKey    string         // authorized_keys format
	NodeKey        string         // Tailscale auth key
}

const nodeKeyFile = "/etc/homelab/tailscale-auth-key"

// quietResolver closes what systemd-resolved opens for its neighbours on the link, LLMNR and
// multicast DNS, where it runs. It is what cloud-init does first with user data, some seconds after
// the network is there: the packet filter that would drop the questions comes minutes later. A later
// boot finds the settings, and restarts nothing.
const quietResolver = `settings=/etc/systemd/resolved.conf.d/10-homelab.conf
wanted='[Resolve]
LLMNR=no
MulticastDNS=no'
[ "$(cat $settings 2>/dev/null)" != "$wanted" ] || exit 0
echo "$wanted" | install -D -m 0644 /dev/stdin $settings
[ ! -e /usr/lib/systemd/system/systemd-resolved.service ] || systemctl try-restart systemd-resolved.service
`

// renderCloudInit writes the server's user data.
func renderCloudInit(v bootValues) (string, error) {
	writeFiles, err := bootFiles(v)
	if err != nil {
		return "", err
	}
	config := bootConfig{
		Hostname: v.Hostname,
		Timezone: v.Timezone,
		// One host key, made in the graph, pinned by every connection; no other is generated, so
		// none can be offered instead.
		SSHDeleteKeys: true,
		SSHKeys:       map[string]string{"ed25519_private": v.HostPrivateKey, "ed25519_public": v.HostPublicKey},
		SSHPwauth:     false,
		DisableRoot:   true,
		// No password, and the recovery key opens sshd only where the firewall's break-glass rule
		// lets a connection in at all.
		Users: []bootUser{{
			Name: tailnet.DeployUser, Groups: []string{"adm", "docker"}, Shell: "/bin/bash", LockPasswd: true,
			SSHAuthorizedKeys: []string{v.RecoveryKey},
		}},
		BootCmd:    [][]string{{"sh", "-ec", quietResolver}},
		WriteFiles: writeFiles,
		RunCmd:     [][]string{{"/usr/local/sbin/homelab-bootstrap", v.Hostname, tailnet.ServerTag, nodeKeyFile}},
	}
	body, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("rendering cloud-init: %w", err)
	}
	out := "#cloud-config\n" + string(body)
	if len(out) > maxUserData {
		return "", fmt.Errorf("rendering cloud-init: %d bytes, and Hetzner takes at most %d", len(out), maxUserData)
	}
	return out, nil
}
