package simcloud

import (
	"context"
	"fmt"
	"net/netip"

	"homelab/internal/rehearsal"
)

// anywhere is every address.
var anywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// rehearsed describes a server as a real machine. It expects w.mu to be held.
func (w *World) rehearsed(o *object) (rehearsal.Server, error) {
	live := o.live()
	typ := serverTypes[text(live, "serverType")]
	out := rehearsal.Server{
		ID: o.ID, Name: text(live, "name"), Image: text(live, "image"), UserData: text(live, "userData"),
		Location: text(live, "location"), SSHKeys: w.publicKeys(texts(live, "sshKeys")),
		CPUs: int(typ.cores), MemoryMB: int(typ.memory) << 10, DiskGB: int(number(o.Outputs, "primaryDiskSize")),
	}
	var err error
	if s := text(o.Outputs, "ipv4Address"); s != "" {
		if out.IPv4, err = netip.ParseAddr(s); err != nil {
			return out, fmt.Errorf("reading the address of server %s: %w", o.ID, err)
		}
	}
	if s := text(o.Outputs, "ipv6Address"); s != "" {
		address, err := netip.ParseAddr(s)
		if err != nil {
			return out, fmt.Errorf("reading the address of server %s: %w", o.ID, err)
		}
		out.IPv6 = netip.PrefixFrom(address, 64)
	}
	out.Firewall, err = w.admitted(o.ID)
	return out, err
}

// publicKeys are the SSH keys with these IDs or names. It expects w.mu to be held.
func (w *World) publicKeys(refs []string) []string {
	out := []string{}
	for _, k := range w.all(typeSSHKey) {
		if contains(refs, k.ID) || contains(refs, text(k.live(), "name")) {
			out = append(out, text(k.live(), "publicKey"))
		}
	}
	return out
}

// admitted is what a server's firewalls let in: everything where there is none. It expects w.mu to
// be held.
func (w *World) admitted(server string) ([]rehearsal.Rule, error) {
	out, attached := []rehearsal.Rule{}, false
	for _, f := range w.all(typeFirewall) {
		if !contains(w.firewallUsers(f.ID), server) {
			continue
		}
		attached = true
		for _, r := range objects(f.live(), "rules") {
			rule, err := admission(r)
			if err != nil {
				return nil, fmt.Errorf("firewall %s: %w", text(f.live(), "name"), err)
			}
			out = append(out, rule)
		}
	}
	if !attached {
		return []rehearsal.Rule{{Protocol: "any", Sources: anywhere}}, nil
	}
	return out, nil
}

func admission(r map[string]any) (rehearsal.Rule, error) {
	out := rehearsal.Rule{Protocol: text(r, "protocol")}
	if text(r, "direction") != "in" {
		return out, fail("rules for what goes out are not part of a rehearsal on machines")
	}
	if p := out.Protocol; p == "tcp" || p == "udp" {
		first, last, err := portRange(text(r, "port"))
		if err != nil {
			return out, err
		}
		out.First, out.Last = uint16(first), uint16(last)
	}
	for _, s := range texts(r, "sourceIps") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return out, err
		}
		out.Sources = append(out.Sources, p)
	}
	return out, nil
}

// described is a server of the world as a real machine.
func (w *World) described(id string) (rehearsal.Server, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.get(typeServer, "", id)
	if o == nil {
		return rehearsal.Server{}, fail("server with ID '%s' not found (not_found)", id)
	}
	return w.rehearsed(o)
}

// bootMachine starts a server's machine. The cloud has sold the server by then, so it exists even
// if the machine does not start.
func bootMachine(ctx context.Context, t *task, o *object) error {
	server, err := t.w.described(o.ID)
	if err != nil {
		return notReady{err}
	}
	if err := t.w.opts.Machines.Boot(ctx, server); err != nil {
		return notReady{fmt.Errorf("starting server %s: %w", server.Name, err)}
	}
	return nil
}

// changeMachine sends what changed of a server. The provider switches a server off for another type
// or address.
func changeMachine(ctx context.Context, t *task, o *object) error {
	was := map[string]any{}
	for name, v := range t.state {
		was[name] = v
	}
	for _, name := range []string{"serverType", "ipv4Address", "ipv6Address"} {
		if text(was, name) == text(o.live(), name) {
			continue
		}
		server, err := t.w.described(o.ID)
		if err == nil {
			err = t.w.opts.Machines.Change(ctx, server)
		}
		if err != nil {
			return notReady{fmt.Errorf("changing server %s: %w", o.ID, err)}
		}
		break
	}
	if err := t.w.sendAdmitted(ctx, o.ID); err != nil {
		return notReady{err}
	}
	return nil
}

// deleteMachine ends a server's machine.
func deleteMachine(ctx context.Context, t *task, o *object) error {
	if err := t.w.opts.Machines.Delete(ctx, o.ID, flag(o.live(), "shutdownBeforeDeletion")); err != nil {
		return fmt.Errorf("deleting server %s: %w", o.ID, err)
	}
	return nil
}

// readPower reads whether a server's machine runs. One that is gone is a server that is.
func readPower(ctx context.Context, t *task, o *object) (bool, error) {
	all, err := t.w.opts.Machines.Machines(ctx)
	if err != nil {
		return false, fmt.Errorf("reading server %s: %w", o.ID, err)
	}
	for _, m := range all {
		if m.ID != o.ID {
			continue
		}
		o.Outputs["status"] = "off"
		if m.Running {
			o.Outputs["status"] = "running"
		}
		return true, nil
	}
	return false, nil
}

// sendAdmitted sends what a server's firewalls let in now. What is sent last is what was true last.
func (w *World) sendAdmitted(ctx context.Context, server string) error {
	w.firewalls.Lock()
	defer w.firewalls.Unlock()
	w.mu.Lock()
	rules, err := w.admitted(server)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.opts.Machines.SetFirewall(ctx, server, rules); err != nil {
		return fmt.Errorf("setting the firewall of server %s: %w", server, err)
	}
	return nil
}

// sendFirewall sends a firewall to the servers that it applies to.
func sendFirewall(ctx context.Context, t *task, o *object) error {
	t.w.mu.Lock()
	users := t.w.firewallUsers(o.ID)
	for _, s := range appliedTo(t.state) {
		// It may not apply to them any more.
		if t.w.get(typeServer, "", s) != nil && !contains(users, s) {
			users = append(users, s)
		}
	}
	t.w.mu.Unlock()
	return t.w.sendAll(ctx, users)
}

// appliedTo lists the servers that a firewall names itself.
func appliedTo(firewall map[string]any) []string {
	var out []string
	for _, a := range objects(firewall, "applyTos") {
		if s := idText(a["server"]); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// sendFirewalls sends the firewalls of the servers that an attachment names, or named before.
func sendFirewalls(ctx context.Context, t *task, o *object) error {
	var users []string
	t.w.mu.Lock()
	for _, s := range append(list(o.live(), "serverIds"), list(t.state, "serverIds")...) {
		if id := idText(s); t.w.get(typeServer, "", id) != nil && !contains(users, id) {
			users = append(users, id)
		}
	}
	t.w.mu.Unlock()
	return t.w.sendAll(ctx, users)
}

func (w *World) sendAll(ctx context.Context, servers []string) error {
	for _, s := range servers {
		if err := w.sendAdmitted(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// sendAddress gives a new primary IP to the machine of the server that it was made for.
func sendAddress(ctx context.Context, t *task, o *object) error {
	id := idText(o.Outputs["assigneeId"])
	if id == "" || id == "0" {
		return nil
	}
	server, err := t.w.described(id)
	if err == nil {
		err = t.w.opts.Machines.Change(ctx, server)
	}
	if err != nil {
		return notReady{fmt.Errorf("assigning primary IP %s: %w", o.ID, err)}
	}
	return nil
}

// sendBox makes a storage box real, or changes it.
func sendBox(ctx context.Context, t *task, o *object) error { return t.w.setBox(ctx, o.ID) }

// sendBoxOf sends the box of a subaccount.
func sendBoxOf(ctx context.Context, t *task, o *object) error {
	id := idText(o.Inputs["storageBoxId"])
	t.w.mu.Lock()
	gone := t.w.get(typeStorageBox, "", id) == nil
	t.w.mu.Unlock()
	if gone {
		return nil
	}
	return t.w.setBox(ctx, id)
}

func deleteBox(ctx context.Context, t *task, o *object) error {
	if err := t.w.opts.Machines.DeleteBox(ctx, o.ID); err != nil {
		return fmt.Errorf("deleting storage box %s: %w", o.ID, err)
	}
	return nil
}

// setBox sends a box as it is declared now, one at a time, so that what is sent last was true last.
func (w *World) setBox(ctx context.Context, id string) error {
	w.boxes.Lock()
	defer w.boxes.Unlock()
	w.mu.Lock()
	box, err := w.rehearsedBox(id)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.opts.Machines.SetBox(ctx, box); err != nil {
		return fmt.Errorf("setting up storage box %s: %w", id, err)
	}
	return nil
}

// rehearsedBox describes a box with its subaccounts. It expects w.mu to be held.
func (w *World) rehearsedBox(id string) (rehearsal.Box, error) {
	o := w.get(typeStorageBox, "", id)
	if o == nil {
		return rehearsal.Box{}, fail("storage box with ID '%s' not found (not_found)", id)
	}
	live := o.live()
	typ := storageBoxTypes[text(live, "storageBoxType")]
	out := rehearsal.Box{
		ID: id, Name: text(live, "name"), Location: text(live, "location"), Bytes: int64(typ.size), SnapshotSlots: int(typ.snapshots),
		Main: account(live), SSHKeys: texts(live, "sshKeys"), Subaccounts: []rehearsal.Account{},
	}
	if plan := section(live, "snapshotPlan"); plan != nil {
		out.Snapshots = &rehearsal.SnapshotPlan{
			Max: int(number(plan, "maxSnapshots")), Minute: int(number(plan, "minute")), Hour: int(number(plan, "hour")),
			DayOfWeek: int(number(plan, "dayOfWeek")), DayOfMonth: int(number(plan, "dayOfMonth")),
		}
	}
	for _, s := range w.all(typeSubaccount) {
		if idText(s.Inputs["storageBoxId"]) == id {
			out.Subaccounts = append(out.Subaccounts, account(s.live()))
		}
	}
	return out, nil
}

// account reads the login of a box or of a subaccount.
func account(live map[string]any) rehearsal.Account {
	access := section(live, "accessSettings")
	return rehearsal.Account{
		User: text(live, "username"), Password: text(live, "password"), Server: text(live, "server"), Home: text(live, "homeDirectory"),
		SSH: flag(access, "sshEnabled"), WebDAV: flag(access, "webdavEnabled"), Samba: flag(access, "sambaEnabled"), ZFS: flag(access, "zfsEnabled"),
		External: flag(access, "reachableExternally"), ReadOnly: flag(access, "readonly"),
	}
}
