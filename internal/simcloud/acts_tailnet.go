package simcloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"homelab/internal/rehearsal"
)

// preparations are what an invoke asks the real machines before the world answers.
var preparations = map[string]func(ctx context.Context, t *task) error{
	"tailscale:index/getDevice:getDevice":   awaitDevice,
	"tailscale:index/getDevices:getDevices": func(ctx context.Context, t *task) error { return t.w.syncDevices(ctx) },
}

// deviceRetry is how often the provider asks for a device that it waits for.
const deviceRetry = time.Second

// awaitDevice waits for a device as long as waitFor says.
func awaitDevice(ctx context.Context, t *task) error {
	patience, err := time.ParseDuration(text(t.in, "waitFor"))
	if err != nil {
		patience = 0 // the answer says what is wrong with it
	}
	deadline := time.Now().Add(patience)
	for {
		if err := t.w.syncDevices(ctx); err != nil {
			return err
		}
		if t.deviceKnown() || !time.Now().Before(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(deviceRetry):
		}
	}
}

func (t *task) deviceKnown() bool {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	for _, d := range t.w.state.Devices {
		if d.Name == text(t.in, "name") || d.Hostname == text(t.in, "hostname") {
			return true
		}
	}
	return false
}

// syncDevices takes over what the real tailnet has.
func (w *World) syncDevices(ctx context.Context) error {
	real, err := w.opts.Machines.Devices(ctx)
	if err != nil {
		return fmt.Errorf("reading the devices of the tailnet: %w", err)
	}
	devices := make([]*device, len(real))
	for i, d := range real {
		devices[i] = &device{
			ID: d.ID, NodeID: d.NodeID, Name: d.Name, Hostname: d.Hostname, Tags: d.Tags, User: d.User, Authorized: d.Authorized,
			Online: d.Online, Server: d.Machine, Created: d.Created, LastSeen: d.LastSeen,
		}
		for _, a := range d.Addresses {
			devices[i].Addresses = append(devices[i].Addresses, a.String())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Devices = devices
	for _, d := range devices {
		m := w.state.Machines[d.Server]
		if m == nil || len(d.Addresses) == 0 {
			continue
		}
		m.TailnetIP = d.Addresses[0]
		for _, k := range w.state.Keys {
			k.Used = k.Used || strings.Contains(m.UserData, k.Secret)
		}
	}
	return nil
}

// sendPolicy puts the policy in force.
func sendPolicy(ctx context.Context, t *task, o *object) error {
	if err := t.w.opts.Machines.SetPolicy(ctx, text(o.Inputs, "acl")); err != nil {
		return fail("failed to set ACL: %v", err)
	}
	return nil
}

// resetPolicy puts the default policy back in force, if the program wants that.
func resetPolicy(ctx context.Context, t *task, o *object) error {
	if !flag(o.live(), "resetAclOnDestroy") {
		return nil
	}
	if err := t.w.opts.Machines.SetPolicy(ctx, ""); err != nil {
		return fail("failed to reset ACL: %v", err)
	}
	return nil
}

// makeKey has the control server make a key, which takes the place of the one the world made up.
func makeKey(ctx context.Context, t *task, o *object) error {
	made, err := t.w.opts.Machines.MakeKey(ctx, rehearsal.Key{
		Tags: texts(t.in, "tags"), Reusable: flag(t.in, "reusable"), Ephemeral: flag(t.in, "ephemeral"),
		Preauthorized: flag(t.in, "preauthorized"), Expiry: time.Duration(number(o.Outputs, "expiry")) * time.Second,
	})
	if err != nil {
		return fail("failed to create key: %v", err)
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	k := t.w.state.Keys[o.ID]
	k.Secret, k.Real = made.Secret, made.ID
	o.Outputs["key"] = made.Secret
	t.w.put(o.copy())
	t.w.keep(made.Secret)
	return nil
}

// deleteKey makes a key unusable.
func deleteKey(ctx context.Context, t *task, o *object) error {
	t.w.mu.Lock()
	k := t.w.state.Keys[o.ID]
	t.w.mu.Unlock()
	if k == nil || k.Real == "" {
		return nil
	}
	if err := t.w.opts.Machines.DeleteKey(ctx, k.Real); err != nil {
		return fail("failed to delete key: %v", err)
	}
	return nil
}

// readUse finds out whether a machine has used a key: one for a single use is then invalid.
func readUse(ctx context.Context, t *task, o *object) (bool, error) {
	if err := t.w.syncDevices(ctx); err != nil {
		return false, err
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return readKey(t, o)
}
