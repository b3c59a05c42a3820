package host

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"homelab/components/tailnet"
)

// packages are Debian's and Docker's packages of the machine; Tailscale's comes before them, with
// the bootstrap.
var packages = []string{
	"borgbackup", "borgmatic", "containerd.io", "docker-ce", "docker-ce-cli", "e2fsprogs", "fail2ban", "fuse3", "logrotate", "nftables",
	"python3-systemd", "rclone", "sqlite3", "sudo", "systemd-timesyncd", "unattended-upgrades",
}

// bootFiles is what cloud-init writes before anything is installed, so that no program ever runs
// without its settings.
func bootFiles(v bootValues) ([]bootFile, error) {
	daemon, err := dockerSettings(v.Networks)
	if err != nil {
		return nil, err
	}
	model := packetFilter{
		HTTPSPort: v.HTTPSPort, SSHPort: v.SSHPort, TailscalePort: v.TailscalePort,
		Metadata: metadata, Base: baseFile, Include: rangesFiles,
	}
	base, err := renderFilter("base.nft.tmpl", model)
	if err != nil {
		return nil, err
	}
	filter, err := renderFilter("firewall.nft.tmpl", model)
	if err != nil {
		return nil, err
	}
	sudoers := fmt.Sprintf("%s ALL=(root) NOPASSWD: %s\n", tailnet.DeployUser,
		strings.Join([]string{"/usr/local/sbin/homelab-check", "/usr/local/sbin/homelab-file", "/usr/local/sbin/homelab-unit"}, ", "))
	out := []bootFile{
		{"/etc/apt/apt.conf.d/60homelab", "0644", unattendedUpgrades()},
		{"/etc/default/tailscaled", "0644", fmt.Sprintf("PORT=\"%d\"\nFLAGS=\"\"\n", v.TailscalePort)},
		{"/etc/docker/daemon.json", "0644", daemon},
		{baseFile, "0644", base},
		{"/etc/homelab/firewall.nft", "0644", filter},
		{"/etc/homelab/packages", "0644", strings.Join(packages, "\n") + "\n"},
		{nodeKeyFile, "0600", v.NodeKey},
		{"/etc/ssh/sshd_config.d/10-homelab.conf", "0644", sshdSettings(v.SSHPort)},
		{"/etc/sudoers.d/homelab", "0440", sudoers},
		{"/etc/sysctl.d/80-homelab.conf", "0644", sysctls()},
		{"/etc/systemd/timesyncd.conf.d/10-homelab.conf", "0644", timeServers},
	}
	for _, f := range []struct{ path, mode, name string }{
		{"/etc/systemd/system/homelab-firewall.service", "0644", "homelab-firewall.service"},
		{"/usr/local/sbin/homelab-bootstrap", "0755", "homelab-bootstrap"},
		{"/usr/local/sbin/homelab-check", "0755", "homelab-check"},
		{"/usr/local/sbin/homelab-file", "0755", "homelab-file"},
		{"/usr/local/sbin/homelab-ready", "0755", "homelab-ready"},
		{"/usr/local/sbin/homelab-unit", "0755", "homelab-unit"},
	} {
		body, err := files.ReadFile("files/" + f.name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded %s: %w", f.name, err)
		}
		out = append(out, bootFile{f.path, f.mode, string(body)})
	}
	return out, nil
}

// LogDriver is where Docker keeps what containers print: compressed files of a bounded size.
const LogDriver = "local"

// LogOptions bound what Docker keeps of each container's output: 5 files of 20 MB.
func LogOptions() map[string]string { return map[string]string{"max-size": "20m", "max-file": "5"} }

// dockerDaemon is Docker's daemon.json, as far as it is set.
type dockerDaemon struct {
	DefaultAddressPools []dockerAddressPool `json:"default-address-pools"`
	BIP                 string              `json:"bip"`
	// IP is where a port is published that names no address: nowhere but here.
	IP            string            `json:"ip"`
	LiveRestore   bool              `json:"live-restore"` // containers keep running while the daemon is updated
	LogDriver     string            `json:"log-driver"`
	LogOpts       map[string]string `json:"log-opts"`
	NoNewPrivs    bool              `json:"no-new-privileges"`
	UserlandProxy bool              `json:"userland-proxy"`
}

type dockerAddressPool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"`
}

// dockerBridge is the address and range of Docker's own bridge, which no container here uses.
var dockerBridge = netip.MustParsePrefix("172.17.0.1/16")

func dockerSettings(networks []netip.Prefix) (string, error) {
	pool, err := dockerPool(networks)
	if err != nil {
		return "", err
	}
	daemon, err := json.MarshalIndent(dockerDaemon{
		DefaultAddressPools: []dockerAddressPool{{Base: pool, Size: 24}},
		BIP:                 dockerBridge.String(),
		IP:                  "127.0.0.1",
		LiveRestore:         true,
		LogDriver:           LogDriver,
		LogOpts:             LogOptions(),
		NoNewPrivs:          true,
		UserlandProxy:       false,
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("rendering Docker's daemon.json: %w", err)
	}
	return string(daemon) + "\n", nil
}

// dockerPool is the range from which Docker takes networks that name none: the first that no
// network of the stack overlaps. All candidates are private and outside the tailnet's
// 100.64.0.0/10.
func dockerPool(networks []netip.Prefix) (netip.Prefix, error) {
	for second := 18; second < 32; second++ {
		pool := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), 0, 0}), 16)
		free := true
		for _, n := range networks {
			free = free && !pool.Overlaps(n)
		}
		if free {
			return pool, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("choosing Docker's address pool: the networks %v leave none of 172.18.0.0/16 to 172.31.0.0/16 free", networks)
}

func sshdSettings(port int) string {
	return strings.Join([]string{
		fmt.Sprintf("Port %d", port),
		"HostKey /etc/ssh/ssh_host_ed25519_key",
		"PermitRootLogin no",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitEmptyPasswords no",
		"AuthenticationMethods publickey",
		"AllowUsers " + tailnet.DeployUser,
		"AllowAgentForwarding no",
		"AllowTcpForwarding no",
		"AllowStreamLocalForwarding no",
		"PermitTunnel no",
		"PermitUserEnvironment no",
		"X11Forwarding no",
		"LoginGraceTime 30",
		"MaxAuthTries 3",
		"ClientAliveInterval 60",
		"ClientAliveCountMax 10",
		// The Docker provider opens one connection per resource, many at once.
		"MaxStartups 100:30:200",
		"MaxSessions 100",
		"",
	}, "\n")
}

func sysctls() string {
	return strings.Join([]string{
		"fs.protected_fifos = 2",
		"fs.protected_hardlinks = 1",
		"fs.protected_regular = 2",
		"fs.protected_symlinks = 1",
		"fs.suid_dumpable = 0",
		"kernel.dmesg_restrict = 1",
		"kernel.kexec_load_disabled = 1",
		"kernel.kptr_restrict = 2",
		"kernel.sysrq = 0",
		"kernel.unprivileged_bpf_disabled = 1",
		"kernel.yama.ptrace_scope = 2",
		"net.core.bpf_jit_harden = 2",
		"net.ipv4.conf.all.accept_redirects = 0",
		"net.ipv4.conf.all.accept_source_route = 0",
		"net.ipv4.conf.all.rp_filter = 2", // loose: Tailscale routes asymmetrically
		"net.ipv4.conf.all.send_redirects = 0",
		"net.ipv4.conf.default.accept_redirects = 0",
		"net.ipv4.conf.default.send_redirects = 0",
		"net.ipv4.ip_nonlocal_bind = 1", // ports published on the tailnet's address come up before the tailnet does
		"net.ipv4.tcp_syncookies = 1",
		"net.ipv6.conf.all.accept_redirects = 0",
		"net.ipv6.conf.all.accept_source_route = 0",
		"net.ipv6.conf.default.accept_redirects = 0",
		"",
	}, "\n")
}

// unattendedUpgrades are apt's settings. Docker's packages are among them: its repository is the
// only source of fixes for the engine, containerd and runc, and a hole through which a container
// gets out cannot wait for a person. Containers keep running while the engine is updated
// (live-restore): what starts later, docker exec included, gets the new runc, and the shim of a
// running container stays the old one until the next reboot, which every new kernel brings.
func unattendedUpgrades() string {
	return strings.Join([]string{
		`APT::Periodic::Update-Package-Lists "1";`,
		`APT::Periodic::Unattended-Upgrade "1";`,
		`APT::Periodic::AutocleanInterval "7";`,
		`#clear Unattended-Upgrade::Origins-Pattern;`,
		`Unattended-Upgrade::Origins-Pattern {`,
		`  "origin=Debian,codename=${distro_codename},label=Debian";`,
		`  "origin=Debian,codename=${distro_codename},label=Debian-Security";`,
		`  "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";`,
		`  "origin=Docker,label=Docker CE";`,
		`  "origin=Tailscale";`,
		`};`,
		`Unattended-Upgrade::Remove-Unused-Kernel-Packages "true";`,
		// Everything comes back by itself after a reboot; a kernel that is never restarted is never
		// updated.
		`Unattended-Upgrade::Automatic-Reboot "true";`,
		`Unattended-Upgrade::Automatic-Reboot-Time "04:40";`,
		"",
	}, "\n")
}

const timeServers = `[Time]
NTP=ntp1.hetzner.de ntp2.hetzner.com ntp3.hetzner.net
FallbackNTP=0.debian.pool.ntp.org 1.debian.pool.ntp.org 2.debian.pool.ntp.org
`
