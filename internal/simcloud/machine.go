package simcloud

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// machine is a server that booted: what SSH and Docker reach.
type machine struct {
	ID        string    `json:"id"` // the server's ID
	Name      string    `json:"name"`
	HostKey   string    `json:"hostKey"` // "ssh-ed25519 AAAA…", without comment
	TailnetIP string    `json:"tailnetIP"`
	BootError string    `json:"bootError,omitempty"`
	UserData  string    `json:"userData"`
	Commands  []Command `json:"commands"`
	// LogDriver and LogOpts are what its Docker daemon writes into every container that says
	// nothing of them.
	LogDriver string         `json:"logDriver"`
	LogOpts   map[string]any `json:"logOpts,omitempty"`
}

// Command is one command that ran on a machine.
type Command struct {
	Sequence int64  // order over all machines
	Machine  string // server name
	Address  string // the address that was dialled
	User     string // who logged in; the default is root
	Resource string // resource name of the command
	Phase    Kind   // create, update or delete
	Script   string // the command line
	Stdin    string // what it was given; empty when nothing
	// Environ is the environment that was asked for.
	Environ map[string]string
}

var hostnameFlag = regexp.MustCompile(`--hostname(?:=|\s+)["']?([A-Za-z0-9-]+)`)

var authKeyText = regexp.MustCompile(`tskey-auth-[A-Za-z0-9]+-[A-Za-z0-9]+`)

// boot starts a machine from its user data: host key, then the tailnet. Only a live
// auth key makes a device, named like the server unless `--hostname` says otherwise.
func (w *World) boot(id, name, userData string) {
	m := &machine{ID: id, Name: name, UserData: userData}
	w.state.Machines[id] = m
	texts, hostKey, err := readCloudConfig(userData)
	if err != nil {
		m.BootError = err.Error()
	}
	if hostKey == "" {
		pub, _, genErr := ed25519.GenerateKey(nil)
		if genErr == nil {
			if k, keyErr := ssh.NewPublicKey(pub); keyErr == nil {
				hostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
			}
		}
	}
	m.HostKey = hostKey
	m.LogDriver = "json-file"
	if err := m.readDaemonSettings(userData); err != nil {
		m.BootError = err.Error()
	}
	if w.opts.Machines != nil {
		return // it joins the tailnet by itself
	}
	hostname := name
	for _, s := range texts {
		if found := hostnameFlag.FindStringSubmatch(s); found != nil {
			hostname = found[1]
		}
	}
	for _, s := range texts {
		for _, k := range authKeyText.FindAllString(s, -1) {
			if d := w.join(k, hostname, id); d != nil {
				m.TailnetIP = d.Addresses[0]
				return
			}
		}
	}
}

// readCloudConfig returns every text of the user data, and the ed25519 host key
// it installs. User data that is no cloud-config counts as one text.
func readCloudConfig(userData string) (texts []string, hostKey string, err error) {
	if !strings.HasPrefix(userData, "#cloud-config") {
		return []string{userData}, "", nil
	}
	var root map[string]any
	if err := yaml.Unmarshal([]byte(userData), &root); err != nil {
		return nil, "", fmt.Errorf("reading cloud-config: %w", err)
	}
	collect(root, &texts)
	for _, f := range objects(root, "write_files") {
		content, err := fileContent(f)
		if err != nil {
			return nil, "", fmt.Errorf("reading write_files entry %s: %w", text(f, "path"), err)
		}
		texts = append(texts, content)
		if text(f, "path") == "/etc/ssh/ssh_host_ed25519_key" {
			if hostKey, err = publicOf(content); err != nil {
				return nil, "", err
			}
		}
	}
	if keys := section(root, "ssh_keys"); text(keys, "ed25519_private") != "" {
		if hostKey, err = publicOf(text(keys, "ed25519_private")); err != nil {
			return nil, "", err
		}
		if stated := text(keys, "ed25519_public"); stated != "" && normalKey(stated) != hostKey {
			return nil, "", fmt.Errorf("ssh_keys: ed25519_public does not belong to ed25519_private")
		}
	}
	return texts, hostKey, nil
}

// readDaemonSettings takes over the logging defaults of the daemon.json that cloud-init writes.
func (m *machine) readDaemonSettings(userData string) error {
	if !strings.HasPrefix(userData, "#cloud-config") {
		return nil
	}
	var root map[string]any
	if err := yaml.Unmarshal([]byte(userData), &root); err != nil {
		return fmt.Errorf("reading cloud-config: %w", err)
	}
	for _, f := range objects(root, "write_files") {
		if text(f, "path") != "/etc/docker/daemon.json" {
			continue
		}
		content, err := fileContent(f)
		if err != nil {
			return fmt.Errorf("reading daemon.json: %w", err)
		}
		var daemon map[string]any
		if err := json.Unmarshal([]byte(content), &daemon); err != nil {
			return fmt.Errorf("reading daemon.json: %w", err)
		}
		if driver := text(daemon, "log-driver"); driver != "" {
			m.LogDriver = driver
		}
		m.LogOpts = section(daemon, "log-opts")
	}
	return nil
}

// collect gathers every string of a YAML tree.
func collect(v any, out *[]string) {
	switch x := v.(type) {
	case string:
		*out = append(*out, x)
	case []any:
		for _, e := range x {
			collect(e, out)
		}
	case map[string]any:
		for _, k := range sortedKeys(x) {
			collect(x[k], out)
		}
	}
}

// fileContent decodes a write_files entry.
func fileContent(f map[string]any) (string, error) {
	content := []byte(text(f, "content"))
	encoding := strings.ToLower(text(f, "encoding"))
	if strings.Contains(encoding, "b64") || strings.Contains(encoding, "base64") {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
		if err != nil {
			return "", err
		}
		content = decoded
	}
	if strings.HasPrefix(encoding, "gz") {
		r, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			return "", err
		}
		if content, err = io.ReadAll(io.LimitReader(r, 1<<20)); err != nil {
			return "", err
		}
	}
	return string(content), nil
}

func publicOf(private string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return "", fmt.Errorf("reading the ed25519 host key: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// normalKey writes an authorized-key line without comment and options.
func normalKey(line string) string {
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// shutDown ends a machine: its Docker daemon and files go, its tailnet device
// stays as a stale node.
func (w *World) shutDown(id string) {
	delete(w.state.Machines, id)
	for k, o := range w.state.Objects {
		if o.Machine == id {
			delete(w.state.Objects, k)
		}
	}
	for _, d := range w.state.Devices {
		if d.Server == id {
			d.Online, d.LastSeen = false, now()
		}
	}
}

// reach finds the machine behind an address, or says why nobody answers.
func (w *World) reach(address string, port int) (*machine, error) {
	refused := fmt.Errorf("dial tcp %s: i/o timeout", net.JoinHostPort(address, strconv.Itoa(port)))
	for _, d := range w.state.Devices {
		named := strings.TrimSuffix(address, ".") == d.Name
		for _, a := range d.Addresses {
			named = named || sameAddress(a, address)
		}
		if named && d.Online && d.Authorized {
			if m := w.state.Machines[d.Server]; m != nil {
				return m, nil
			}
		}
	}
	for _, s := range w.all(typeServer) {
		if sameAddress(address, text(s.Outputs, "ipv4Address")) || sameAddress(address, text(s.Outputs, "ipv6Address")) {
			if m := w.state.Machines[s.ID]; m != nil && w.admits(s.ID, port) {
				return m, nil
			}
			return nil, refused
		}
	}
	return nil, refused
}

var pinnedKey = regexp.MustCompile(`ssh-ed25519 +AAAA[A-Za-z0-9+/=]+`)

// dockerMachine finds the machine of a docker provider's host.
func dockerMachine(t *task) (*machine, error) {
	if t.w.opts.Machines != nil {
		return t.rehearsedDocker()
	}
	host := text(t.config, "host")
	if host == "" {
		return nil, fail("the docker provider has no host: the simulation never uses the local Docker daemon")
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "ssh" || u.Hostname() == "" {
		return nil, fail("unable to parse docker host `%s`: only ssh://user@host is simulated", host)
	}
	port := 22
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, fail("unable to parse docker host `%s`: %v", host, err)
		}
	}
	m, err := t.w.reach(u.Hostname(), port)
	if err != nil {
		return nil, fail("Cannot connect to the Docker daemon at %s. Is the docker daemon running? (%v)", host, err)
	}
	for _, opt := range texts(t.config, "sshOpts") {
		for _, found := range pinnedKey.FindAllString(opt, -1) {
			if normalKey(found) != m.HostKey {
				return nil, fail("Cannot connect to the Docker daemon at %s: Host key verification failed.", host)
			}
		}
	}
	return m, nil
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
