package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// recorder is a service that records what it is asked, and fails when it is told to.
type recorder struct {
	asked []any
	err   error
	block bool
	ended chan error // what a blocked method ended with
	conn  net.Conn
}

func (r *recorder) did(ctx context.Context, what ...any) error {
	r.asked = what
	if r.block {
		<-ctx.Done()
		r.ended <- ctx.Err()
		return ctx.Err()
	}
	return r.err
}

func (r *recorder) Boot(ctx context.Context, s rehearsal.Server) error { return r.did(ctx, "boot", s) }
func (r *recorder) Change(ctx context.Context, s rehearsal.Server) error {
	return r.did(ctx, "change", s)
}
func (r *recorder) Delete(ctx context.Context, id string, graceful bool) error {
	return r.did(ctx, "delete", id, graceful)
}
func (r *recorder) SetFirewall(ctx context.Context, id string, rules []rehearsal.Rule) error {
	return r.did(ctx, "firewall", id, rules)
}
func (r *recorder) Machines(ctx context.Context) ([]rehearsal.Machine, error) {
	return []rehearsal.Machine{{ID: "1", Name: "homelab", Running: true, IPv4: netip.MustParseAddr("192.0.2.1")}}, r.did(ctx, "machines")
}
func (r *recorder) SetPower(ctx context.Context, id string, a rehearsal.Action) error {
	return r.did(ctx, "power", id, a)
}
func (r *recorder) Console(ctx context.Context, id string, follow bool) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("Debian\n")), r.did(ctx, "console", id, follow)
}
func (r *recorder) SetPolicy(ctx context.Context, p string) error { return r.did(ctx, "policy", p) }
func (r *recorder) MakeKey(ctx context.Context, k rehearsal.Key) (rehearsal.MadeKey, error) {
	return rehearsal.MadeKey{ID: "1", Secret: "s"}, r.did(ctx, "key", k)
}
func (r *recorder) DeleteKey(ctx context.Context, id string) error {
	return r.did(ctx, "delete-key", id)
}
func (r *recorder) Devices(ctx context.Context) ([]rehearsal.Device, error) {
	return []rehearsal.Device{{ID: "7", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.7")}, Created: time.Unix(5, 0).UTC()}}, r.did(ctx, "devices")
}
func (r *recorder) SetBox(ctx context.Context, b rehearsal.Box) error { return r.did(ctx, "box", b) }
func (r *recorder) DeleteBox(ctx context.Context, id string) error {
	return r.did(ctx, "delete-box", id)
}
func (r *recorder) BoxKeys(ctx context.Context) ([]string, error) {
	return []string{"ssh-ed25519 AAAA"}, r.did(ctx, "box-keys")
}
func (r *recorder) SetAway(ctx context.Context, who rehearsal.Party, away bool) error {
	return r.did(ctx, "away", who, away)
}
func (r *recorder) SetZone(ctx context.Context, z rehearsal.Zone) error { return r.did(ctx, "zone", z) }
func (r *recorder) Edge(ctx context.Context) (rehearsal.Edge, error) {
	return rehearsal.Edge{Zone: "example.com", Addresses: []netip.Addr{rehearsal.EdgeIPv4}, NotEnforced: []string{"a rule"}}, r.did(ctx, "edge")
}
func (r *recorder) Docker(ctx context.Context, c rehearsal.DockerCall) (rehearsal.DockerResult, error) {
	return rehearsal.DockerResult{ID: "x", Outputs: map[string]any{"n": 1.0}}, r.did(ctx, "docker", c)
}
func (r *recorder) StartProbe(ctx context.Context, o rehearsal.ProbeOptions) error {
	return r.did(ctx, "start-probe", o)
}
func (r *recorder) AwaitProbe(ctx context.Context) error { return r.did(ctx, "await-probe") }
func (r *recorder) StopProbe(ctx context.Context) (rehearsal.ProbeReport, error) {
	return seen, r.did(ctx, "stop-probe")
}
func (r *recorder) Dial(ctx context.Context, t rehearsal.Target) (net.Conn, error) {
	return r.conn, r.did(ctx, "dial", t)
}

// seen is a report with everything that one can have.
var seen = rehearsal.ProbeReport{
	Forbidden: []rehearsal.ProbeFinding{{Where: "a stranger, IPv4", Protocol: "tcp", Port: 22, Answer: rehearsal.ProbeOpen, First: time.Unix(5, 0).UTC(), Last: time.Unix(6, 0).UTC(), Times: 2}},
	Seen:      []rehearsal.ProbeFinding{{Where: "inside radarr", Protocol: "icmp", Answer: rehearsal.ProbeRefused, What: "the machine"}},
	Looks:     []rehearsal.ProbeLooks{{Where: "an admin", Passes: 3, Sweeps: 1, Tries: 100, Absent: 1, Why: "it was off", LongestGap: time.Minute}},
	Problems:  []string{"an admin: not one pass"}, Took: time.Hour,
}

type fixture struct {
	*recorder

	client   *rehearsal.Client
	state    string
	kept     bool
	stopped  int
	progress Progress
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	state, err := os.MkdirTemp("", "api-") // the path of a socket may have 107 characters
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	f := &fixture{recorder: &recorder{ended: make(chan error, 1)}, state: state}
	listener, err := net.Listen("unix", filepath.Join(state, rehearsal.SocketFile))
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: New(Options{
		Service: f.recorder, Keep: func() { f.kept = true }, Progress: &f.progress, End: func(context.Context) error { f.stopped++; return f.err },
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	f.client, err = rehearsal.NewClient(state)
	require.NoError(t, err)
	t.Cleanup(f.client.Close)
	return f
}

func TestEveryMethodArrivesAsItWasCalled(t *testing.T) {
	f := newFixture(t)
	ctx, c := t.Context(), f.client
	server := rehearsal.Server{
		ID: "1", Name: "homelab", Image: "debian-13", UserData: "#cloud-config\n\x00ü", IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParsePrefix("2001:db8::1/64"),
		CPUs: 2, MemoryMB: 4096, DiskGB: 40, Firewall: []rehearsal.Rule{{Protocol: "tcp", First: 443, Last: 443, Sources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}},
	}
	box := rehearsal.Box{ID: "2", Main: rehearsal.Account{User: "u", Password: "p"}, Snapshots: &rehearsal.SnapshotPlan{Max: 1}, SSHKeys: []string{}, Subaccounts: []rehearsal.Account{{User: "u-sub1"}}}
	key := rehearsal.Key{Tags: []string{"tag:a"}, Expiry: time.Hour}
	call := rehearsal.DockerCall{Type: "t", Operation: rehearsal.Create, HostKeys: []string{}, Inputs: json.RawMessage(`{"a":1}`), Context: []byte{0, 1}}
	probed := rehearsal.ProbeOptions{Machine: "1", FirstBoot: true, Longest: time.Hour, Declared: rehearsal.Declared{
		Hostnames: []rehearsal.DeclaredHost{{Name: "a.example.com", Public: true, Tailnet: true, Guarded: true, Open: []string{"^/x$"}}}, Portal: "auth.example.com",
		PublicPort: 443, TailnetPort: 8443, Containers: []rehearsal.DeclaredContainer{{Name: "a", Internet: true, Engine: true, Behind: "b"}},
		Edges: []rehearsal.DeclaredEdge{{From: "a", To: "b", Port: 80}},
	}}
	zone := rehearsal.Zone{
		ID: "0", Name: "example.com", Plan: "free", OriginPulls: true,
		Records: []rehearsal.Record{{Name: "requests.example.com", Type: "A", Content: "192.0.2.1", Proxied: true}},
		Settings: map[string]any{
			"ssl": "strict", "security_header": map[string]any{"strict_transport_security": map[string]any{"enabled": true, "max_age": 31536000.0}},
		},
		Normalization: &rehearsal.Normalization{Type: "cloudflare", Scope: "both"},
		Rulesets: []rehearsal.Ruleset{{Phase: "http_ratelimit", Rules: []rehearsal.ZoneRule{{
			Ref: "r", Expression: `http.host eq "ü"`, Action: "block", Enabled: true, Parameters: map[string]any{"cache": false},
			RateLimit: &rehearsal.RateLimit{Characteristics: []string{"ip.src"}, Requests: 10, PeriodSeconds: 10, BlockSeconds: 10},
		}}}},
		Certificates: []rehearsal.ClientCertificate{{ID: "1", Certificate: "c\n", PrivateKey: "k\n"}},
	}
	for _, each := range []struct {
		do   func() error
		want []any
	}{
		{func() error { return c.StartProbe(ctx, probed) }, []any{"start-probe", probed}},
		{func() error { return c.AwaitProbe(ctx) }, []any{"await-probe"}},
		{func() error { _, err := c.StopProbe(ctx); return err }, []any{"stop-probe"}},
		{func() error { return c.SetZone(ctx, zone) }, []any{"zone", zone}},
		{func() error { _, err := c.Edge(ctx); return err }, []any{"edge"}},
		{func() error { return c.Boot(ctx, server) }, []any{"boot", server}},
		{func() error { return c.Change(ctx, rehearsal.Server{ID: "1", Firewall: []rehearsal.Rule{}}) }, []any{"change", rehearsal.Server{ID: "1", Firewall: []rehearsal.Rule{}}}},
		{func() error { return c.Delete(ctx, "1", true) }, []any{"delete", "1", true}},
		{func() error { return c.SetFirewall(ctx, "1", server.Firewall) }, []any{"firewall", "1", server.Firewall}},
		{func() error { return c.SetPower(ctx, "1", rehearsal.CutPower) }, []any{"power", "1", rehearsal.CutPower}},
		{func() error { return c.SetPolicy(ctx, "{}") }, []any{"policy", "{}"}},
		{func() error { return c.DeleteKey(ctx, "1") }, []any{"delete-key", "1"}},
		{func() error { return c.SetBox(ctx, box) }, []any{"box", box}},
		{func() error { return c.DeleteBox(ctx, "2") }, []any{"delete-box", "2"}},
		{func() error { return c.SetAway(ctx, rehearsal.Laptop, true) }, []any{"away", rehearsal.Laptop, true}},
		{func() error { _, err := c.Machines(ctx); return err }, []any{"machines"}},
		{func() error { _, err := c.BoxKeys(ctx); return err }, []any{"box-keys"}},
		{func() error { _, err := c.MakeKey(ctx, key); return err }, []any{"key", key}},
		{func() error { _, err := c.Devices(ctx); return err }, []any{"devices"}},
		{func() error { _, err := c.Docker(ctx, call); return err }, []any{"docker", call}},
		{func() error { _, err := c.Console(ctx, "1", true); return err }, []any{"console", "1", true}},
	} {
		f.err = nil
		require.NoError(t, each.do())
		assert.Equal(t, each.want, f.asked)
		f.err = fmt.Errorf("server %s: not\n\"found\"", "1")
		require.EqualError(t, each.do(), "server 1: not\n\"found\"", "%v: the error arrives word for word", each.want[0])
	}
	f.err = nil
	machines, err := c.Machines(ctx)
	require.NoError(t, err)
	assert.Equal(t, []rehearsal.Machine{{ID: "1", Name: "homelab", Running: true, IPv4: netip.MustParseAddr("192.0.2.1")}}, machines)
	devices, err := c.Devices(ctx)
	require.NoError(t, err)
	assert.Equal(t, time.Unix(5, 0).UTC(), devices[0].Created)
	result, err := c.Docker(ctx, call)
	require.NoError(t, err)
	assert.Equal(t, rehearsal.DockerResult{ID: "x", Outputs: map[string]any{"n": 1.0}}, result)
	made, err := c.MakeKey(ctx, key)
	require.NoError(t, err)
	assert.Equal(t, rehearsal.MadeKey{ID: "1", Secret: "s"}, made)
	edge, err := c.Edge(ctx)
	require.NoError(t, err)
	assert.Equal(t, rehearsal.Edge{Zone: "example.com", Addresses: []netip.Addr{rehearsal.EdgeIPv4}, NotEnforced: []string{"a rule"}}, edge)
	console, err := c.Console(ctx, "1", false)
	require.NoError(t, err)
	text, err := io.ReadAll(console)
	require.NoError(t, err)
	assert.Equal(t, "Debian\n", string(text))
	report, err := c.StopProbe(ctx)
	require.NoError(t, err)
	assert.Equal(t, seen, report)
	require.NoError(t, c.End(ctx))
	assert.Equal(t, 1, f.stopped)
}

func TestHangingUpEndsTheWork(t *testing.T) {
	f := newFixture(t)
	f.block = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, f.client.Boot(ctx, rehearsal.Server{}), context.DeadlineExceeded)
	select {
	case err := <-f.ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		t.Fatal("the work goes on")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.client.Dial(ctx, rehearsal.Target{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, <-f.ended, context.Canceled, "a dial too")
}

func TestAConnectionGoesBothWays(t *testing.T) {
	f := newFixture(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	f.conn, err = net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	there, err := listener.Accept()
	require.NoError(t, err)
	_, err = io.WriteString(there, "early: ")
	require.NoError(t, err)
	target := rehearsal.Target{Origin: rehearsal.FromInternet, From: netip.MustParseAddr("203.0.113.9"), Network: "tcp", Address: "192.0.2.1:443"}
	conn, err := f.client.Dial(t.Context(), target)
	require.NoError(t, err)
	assert.Equal(t, []any{"dial", target}, f.asked)
	_, err = io.WriteString(conn, "question")
	require.NoError(t, err)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	asked, err := io.ReadAll(there)
	require.NoError(t, err, "the end of what is sent arrives")
	assert.Equal(t, "question", string(asked))
	_, err = io.WriteString(there, "answer")
	require.NoError(t, err)
	require.NoError(t, there.Close())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "early: answer", string(answer))
	require.NoError(t, conn.Close())

	f.err = errors.New("connect: no route to host")
	_, err = f.client.Dial(t.Context(), target)
	require.EqualError(t, err, "connect: no route to host")
}

func TestProgressIsFollowed(t *testing.T) {
	f := newFixture(t)
	_, err := io.WriteString(&f.progress, "nobody hears it\n")
	require.NoError(t, err)
	lines, err := f.client.Progress(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { f.progress.mu.Lock(); defer f.progress.mu.Unlock(); return len(f.progress.followers) == 1 }, 5*time.Second, time.Millisecond)
	_, err = io.WriteString(&f.progress, "building the disk\n")
	require.NoError(t, err)
	buffer := make([]byte, 100)
	n, err := lines.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, "building the disk\n", string(buffer[:n]))
	require.NoError(t, lines.Close())
	require.Eventually(t, func() bool { f.progress.mu.Lock(); defer f.progress.mu.Unlock(); return len(f.progress.followers) == 0 }, 5*time.Second, time.Millisecond,
		"nobody is waited for who has gone")
}

func TestRequestsThatAreNone(t *testing.T) {
	f := newFixture(t)
	raw := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(f.state, rehearsal.SocketFile))
	}}}
	for path, want := range map[string]int{"boot": http.StatusBadRequest, "dial": http.StatusBadRequest, "nothing": http.StatusNotFound, "console": http.StatusBadRequest} {
		resp, err := raw.Post("http://machine"+rehearsal.Prefix+path, "application/json", strings.NewReader(`{"unknown": 1}`))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, want, resp.StatusCode, path)
	}
	assert.Empty(t, f.asked)
}
