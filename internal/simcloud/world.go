// Package simcloud simulates the clouds of this project in memory: Hetzner,
// Cloudflare, Tailscale, the Docker daemons and SSH servers of the machines that
// are created, and the random and tls providers. Each is a provider server that
// speaks the real plugin protocol, so that the real Pulumi engine deploys to them
// through PULUMI_DEBUG_PROVIDERS without knowing the difference.
//
// A test double that is kinder than the real thing hides mistakes. These refuse
// what the real ones refuse: unknown properties, names in use, deleting what is
// attached, a second ruleset in a phase, a policy whose tests fail, a machine
// nobody can reach.
package simcloud

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"
)

// Options describes the world before anything is deployed.
type Options struct {
	// ZoneID is the Cloudflare zone that exists; default 32 times "0".
	ZoneID string
	// ZoneName is its apex; default example.com.
	ZoneName string
	// ZonePlan is free, pro, business or enterprise; default free.
	ZonePlan string
	// Tailnet is the MagicDNS suffix of the tailnet; default tail1234.ts.net.
	Tailnet string
	// Policy is the tailnet's policy file before the deployment. Empty means
	// the default policy, which a first deployment may overwrite.
	Policy string
	// ProjectDir is the folder that the engine runs in: contexts of image builds are
	// below it. Empty: a relative context is not read.
	ProjectDir string
	// Rulesets names the phases of which the zone already has an entry point, made
	// by somebody else.
	Rulesets []string
	// Latency delays operations by type token; "" is the default for all others.
	// The default is none.
	Latency map[string]time.Duration
	// Machines are real machines that the world acts on; nil simulates them too.
	Machines Machines
}

func (o Options) withDefaults() Options {
	if o.ZoneID == "" {
		o.ZoneID = strings.Repeat("0", 32)
	}
	if o.ZoneName == "" {
		o.ZoneName = "example.com"
	}
	if o.ZonePlan == "" {
		o.ZonePlan = "free"
	}
	if o.Tailnet == "" {
		o.Tailnet = "tail1234.ts.net"
	}
	return o
}

// World is one simulated world: every cloud, every machine, and the record of
// what was done to them. It is safe for concurrent use.
type World struct {
	opts Options

	mu      sync.Mutex
	state   worldState
	journal []Operation
	faults  []*Fault
	clock   int

	// firewalls, boxes and zones order what real machines, boxes and the zone hear. They are taken
	// before mu.
	firewalls, boxes, zones sync.Mutex
}

// worldState is everything that exists, in the form that Save seals.
type worldState struct {
	Serial   int64                `json:"serial"`
	Objects  map[string]*object   `json:"objects"`
	Machines map[string]*machine  `json:"machines"`
	Devices  []*device            `json:"devices"`
	Keys     map[string]*authKey  `json:"keys"`
	Policy   string               `json:"policy"`
	Settings map[string]*residual `json:"settings"`
	Secrets  []string             `json:"secrets"`
	// Rehearsed: its machines are real.
	Rehearsed bool `json:"rehearsed,omitempty"`
}

// object is one resource that exists in a cloud.
type object struct {
	Type    string         `json:"type"`
	ID      string         `json:"id"`
	Name    string         `json:"name"` // resource name, the last part of the URN
	URN     string         `json:"urn"`
	Machine string         `json:"machine,omitempty"` // the machine it lives on
	Inputs  map[string]any `json:"inputs"`
	Outputs map[string]any `json:"outputs"`
	// Live holds values that differ from what the provider believes it set.
	Live   map[string]any `json:"live,omitempty"`
	Serial int64          `json:"serial"`
	// Failed is why the object never became ready. Only a new object can do better:
	// no provider here waits again after an update.
	Failed string `json:"failed,omitempty"`
	// Stopped is a container that the daemon created and could not start.
	Stopped bool `json:"stopped,omitempty"`
}

// residual is a setting that stays after its resource is deleted.
type residual struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	Name  string `json:"name"`
	Value any    `json:"value"`
	Owned bool   `json:"owned"` // a resource manages it at the moment
}

// New makes an empty world.
func New(opts Options) *World {
	opts = opts.withDefaults()
	w := &World{opts: opts, state: worldState{
		Objects: map[string]*object{}, Machines: map[string]*machine{}, Keys: map[string]*authKey{},
		Settings: map[string]*residual{}, Policy: opts.Policy, Rehearsed: opts.Machines != nil,
	}}
	for _, phase := range opts.Rulesets {
		w.put(&object{Type: typeRuleset, ID: hexID(32), Name: "dashboard-" + phase, Outputs: map[string]any{"version": "1"},
			Inputs: map[string]any{"zoneId": opts.ZoneID, "kind": "zone", "phase": phase, "name": "default"}})
	}
	return w
}

// Kind is the kind of an operation.
type Kind string

// The operations that the journal records and faults can hit.
const (
	OpCreate Kind = "create"
	OpRead   Kind = "read"
	OpUpdate Kind = "update"
	OpDelete Kind = "delete"
	OpInvoke Kind = "invoke"
)

// Operation is one thing the engine asked of a cloud. Previews are not recorded.
type Operation struct {
	Sequence int    // position in the journal, by start
	Kind     Kind   // what was asked
	Type     string // type token of the resource or function
	URN      string // empty for an invoke
	Name     string // resource name; empty for an invoke
	ID       string // empty when a create failed
	Err      string // empty on success
	// Started and Finished are points of one logical clock: an operation whose
	// Started is greater than another's Finished began after that one ended.
	Started, Finished int
}

// Fault makes matching operations fail.
type Fault struct {
	Type      string // type token; empty: any
	Name      string // suffix of the URN's resource name; empty: any
	Operation Kind   // empty: any
	Times     int    // how often; 0: always
	Err       string // what the error says
	// Partial lets the effect happen first. A create or update then reports that
	// the resource exists but failed to initialise, like an unhealthy container.
	Partial bool

	used int
}

// Inject adds a fault.
func (w *World) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Err == "" {
		f.Err = "injected fault"
	}
	w.faults = append(w.faults, &f)
}

// ClearFaults removes all faults.
func (w *World) ClearFaults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

// Journal returns the operations so far, in the order in which they started.
func (w *World) Journal() []Operation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Operation(nil), w.journal...)
}

// begin records the start of an operation and takes the fault that hits it.
func (w *World) begin(op Operation) (int, *Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	op.Sequence, op.Started = len(w.journal), w.clock
	w.journal = append(w.journal, op)
	for _, f := range w.faults {
		if f.hits(op) {
			f.used++
			taken := *f
			return op.Sequence, &taken
		}
	}
	return op.Sequence, nil
}

func (f *Fault) hits(op Operation) bool {
	return (f.Times == 0 || f.used < f.Times) &&
		(f.Type == "" || f.Type == op.Type) &&
		(f.Operation == "" || f.Operation == op.Kind) &&
		(f.Name == "" || strings.HasSuffix(op.Name, f.Name))
}

// ails reports whether a fault would keep a container from becoming healthy.
func (w *World) ails(c *object) bool {
	for _, f := range w.faults {
		if f.hits(Operation{Kind: OpCreate, Type: c.Type, Name: c.Name}) {
			return true
		}
	}
	return false
}

// end records how an operation ended.
func (w *World) end(seq int, id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	op := &w.journal[seq]
	op.Finished = w.clock
	if id != "" {
		op.ID = id
	}
	if err != nil {
		op.Err = err.Error()
	}
}

// wait lets the latency of an operation pass, without holding the world.
func (w *World) wait(ctx context.Context, token string) error {
	d, ok := w.opts.Latency[token]
	if !ok {
		d = w.opts.Latency[""]
	}
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// The methods below expect w.mu to be held.

func key(token, machine, id string) string { return token + "|" + machine + "|" + id }

func (w *World) serial() int64 {
	w.state.Serial++
	return w.state.Serial
}

// numericID makes an ID like those of Hetzner.
func (w *World) numericID() string { return fmt.Sprint(100000000 + w.serial()) }

func (w *World) put(o *object) {
	if o.Serial == 0 {
		o.Serial = w.serial()
	}
	w.state.Objects[key(o.Type, o.Machine, o.ID)] = o
}

func (w *World) get(token, machine, id string) *object {
	return w.state.Objects[key(token, machine, id)]
}

func (w *World) drop(o *object) { delete(w.state.Objects, key(o.Type, o.Machine, o.ID)) }

// all returns the objects of a type, oldest first.
func (w *World) all(token string) []*object {
	var out []*object
	for _, o := range w.state.Objects {
		if o.Type == token {
			out = append(out, o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Serial < out[j].Serial })
	return out
}

// on returns the objects of a type on one machine, oldest first.
func (w *World) on(machine, token string) []*object {
	var out []*object
	for _, o := range w.all(token) {
		if o.Machine == machine {
			out = append(out, o)
		}
	}
	return out
}

// keep remembers a generated secret for leak searches.
func (w *World) keep(secret string) {
	for _, s := range w.state.Secrets {
		if s == secret {
			return
		}
	}
	w.state.Secrets = append(w.state.Secrets, secret)
}

// hexID makes a random lower-case hexadecimal ID.
func hexID(n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[rand.IntN(16)]
	}
	return string(b)
}

// live merges everything that is true of an object.
func (o *object) live() map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{o.Inputs, o.Outputs, o.Live} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
