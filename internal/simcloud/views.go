package simcloud

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"homelab/internal/simcloud/policyfile"
)

// Entity is something that exists in the world.
type Entity struct {
	Type string // type token; "tailscale:device" for a node of the tailnet
	ID   string // what the cloud calls it
	Name string // its own name where it has one, else the resource name
}

func sortEntities(in []Entity) []Entity {
	sort.Slice(in, func(i, j int) bool {
		a, b := in[i], in[j]
		return fmt.Sprint(a.Type, "\x00", a.Name, "\x00", a.ID) < fmt.Sprint(b.Type, "\x00", b.Name, "\x00", b.ID)
	})
	return in
}

func (o *object) entity() Entity {
	name := text(o.live(), "name")
	if name == "" {
		name = o.Name
	}
	return Entity{o.Type, o.ID, name}
}

// Inventory lists what exists, sorted: everything that would be left behind if
// the engine forgot it now. Settings whose delete changes nothing are in Residue;
// those of the whole tailnet are values it always has, owned or not.
func (w *World) Inventory() []Entity {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Entity
	for _, o := range w.state.Objects {
		if o.Type != typeDNSPreferences && o.Type != typeTailnetSettings && !w.ranOnGone(o) {
			out = append(out, o.entity())
		}
	}
	return sortEntities(out)
}

// ranOnGone reports a command whose machine is gone, with all that it did there.
func (w *World) ranOnGone(o *object) bool {
	if o.Type != typeCommand {
		return false
	}
	_, err := w.reach(text(section(o.Inputs, "connection"), "host"), 22)
	return err != nil
}

// Residue lists what stays although its resource was deleted, as in the real
// clouds: zone settings, tailnet settings, a policy, stale devices, kept images.
func (w *World) Residue() []Entity {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Entity
	for id, r := range w.state.Settings {
		if rest, image := strings.CutPrefix(id, leftImages); image {
			machine, _, _ := strings.Cut(rest, "/")
			if w.state.Machines[machine] == nil {
				continue
			}
		}
		if !r.Owned {
			out = append(out, Entity{r.Type, id, r.Name})
		}
	}
	if w.state.Policy != "" && len(w.all(typeACL)) == 0 {
		out = append(out, Entity{typeACL, "policy", "policy"})
	}
	for _, d := range w.state.Devices {
		// What was never a server is somebody's computer.
		if d.Server != "" && w.state.Machines[d.Server] == nil {
			out = append(out, Entity{"tailscale:device", d.ID, d.Name})
		}
	}
	return sortEntities(out)
}

// find returns the object of a type by resource name, own name or ID.
func (w *World) find(token, name string) (*object, error) {
	var found []*object
	for _, o := range w.all(token) {
		if o.Name == name || o.ID == name || text(o.live(), "name") == name {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no %s is called %s", token, name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d objects of type %s are called %s", len(found), token, name)
}

// Drift changes a live object behind the engine's back, as somebody in a web
// console would. The function gets its properties to change in place.
func (w *World) Drift(token, name string, change func(props map[string]any)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.find(token, name)
	if err != nil {
		return fmt.Errorf("changing a live object: %w", err)
	}
	props := o.live()
	change(props)
	inputs, outputs := map[string]any{}, map[string]any{}
	for k, v := range props {
		_, isInput := schema.Resources[token].Inputs[k]
		_, was := o.Outputs[k]
		if isInput && !was {
			inputs[k] = v
		} else {
			outputs[k] = v
		}
	}
	o.Inputs, o.Outputs, o.Live = inputs, outputs, nil
	w.settle(o)
	return nil
}

// settle carries a changed object over to what the cloud keeps beside it.
func (w *World) settle(o *object) {
	switch o.Type {
	case typeACL:
		w.state.Policy = text(o.Inputs, "acl")
	case typeZoneSetting:
		w.resettle(typeZoneSetting+"/"+o.ID, o.Inputs["value"])
	case typePullSettings:
		w.resettle(typePullSettings, o.Inputs["enabled"])
	case typeTailnetSettings:
		w.resettle(typeTailnetSettings, o.Inputs)
	}
}

func (w *World) resettle(id string, value any) {
	if r := w.state.Settings[id]; r != nil {
		r.Value = value
	}
}

// Unready lists what exists but never became ready, such as a container that was
// unhealthy or could not start, sorted.
func (w *World) Unready() []Entity {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Entity
	for _, o := range w.state.Objects {
		if o.Failed != "" {
			out = append(out, o.entity())
		}
	}
	return sortEntities(out)
}

// Remove deletes a live object behind the engine's back. Removing a server ends
// its machine.
func (w *World) Remove(token, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.find(token, name)
	if err != nil {
		return fmt.Errorf("removing a live object: %w", err)
	}
	switch token {
	case typeServer:
		w.release(o.ID)
		w.shutDown(o.ID)
	case typeTailnetKey:
		delete(w.state.Keys, o.ID)
	}
	w.drop(o)
	return nil
}

// RestartDocker restarts the Docker daemon of every machine. Containers keep running. From now on
// the provider reads the gateway that each network has had all along.
func (w *World) RestartDocker() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.all(typeNetwork) {
		shown := []any{}
		for _, c := range objects(n.merged(), "ipamConfigs") {
			withGateway := map[string]any{}
			for name, v := range c {
				withGateway[name] = v
			}
			if p, err := netip.ParsePrefix(text(c, "subnet")); err == nil && text(c, "gateway") == "" {
				withGateway["gateway"] = p.Masked().Addr().Next().String()
			}
			shown = append(shown, withGateway)
		}
		n.Outputs["ipamConfigs"] = shown
	}
}

// Stop stops a container by hand.
func (w *World) Stop(container string) error {
	return w.container(container, func(c *object) { c.Stopped = true })
}

// Sicken makes a running container unhealthy.
func (w *World) Sicken(container, why string) error {
	return w.container(container, func(c *object) { c.Failed = why })
}

func (w *World) container(name string, change func(*object)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.find(typeContainer, name)
	if err != nil {
		return fmt.Errorf("changing a container by hand: %w", err)
	}
	change(c)
	return nil
}

// Live returns the properties that are really in effect for an object: they
// differ from the engine's state where a provider ignores an update silently.
func (w *World) Live(token, name string) (map[string]any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.find(token, name)
	if err != nil {
		return nil, err
	}
	return o.live(), nil
}

// Secrets returns every secret value that the world generated or was given as
// the secret input of a live resource, for leak searches. A value of several
// lines is there twice: as it is, and as it stands inside JSON.
func (w *World) Secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := map[string]bool{}
	for _, s := range w.state.Secrets {
		found[s] = true
	}
	for _, o := range w.state.Objects {
		for name, f := range schema.Resources[o.Type].Inputs {
			if s, ok := o.Inputs[name].(string); ok && f.Secret && s != "" {
				found[s] = true
			}
		}
	}
	for s := range found {
		if strings.Contains(s, "\n") {
			found[strings.ReplaceAll(s, "\n", `\n`)] = true
		}
	}
	return sortedKeys(found)
}

// Commands returns what was executed on a machine, in order, with its stdin. The
// host is the server's name, or an address of the machine; "" is every machine.
func (w *World) Commands(host string) []Command {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Command
	for _, m := range w.state.Machines {
		if host == "" || w.is(m, host) {
			out = append(out, m.Commands...)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Sequence < out[j].Sequence })
	return out
}

func (w *World) is(m *machine, host string) bool {
	if m.Name == host || m.ID == host || sameAddress(m.TailnetIP, host) {
		return true
	}
	s := w.get(typeServer, "", m.ID)
	return s != nil && (sameAddress(text(s.Outputs, "ipv4Address"), host) || sameAddress(text(s.Outputs, "ipv6Address"), host))
}

// Machine is a running server as a test sees it.
type Machine struct {
	// ID and Name are the server's.
	ID, Name string
	// HostKey is its public SSH host key, "ssh-ed25519 AAAA…".
	HostKey string
	// TailnetIP is its address in the tailnet; empty when it never joined.
	TailnetIP string
	// UserData is what it booted with. It holds secrets.
	UserData string
	// BootError is why cloud-init could not read the user data; empty when it could.
	BootError string
}

// Machines lists the running machines by name.
func (w *World) Machines() []Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Machine
	for _, m := range w.state.Machines {
		out = append(out, Machine{m.ID, m.Name, m.HostKey, m.TailnetIP, m.UserData, m.BootError})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// DNSRecord is one live record of the zone.
type DNSRecord struct {
	Name    string // absolute, without final dot
	Type    string // A, AAAA, CNAME …
	Content string // address or target
	Proxied bool   // whether Cloudflare stands in front
}

// DNSRecords lists the live records by name.
func (w *World) DNSRecords() []DNSRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []DNSRecord
	for _, o := range w.all(typeDNSRecord) {
		p := o.live()
		out = append(out, DNSRecord{w.recordName(text(p, "name")), text(p, "type"), text(p, "content"), flag(p, "proxied")})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return a.Name+"|"+a.Type+"|"+a.Content < b.Name+"|"+b.Type+"|"+b.Content
	})
	return out
}

// PublicHostnames lists the names that somebody on the internet can resolve to a
// machine: proxied records, and address records outside the tailnet's ranges.
func (w *World) PublicHostnames() []string {
	found := map[string]bool{}
	for _, r := range w.DNSRecords() {
		if r.Type != "A" && r.Type != "AAAA" && r.Type != "CNAME" {
			continue
		}
		if r.Proxied {
			found[r.Name] = true
			continue
		}
		a, err := netip.ParseAddr(r.Content)
		if err != nil {
			found[r.Name] = !strings.HasSuffix(strings.TrimSuffix(r.Content, "."), ".ts.net")
		} else if !policyfile.EveryNode.Contains(a) && !tailnetV6.Contains(a) && !a.IsPrivate() {
			found[r.Name] = true
		}
	}
	var out []string
	for _, name := range sortedKeys(found) {
		if found[name] {
			out = append(out, name)
		}
	}
	return out
}

var tailnetV6 = netip.MustParsePrefix("fd7a:115c:a1e0::/48")

// Policy returns the tailnet's live policy file; empty is the default policy.
func (w *World) Policy() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Policy
}
