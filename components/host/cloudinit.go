package host

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"homelab/components/tailnet"
)

//go:embed files
var files embed.FS

// maxUserData is Hetzner's limit on user data, in bytes.
const maxUserData = 32 << 10

// bootConfig is what cloud-init reads on the first boot. Only the keys in use are declared.
type bootConfig struct {
	Hostname       string            `yaml:"hostname"`
	Timezone       string            `yaml:"timezone"`
	SSHDeleteKeys  bool              `yaml:"ssh_deletekeys"`
	SSHGenKeyTypes []string          `yaml:"ssh_genkeytypes"`
	SSHKeys        map[string]string `yaml:"ssh_keys"`
	SSHPwauth      bool              `yaml:"ssh_pwauth"`
	DisableRoot    bool              `yaml:"disable_root"`
	Users          []bootUser        `yaml:"users"`
	Apt            bootApt           `yaml:"apt"`
	PackageUpdate  bool              `yaml:"package_update"`
	PackageUpgrade bool              `yaml:"package_upgrade"`
	Packages       []string          `yaml:"packages"`
	WriteFiles     []bootFile        `yaml:"write_files"`
	RunCmd         [][]string        `yaml:"runcmd"`
}

type bootUser struct {
	Name              string   `yaml:"name"`
	Groups            []string `yaml:"groups"`
	Shell             string   `yaml:"shell"`
	LockPasswd        bool     `yaml:"lock_passwd"`
	SSHAuthorizedKeys []string `yaml:"ssh_authorized_keys"`
}

type bootApt struct {
	Sources map[string]bootSource `yaml:"sources"`
}

type bootSource struct {
	Source string `yaml:"source"`
	KeyID  string `yaml:"keyid"`
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
	SSHPort        int
	TailscalePort  int
	HostPrivateKey string // OpenSSH format
	HostPublicKey  string // authorized_keys format
	RecoveryKey    string // authorized_keys format
	NodeKey        string // Tailscale auth key
}

const nodeKeyFile = "/etc/homelab/tailscale-auth-key"

// Signing keys of the two package sources, by fingerprint, from each vendor's installation page.
const (
	dockerSigningKey    = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
	tailscaleSigningKey = "2596A99EAAB33821893C0A79458CA832957F5868"
)

// renderCloudInit writes the server's user data.
func renderCloudInit(v bootValues) (string, error) {
	writeFiles, err := bootFiles(v)
	if err != nil {
		return "", err
	}
	config := bootConfig{
		Hostname: v.Hostname,
		Timezone: v.Timezone,
		// One host key, made in the graph, pinned by every connection; no other is generated, so none can be offered instead.
		SSHDeleteKeys:  true,
		SSHGenKeyTypes: []string{},
		SSHKeys:        map[string]string{"ed25519_private": v.HostPrivateKey, "ed25519_public": v.HostPublicKey},
		SSHPwauth:      false,
		DisableRoot:    true,
		// No password, and the recovery key opens sshd only where the firewall's break-glass rule lets a connection in at all.
		Users: []bootUser{{
			Name: tailnet.DeployUser, Groups: []string{"adm", "docker"}, Shell: "/bin/bash", LockPasswd: true,
			SSHAuthorizedKeys: []string{v.RecoveryKey},
		}},
		Apt: bootApt{Sources: map[string]bootSource{
			"docker.list":    {"deb [signed-by=$KEY_FILE] https://download.docker.com/linux/debian $RELEASE stable", dockerSigningKey},
			"tailscale.list": {"deb [signed-by=$KEY_FILE] https://pkgs.tailscale.com/stable/debian $RELEASE main", tailscaleSigningKey},
		}},
		PackageUpdate:  true,
		PackageUpgrade: true,
		Packages: []string{
			"containerd.io", "docker-ce", "docker-ce-cli", "fail2ban", "nftables", "python3-systemd", "tailscale", "unattended-upgrades",
		},
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

func bootFiles(v bootValues) ([]bootFile, error) {
	daemon, err := json.MarshalIndent(map[string]any{
		// Containers keep running while the daemon is updated; nobody gains privileges by a setuid binary; logs cannot fill the disk.
		"live-restore":      true,
		"no-new-privileges": true,
		"userland-proxy":    false,
		"log-driver":        "local",
		"log-opts":          map[string]string{"max-size": "20m", "max-file": "5"},
		"iptables":          true,
		"ip":                "127.0.0.1", // a port published without an address stays on loopback
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering Docker's daemon.json: %w", err)
	}
	sshd := strings.Join([]string{
		fmt.Sprintf("Port %d", v.SSHPort),
		"HostKey /etc/ssh/ssh_host_ed25519_key",
		"PermitRootLogin no",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"AllowUsers " + tailnet.DeployUser,
		"AllowAgentForwarding no",
		"X11Forwarding no",
		// The Docker provider opens one connection per resource, many at once.
		"MaxStartups 100:30:200",
		"MaxSessions 100",
		"",
	}, "\n")
	sysctl := strings.Join([]string{
		"kernel.kptr_restrict = 2",
		"kernel.unprivileged_bpf_disabled = 1",
		"net.ipv4.conf.all.accept_redirects = 0",
		"net.ipv4.conf.all.rp_filter = 2", // loose: Tailscale routes asymmetrically
		"net.ipv4.ip_nonlocal_bind = 1",   // ports published on the tailnet's address come up before the tailnet does
		"net.ipv6.conf.all.accept_redirects = 0",
		"",
	}, "\n")
	sudoers := fmt.Sprintf("%[1]s ALL=(root) NOPASSWD: /usr/local/sbin/homelab-file, /usr/local/sbin/homelab-sshd-check\n", tailnet.DeployUser)
	out := []bootFile{
		{"/etc/default/tailscaled", "0644", fmt.Sprintf("PORT=\"%d\"\nFLAGS=\"\"\n", v.TailscalePort)},
		{"/etc/docker/daemon.json", "0644", string(daemon) + "\n"},
		{nodeKeyFile, "0600", v.NodeKey},
		{"/etc/ssh/sshd_config.d/10-homelab.conf", "0644", sshd},
		{"/etc/sudoers.d/homelab", "0440", sudoers},
		{"/etc/sysctl.d/80-homelab.conf", "0644", sysctl},
	}
	for _, name := range []string{"homelab-bootstrap", "homelab-file", "homelab-ready", "homelab-sshd-check"} {
		body, err := files.ReadFile("files/" + name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded %s: %w", name, err)
		}
		out = append(out, bootFile{"/usr/local/sbin/" + name, "0755", string(body)})
	}
	return out, nil
}
