package simcloud

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"homelab/internal/rehearsal"
)

// rack is real machines in memory. It refuses what the real ones refuse, records what it is asked,
// and fails the test when the world is locked meanwhile.
type rack struct {
	t *testing.T
	w *World

	mu       sync.Mutex
	asked    []string
	servers  map[string]rehearsal.Server
	off      map[string]bool
	policy   string
	keys     map[string]rehearsal.Key
	devices  []rehearsal.Device
	boxes    map[string]rehearsal.Box
	zone     rehearsal.Zone
	calls    []rehearsal.DockerCall
	answers  map[rehearsal.Operation]rehearsal.DockerResult
	failures map[string]error // by method
	booting  chan struct{}    // Boot waits for it to be closed
	// shells are SSH servers by host:port.
	shells map[string]*shell
}

func newRack(t *testing.T) *rack {
	return &rack{
		t: t, servers: map[string]rehearsal.Server{}, off: map[string]bool{}, keys: map[string]rehearsal.Key{}, boxes: map[string]rehearsal.Box{},
		answers: map[rehearsal.Operation]rehearsal.DockerResult{}, failures: map[string]error{}, shells: map[string]*shell{},
	}
}

// begin records a call and returns the failure that is meant for it.
func (r *rack) begin(method, what string) error {
	if !r.w.mu.TryLock() {
		r.t.Errorf("%s: the world is locked while a machine works", method)
	} else {
		r.w.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, strings.TrimSpace(method+" "+what))
	return r.failures[method]
}

// since returns what was asked since the last time.
func (r *rack) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.asked
	r.asked = nil
	return out
}

func (r *rack) Boot(ctx context.Context, s rehearsal.Server) error {
	if err := r.begin("boot", s.ID); err != nil {
		return err
	}
	if r.booting != nil {
		select {
		case <-r.booting:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.servers[s.ID]; there {
		return fmt.Errorf("machine %s is there already", s.ID)
	}
	for _, other := range r.servers {
		if s.IPv4.IsValid() && other.IPv4 == s.IPv4 {
			return fmt.Errorf("address %s is taken by %s", s.IPv4, other.ID)
		}
	}
	if s.CPUs < 1 || s.MemoryMB < 1 || s.DiskGB < 1 || s.Name == "" {
		return fmt.Errorf("a machine without a size or a name: %+v", s)
	}
	r.servers[s.ID] = s
	return nil
}

func (r *rack) there(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.servers[id]; !there {
		return fmt.Errorf("no machine %s", id)
	}
	return nil
}

func (r *rack) Change(_ context.Context, s rehearsal.Server) error {
	if err := errors.Join(r.begin("change", s.ID), r.there(s.ID)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Firewall = r.servers[s.ID].Firewall
	r.servers[s.ID] = s
	return nil
}

func (r *rack) Delete(_ context.Context, id string, graceful bool) error {
	if err := r.begin("delete", fmt.Sprint(id, " ", graceful)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.servers, id)
	return nil
}

func (r *rack) SetFirewall(_ context.Context, id string, rules []rehearsal.Rule) error {
	if err := errors.Join(r.begin("firewall", id), r.there(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.servers[id]
	s.Firewall = rules
	r.servers[id] = s
	return nil
}

func (r *rack) Machines(context.Context) ([]rehearsal.Machine, error) {
	if err := r.begin("machines", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []rehearsal.Machine
	for _, id := range sortedKeys(r.servers) {
		out = append(out, rehearsal.Machine{ID: id, Name: r.servers[id].Name, Running: !r.off[id]})
	}
	return out, nil
}

func (r *rack) SetPolicy(_ context.Context, policy string) error {
	if err := r.begin("policy", ""); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy = policy
	return nil
}

func (r *rack) MakeKey(_ context.Context, k rehearsal.Key) (rehearsal.MadeKey, error) {
	if err := r.begin("key", strings.Join(k.Tags, ",")); err != nil {
		return rehearsal.MadeKey{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprint(len(r.keys) + 1)
	r.keys[id] = k
	return rehearsal.MadeKey{ID: id, Secret: "secret-of-key-" + id}, nil
}

func (r *rack) DeleteKey(_ context.Context, id string) error {
	if err := r.begin("delete-key", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, id)
	return nil
}

func (r *rack) Devices(context.Context) ([]rehearsal.Device, error) {
	if err := r.begin("devices", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.devices), nil
}

func (r *rack) SetBox(_ context.Context, b rehearsal.Box) error {
	if err := r.begin("box", b.ID); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boxes[b.ID] = b
	return nil
}

func (r *rack) DeleteBox(_ context.Context, id string) error {
	if err := r.begin("delete-box", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.boxes, id)
	return nil
}

func (r *rack) BoxKeys(context.Context) ([]string, error) {
	if err := r.begin("box-keys", ""); err != nil {
		return nil, err
	}
	return []string{"ssh-ed25519 AAAAed", "ssh-rsa AAAArsa", "ecdsa-sha2-nistp521 AAAAec"}, nil
}

func (r *rack) SetZone(_ context.Context, z rehearsal.Zone) error {
	if err := r.begin("zone", z.ID); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.zone = z
	return nil
}

func (r *rack) Docker(_ context.Context, call rehearsal.DockerCall) (rehearsal.DockerResult, error) {
	if err := r.begin("docker", string(call.Operation)+" "+call.Type); err != nil {
		return rehearsal.DockerResult{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	return r.answers[call.Operation], nil
}

// last is the last call for Docker.
func (r *rack) last() rehearsal.DockerCall { return r.calls[len(r.calls)-1] }

func (r *rack) Dial(_ context.Context, target rehearsal.Target) (net.Conn, error) {
	if err := r.begin("dial", target.Address); err != nil {
		return nil, err
	}
	if target.Origin != rehearsal.FromTailnet || target.Network != "tcp" {
		return nil, fmt.Errorf("dialled %+v", target)
	}
	r.mu.Lock()
	s := r.shells[target.Address]
	r.mu.Unlock()
	if s == nil {
		return nil, errors.New("connect: no route to host")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // not net.Pipe: both sides of SSH speak first
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, err
	}
	there, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	go s.serve(there)
	r.t.Cleanup(func() { _ = here.Close() })
	return here, nil
}

// shell is an SSH server that runs what it is told to.
type shell struct {
	signer ssh.Signer
	run    func(script, stdin string, environ map[string]string) (stdout, stderr string, status uint32)
	// accepts are the variables that it takes.
	accepts []string
}

func (s *shell) key() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.signer.PublicKey())))
}

func newShell(t *testing.T, run func(script, stdin string, environ map[string]string) (string, string, uint32)) *shell {
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return &shell{signer: signer, run: run}
}

func (s *shell) serve(conn net.Conn) {
	config := &ssh.ServerConfig{NoClientAuth: true} // as Tailscale SSH: who may is decided before
	config.AddHostKey(s.signer)
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, asked, err := open.Accept()
		if err != nil {
			return
		}
		go s.session(channel, asked)
	}
}

func (s *shell) session(channel ssh.Channel, asked <-chan *ssh.Request) {
	environ := map[string]string{}
	for req := range asked {
		switch req.Type {
		case "env":
			var v struct{ Name, Value string }
			ok := ssh.Unmarshal(req.Payload, &v) == nil && slices.Contains(s.accepts, v.Name)
			if ok {
				environ[v.Name] = v.Value
			}
			_ = req.Reply(ok, nil)
		case "exec":
			var v struct{ Command string }
			_ = req.Reply(ssh.Unmarshal(req.Payload, &v) == nil, nil)
			stdin, _ := io.ReadAll(channel)
			stdout, stderr, status := s.run(v.Command, string(stdin), environ)
			_, _ = io.WriteString(channel, stdout)
			_, _ = io.WriteString(channel.Stderr(), stderr)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = channel.Close()
			return
		default:
			_ = req.Reply(false, nil)
		}
	}
}

// realFleet is a fleet whose machines are a rack.
type realFleet struct {
	*fleet

	rack *rack
}

func newRealFleet(t *testing.T) *realFleet {
	t.Helper()
	r := newRack(t)
	w := New(Options{Machines: r, ProjectDir: t.TempDir()})
	r.w = w
	f := &realFleet{fleet: &fleet{T: t, w: w, connect: clouds(t, w)}, rack: r}
	f.tailscale, f.hcloud = f.connect("tailscale"), f.connect("hcloud")
	return f
}

// join puts a server's machine into the tailnet.
func (f *realFleet) join(id, address string) {
	f.rack.mu.Lock()
	defer f.rack.mu.Unlock()
	f.rack.devices = append(f.rack.devices, rehearsal.Device{
		ID: "7", NodeID: "n7", Name: "homelab.tail1234.ts.net", Hostname: "homelab", Addresses: []netip.Addr{netip.MustParseAddr(address)},
		Tags: []string{"tag:server"}, Authorized: true, Online: true, Machine: id,
	})
}

func assertAsked(t *testing.T, r *rack, want ...string) {
	t.Helper()
	assert.Equal(t, want, r.since())
}
