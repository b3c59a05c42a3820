package tailnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"gopkg.in/yaml.v3"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"homelab/internal/machine/internal/tailnet/control"
)

// process is the tailnet's own process, with headscale and people's nodes.
type process struct {
	// headscale is where headscale serves HTTP on this computer.
	headscale string
	// sockets is a folder with a short path, as those of unix sockets must be.
	sockets string
	log     string
	command *exec.Cmd
	input   io.WriteCloser
	ended   chan struct{}
	err     error // why it ended; to be read after ended
}

// attempts at a port for headscale: it cannot be told to take one that is free.
const attempts = 5

// startProcess returns when headscale answers.
func startProcess(ctx context.Context, options Options, f *front, certificate tls.Certificate) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var errs []error
	for range attempts {
		p, err := tryProcess(ctx, options, f, certificate)
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, fmt.Errorf("starting the tailnet's control server: %w", errors.Join(errs...))
}

var errPortTaken = errors.New("its port was taken meanwhile")

func tryProcess(ctx context.Context, options Options, f *front, certificate tls.Certificate) (_ *process, err error) {
	p := &process{log: filepath.Join(options.Dir, "control.log"), ended: make(chan struct{})}
	if p.headscale, err = freePort(); err != nil {
		return nil, err
	}
	if p.sockets, err = os.MkdirTemp("", "tailnet-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	settings, err := p.configure(options, f, certificate)
	if err != nil {
		return nil, err
	}
	if err := p.run(options, settings); err != nil {
		return nil, err
	}
	return p, p.await(ctx, options)
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// configure writes the settings of the process and of headscale; it returns the path of the former.
func (p *process) configure(options Options, f *front, certificate tls.Certificate) (string, error) {
	at := func(name string) string { return filepath.Join(options.Dir, name) }
	relays, err := yaml.Marshal(relayMap(options, certificate))
	if err != nil {
		return "", err
	}
	config, err := json.MarshalIndent(map[string]any{
		"server_url": "https://" + ControlHost, "listen_addr": p.headscale, "metrics_listen_addr": "", "disable_check_updates": true,
		"noise":    map[string]any{"private_key_path": at("noise.key")},
		"prefixes": map[string]any{"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "random"},
		"derp": map[string]any{
			"server": map[string]any{
				"enabled": true, "region_id": relayRegion, "verify_clients": true, "private_key_path": at("derp.key"),
				"automatically_add_embedded_derp_region": false, "stun_listen_addr": "127.0.0.1:0",
			},
			"paths": []string{at("derp.yaml")}, "auto_update_enabled": false,
		},
		"database": map[string]any{"type": "sqlite", "sqlite": map[string]any{"path": at("headscale.sqlite")}},
		"policy":   map[string]any{"mode": "database"},
		"dns":      map[string]any{"magic_dns": true, "base_domain": options.Domain, "override_local_dns": false},
		"log":      map[string]any{"level": "info", "format": "json"},
		"logtail":  map[string]any{"enabled": false}, "unix_socket": filepath.Join(p.sockets, "headscale"), "unix_socket_permission": "0600",
	}, "", "  ")
	if err != nil {
		return "", err
	}
	server := func(port int) string { return netip.AddrPortFrom(options.IPv4, uint16(port)).String() }
	settings, err := json.MarshalIndent(control.Settings{
		Headscale: at("headscale.json"), Socket: filepath.Join(p.sockets, "nodes"), Nodes: at("nodes"), ControlURL: "http://" + options.IPv4.String(),
		Upstream: p.headscale, API: filepath.Join(p.sockets, "headscale"), NoiseKey: at("noise.key"), Relay: p.relay(),
		Dials: map[string]string{server(80): f.plain.Addr().String(), server(443): f.secure.Addr().String()},
	}, "", "  ")
	if err != nil {
		return "", err
	}
	return at("control.json"), errors.Join(
		writeFile(at("derp.yaml"), relays), writeFile(at("headscale.json"), config), writeFile(at("control.json"), settings))
}

// relayRegion is the number of the only region with a relay. Those of Tailscale are below 900.
const relayRegion = 900

// relayMap says where the relay is. Its certificate is pinned, because this computer's nodes know
// nothing of the rehearsal's authority.
func relayMap(options Options, certificate tls.Certificate) *tailcfg.DERPMap {
	node := &tailcfg.DERPNode{
		Name: fmt.Sprintf("%da", relayRegion), RegionID: relayRegion, HostName: ControlHost, IPv4: options.IPv4.String(), IPv6: "none",
		CertName: fmt.Sprintf("sha256-raw:%x", sha256.Sum256(certificate.Certificate[0])), STUNPort: stunPort, DERPPort: 443,
	}
	if options.IPv6.IsValid() {
		node.IPv6 = options.IPv6.String()
	}
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{relayRegion: {
		RegionID: relayRegion, RegionCode: "rehearsal", RegionName: "Rehearsal", Nodes: []*tailcfg.DERPNode{node},
	}}}
}

func (p *process) run(options Options, settings string) error {
	program := options.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own copy
	p.command = exec.Command(program, control.Command, settings)
	p.command.Env, p.command.Stdout, p.command.Stderr = control.Environment(), log, log
	// It ends when this process does: its standard input ends then.
	if p.input, err = p.command.StdinPipe(); err != nil {
		return err
	}
	if err := p.command.Start(); err != nil {
		return err
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return nil
}

// await returns when headscale answers both at its socket and at its port.
func (p *process) await(ctx context.Context, options Options) error {
	for {
		if p.answers(ctx, options) {
			return nil
		}
		select {
		case <-p.ended:
			if strings.Contains(p.tail(), "address already in use") {
				return errPortTaken
			}
			return fmt.Errorf("it ended: %w; the end of %s:\n%s", p.err, p.log, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w; the end of %s:\n%s", ctx.Err(), p.log, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answers reports whether it is our headscale that answers at the port: another program may have
// taken it.
func (p *process) answers(ctx context.Context, options Options) bool {
	text, err := os.ReadFile(filepath.Join(options.Dir, "noise.key"))
	if err != nil {
		return false
	}
	var private key.MachinePrivate
	if private.UnmarshalText(bytes.TrimSpace(text)) != nil {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/key?v=%d", p.headscale, tailcfg.CurrentCapabilityVersion), nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	var keys tailcfg.OverTLSPublicKeyResponse
	if json.NewDecoder(response.Body).Decode(&keys) != nil || keys.PublicKey != private.Public() {
		return false
	}
	for _, socket := range []string{"headscale", "relay"} {
		if _, err := os.Stat(filepath.Join(p.sockets, socket)); err != nil {
			return false
		}
	}
	return true
}

// tail is the end of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// explain says that something failed, and why if it is because the process ended.
func (p *process) explain(doing string, err error) error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s: %w: the tailnet's process ended; the end of %s:\n%s", doing, err, p.log, p.tail())
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// relay is the path of the unix socket where nodes reach headscale.
func (p *process) relay() string { return filepath.Join(p.sockets, "relay") }

// connect opens headscale's own interface, which asks for no key at the unix socket.
func (p *process) connect() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+filepath.Join(p.sockets, "headscale"), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// ask opens a connection to where people's nodes are asked for.
func (p *process) ask(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(p.sockets, "nodes"))
	if err != nil {
		return nil, p.explain("reaching the tailnet's process", err)
	}
	return conn, nil
}

// stopTimeout is how long headscale may take to close its database.
const stopTimeout = 15 * time.Second

// stop ends the process.
func (p *process) stop() error {
	var errs []error
	if p.input != nil {
		_ = p.input.Close()
		select {
		case <-p.ended:
		case <-time.After(stopTimeout):
			errs = append(errs, p.command.Process.Kill())
			<-p.ended
		}
	}
	return errors.Join(append(errs, os.RemoveAll(p.sockets))...)
}
