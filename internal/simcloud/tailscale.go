package simcloud

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"homelab/internal/simcloud/policyfile"
)

const (
	typeACL              = "tailscale:index/acl:Acl"
	typeDNSPreferences   = "tailscale:index/dnsPreferences:DnsPreferences"
	typeTailnetSettings  = "tailscale:index/tailnetSettings:TailnetSettings"
	typeTailnetKey       = "tailscale:index/tailnetKey:TailnetKey"
	typeSplitNameservers = "tailscale:index/dnsSplitNameservers:DnsSplitNameservers"
	typeNameservers      = "tailscale:index/dnsNameservers:DnsNameservers"
	typeSearchPaths      = "tailscale:index/dnsSearchPaths:DnsSearchPaths"
	typeDeviceTags       = "tailscale:index/deviceTags:DeviceTags"
	typeDeviceAuth       = "tailscale:index/deviceAuthorization:DeviceAuthorization"
)

// device is one node of the tailnet.
type device struct {
	ID         string    `json:"id"`
	NodeID     string    `json:"nodeID"`
	Name       string    `json:"name"`     // MagicDNS name, unique
	Hostname   string    `json:"hostname"` // what the machine calls itself
	Addresses  []string  `json:"addresses"`
	Tags       []string  `json:"tags"`
	User       string    `json:"user"`
	Authorized bool      `json:"authorized"`
	Online     bool      `json:"online"`
	Server     string    `json:"server"` // ID of the server that runs it
	Created    time.Time `json:"created"`
	LastSeen   time.Time `json:"lastSeen"`
}

// authKey is one auth key of the tailnet.
type authKey struct {
	ID            string    `json:"id"`
	Secret        string    `json:"secret"`
	Tags          []string  `json:"tags"`
	Reusable      bool      `json:"reusable"`
	Ephemeral     bool      `json:"ephemeral"`
	Preauthorized bool      `json:"preauthorized"`
	Expires       time.Time `json:"expires"`
	Used          bool      `json:"used"`
	// Real is the ID of the control server's key, with real machines.
	Real string `json:"real,omitempty"`
}

func (k *authKey) live() bool { return now().Before(k.Expires) && (k.Reusable || !k.Used) }

var _ = register(typeACL, &kind{
	framework: true, spelling: map[string]func(string) string{"acl": policyfile.Canonical},
	check: func(c *checking) {
		if s, ok := c.text("acl"); ok {
			if _, err := policyfile.ParseHuJSON(s); err != nil {
				c.refuse("acl", "acl is not a valid HuJSON string: %v", err)
			}
		}
	},
	create: createACL, update: func(t *task, _ *object) error { return t.setPolicy() },
	remove: func(t *task, o *object) error {
		if flag(o.live(), "resetAclOnDestroy") {
			t.w.state.Policy = ""
		}
		return nil
	},
	read: func(t *task, o *object) (bool, error) {
		o.Inputs["acl"] = t.w.state.Policy
		return true, nil
	},
	also: &acts{create: sendPolicy, update: sendPolicy, remove: resetPolicy},
})

var _ = register(typeTailnetKey, &kind{
	replaces:  []string{"reusable", "ephemeral", "tags", "preauthorized", "expiry", "description", "id"},
	framework: true, computed: []string{"expiry", "userId"}, sets: []string{"tags"},
	defaults: map[string]any{"reusable": false, "ephemeral": false, "preauthorized": false, "description": "", "tags": []any{}},
	check: func(c *checking) {
		c.oneOf("recreateIfInvalid", "", "always", "never")
		if s, ok := c.text("description"); ok && len(s) > 50 {
			c.refuse("description", "attribute description string length must be at most 50, got: %d", len(s))
		}
	},
	ask: func(c *checking) {
		if v := c.news["expiry"]; v.IsNumber() && (v.NumberValue() < 0 || v.NumberValue() > 90*86400) {
			c.refuse("expiry", "a key lives at most 90 days")
		}
	},
	extraDiff: invalidKeyDiff,
	create:    createKey, update: func(*task, *object) error { return nil },
	remove: func(t *task, o *object) error {
		delete(t.w.state.Keys, o.ID)
		return nil
	},
	read: readKey,
	// A key that is gone stays in the state, and is invalid.
	readGone: func(t *task, state map[string]any) *object {
		state["invalid"] = true
		return &object{ID: t.id, Inputs: t.in, Outputs: state}
	},
	also: &acts{create: makeKey, remove: deleteKey, read: readUse},
})

// tailnetComputed are settings that keep their value when the program says nothing.
var tailnetComputed = map[string][]string{typeTailnetSettings: {
	"aclsExternalLink", "aclsExternallyManagedOn", "devicesApprovalOn", "devicesAutoUpdatesOn", "devicesKeyDurationDays", "httpsEnabled",
	"networkFlowLoggingOn", "postureIdentityCollectionOn", "regionalRoutingOn", "usersApprovalOn", "usersRoleAllowedToJoinExternalTailnet",
}}

// tailnetWide is a resource of which a tailnet has exactly one.
func tailnetWide(token string, residue bool) struct{} {
	return register(token, &kind{
		framework: true, computed: tailnetComputed[token],
		check: func(c *checking) {
			if v := c.news["nameservers"]; v.IsArray() && len(v.ArrayValue()) == 0 {
				c.refuse("nameservers", "attribute nameservers list must contain at least 1 elements, got: 0")
			}
			if s, ok := c.text("aclsExternalLink"); ok && s != "" && !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
				c.refuse("aclsExternalLink", "attribute acls_external_link must be a valid URL with http or https scheme, got: %s", s)
			}
			c.oneOf("usersRoleAllowedToJoinExternalTailnet", "none", "member", "admin")
		},
		create: func(t *task) (string, error) {
			if err := t.tailnetSettings(); err != nil {
				return "", err
			}
			if residue {
				t.own(token, t.settings())
			}
			return hexID(8) + "-" + hexID(4) + "-4" + hexID(3) + "-8" + hexID(3) + "-" + hexID(12), nil
		},
		update: func(t *task, _ *object) error {
			if residue {
				t.own(token, t.settings())
			}
			return t.tailnetSettings()
		},
		remove: func(t *task, _ *object) error {
			if residue {
				t.disown(token)
			}
			return nil
		},
	})
}

var (
	_ = tailnetWide(typeDNSPreferences, false)
	_ = tailnetWide(typeNameservers, false)
	_ = tailnetWide(typeSearchPaths, false)
	_ = tailnetWide(typeTailnetSettings, true)
)

func (t *task) settings() map[string]any {
	out := map[string]any{}
	for k, v := range t.in {
		out[k] = v
	}
	return out
}

// tailnetSettings checks what all singletons of the tailnet have in common.
func (t *task) tailnetSettings() error {
	for _, n := range texts(t.in, "nameservers") {
		if err := nameserver(n); err != nil {
			return err
		}
	}
	if d, ok := t.in["devicesKeyDurationDays"].(float64); ok && (d < 1 || d > 180) {
		return fail("devicesKeyDurationDays must be between 1 and 180 (400)")
	}
	if t.token == typeDNSPreferences && flag(t.in, "magicDns") {
		return nil // MagicDNS no longer needs a global nameserver
	}
	return nil
}

// nameserver accepts an IP address or a DNS-over-HTTPS URL.
func nameserver(s string) error {
	if strings.HasPrefix(s, "https://") {
		return nil
	}
	if _, err := netip.ParseAddr(s); err != nil {
		return fail("invalid nameserver %q (400)", s)
	}
	return nil
}

var _ = register(typeSplitNameservers, &kind{
	replaces: []string{"domain"}, framework: true, sets: []string{"nameservers"},
	create: func(t *task) (string, error) {
		if t.w.get(typeSplitNameservers, "", text(t.in, "domain")) != nil {
			return "", fail("split DNS for %s is managed already", text(t.in, "domain"))
		}
		return text(t.in, "domain"), t.tailnetSettings()
	},
	update: func(t *task, _ *object) error { return t.tailnetSettings() },
})

var _ = register(typeDeviceTags, &kind{
	replaces: []string{"deviceId"}, framework: true, sets: []string{"tags"}, gone: "failed to delete tags for device with ID %s: not found (404)",
	create: func(t *task) (string, error) { return text(t.in, "deviceId"), t.setTags(texts(t.in, "tags")) },
	update: func(t *task, _ *object) error { return t.setTags(texts(t.in, "tags")) },
	remove: func(t *task, o *object) error {
		t.in = o.Inputs
		return t.setTags(nil)
	},
	read: func(t *task, o *object) (bool, error) {
		d := t.w.device(o.ID)
		if d == nil {
			return false, nil
		}
		o.Inputs["tags"] = anyList(d.Tags)
		return true, nil
	},
})

var _ = register(typeDeviceAuth, &kind{
	replaces: []string{"deviceId"}, framework: true, sets: []string{"tags"},
	create: func(t *task) (string, error) { return text(t.in, "deviceId"), t.authorize() },
	update: func(t *task, _ *object) error { return t.authorize() },
	read: func(t *task, o *object) (bool, error) {
		d := t.w.device(o.ID)
		if d == nil {
			return false, nil
		}
		o.Inputs["authorized"] = d.Authorized
		return true, nil
	},
})

func createACL(t *task) (string, error) {
	if t.w.state.Policy != "" && !flag(t.in, "overwriteExistingContent") {
		return "", fail("you are trying to overwrite a non-default policy. Please import the ACL first or set overwrite_existing_content = true. (412)")
	}
	if err := t.setPolicy(); err != nil {
		return "", err
	}
	return hexID(8) + "-" + hexID(4) + "-4" + hexID(3) + "-8" + hexID(3) + "-" + hexID(12), nil
}

// setPolicy validates a policy, runs its tests and makes it the current one.
func (t *task) setPolicy() error {
	p, err := policyfile.Parse(text(t.in, "acl"))
	if err != nil {
		return fail("failed to set ACL: %v (400)", err)
	}
	if err := p.Test(policyfile.Tailnet{Name: t.w.opts.Tailnet, Tags: t.w.tagsOf}); err != nil {
		return fail("failed to set ACL: %v (400)", err)
	}
	before := t.w.state.Policy
	t.undo = func() { t.w.state.Policy = before }
	t.w.state.Policy = text(t.in, "acl")
	return nil
}

// tagsOf returns the tags of the device with an address.
func (w *World) tagsOf(address netip.Addr) []string {
	for _, d := range w.state.Devices {
		for _, a := range d.Addresses {
			if sameAddress(a, address.String()) {
				return d.Tags
			}
		}
	}
	return nil
}

// tagsOwned refuses tags that the current policy gives to nobody.
func (t *task) tagsOwned(tags []string) error {
	if len(tags) == 0 {
		return nil
	}
	p, err := policyfile.Parse(t.w.state.Policy)
	if err != nil {
		return fail("reading the current policy: %v", err)
	}
	for _, tag := range tags {
		if _, ok := p.TagOwners[tag]; !ok {
			return fail("requested tags [%s] are invalid or not permitted (400)", tag)
		}
	}
	return nil
}

func createKey(t *task) (string, error) {
	tags := texts(t.in, "tags")
	if len(tags) == 0 && text(t.config, "apiKey") == "" {
		return "", fail("tailnet-owned auth key must have tags set (400)")
	}
	if err := t.tagsOwned(tags); err != nil {
		return "", err
	}
	expiry := number(t.in, "expiry")
	if expiry == 0 {
		expiry = 90 * 86400
	}
	k := &authKey{
		ID: "k" + hexID(10) + "CNTRL", Secret: "", Tags: tags, Reusable: flag(t.in, "reusable"),
		Ephemeral: flag(t.in, "ephemeral"), Preauthorized: flag(t.in, "preauthorized"),
		Expires: now().Add(time.Duration(expiry) * time.Second),
	}
	k.Secret = "tskey-auth-" + k.ID + "-" + hexID(32)
	t.w.state.Keys[k.ID] = k
	t.undo = func() { delete(t.w.state.Keys, k.ID) }
	t.out["key"], t.out["invalid"], t.out["expiry"], t.out["userId"] = k.Secret, false, expiry, text(t.in, "userId")
	t.out["createdAt"], t.out["expiresAt"] = now().Format(time.RFC3339), k.Expires.Format(time.RFC3339)
	return k.ID, nil
}

func readKey(t *task, o *object) (bool, error) {
	k := t.w.state.Keys[o.ID]
	o.Outputs["invalid"] = k == nil || !k.live()
	return true, nil
}

// invalidKeyDiff replaces a key that became invalid, when the program wants it.
func invalidKeyDiff(state, news resource.PropertyMap) []change {
	if v := state["invalid"]; !v.IsBool() || !v.BoolValue() {
		return nil
	}
	again := news["reusable"].IsBool() && news["reusable"].BoolValue()
	if v := news["recreateIfInvalid"]; v.IsString() && v.StringValue() != "" {
		again = v.StringValue() == "always"
	}
	if !again {
		return nil
	}
	return []change{{"id", "id", pulumirpc.PropertyDiff_UPDATE, "id"}}
}

// join registers a machine with an auth key; nil when the key is not live.
func (w *World) join(secret, hostname, server string) *device {
	var k *authKey
	for _, candidate := range w.state.Keys {
		if candidate.Secret == secret {
			k = candidate
		}
	}
	if k == nil || !k.live() {
		return nil
	}
	k.Used = true
	n := w.serial()
	d := &device{
		ID: fmt.Sprint(4000000000000000 + n), NodeID: "n" + hexID(10) + "CNTRL", Hostname: hostname, Tags: k.Tags, Server: server,
		Addresses: []string{fmt.Sprintf("100.101.%d.%d", (n/250)%250, 2+n%250), fmt.Sprintf("fd7a:115c:a1e0::%x", n)},
		User:      "tagged-devices", Authorized: k.Preauthorized || !w.approvalNeeded(), Online: true, Created: now(), LastSeen: now(),
	}
	name := strings.ToLower(hostname)
	for i := 0; ; i++ {
		d.Name = name + "." + w.opts.Tailnet
		if i > 0 {
			d.Name = fmt.Sprintf("%s-%d.%s", name, i, w.opts.Tailnet)
		}
		if w.deviceNamed(d.Name) == nil {
			break
		}
	}
	w.state.Devices = append(w.state.Devices, d)
	return d
}

// approvalNeeded reports whether new devices wait for an admin.
func (w *World) approvalNeeded() bool {
	if r := w.state.Settings[typeTailnetSettings]; r != nil {
		if values, ok := r.Value.(map[string]any); ok {
			return flag(values, "devicesApprovalOn")
		}
	}
	return false
}

func (w *World) deviceNamed(name string) *device {
	for _, d := range w.state.Devices {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// device finds a device by either of its IDs.
func (w *World) device(id string) *device {
	for _, d := range w.state.Devices {
		if d.ID == id || d.NodeID == id {
			return d
		}
	}
	return nil
}

func (t *task) setTags(tags []string) error {
	d := t.w.device(text(t.in, "deviceId"))
	if d == nil {
		return fail("failed to update tags for device with ID %s: no such device (404)", text(t.in, "deviceId"))
	}
	if err := t.tagsOwned(tags); err != nil {
		return err
	}
	d.Tags = sortedStrings(tags)
	return nil
}

func (t *task) authorize() error {
	d := t.w.device(text(t.in, "deviceId"))
	if d == nil {
		return fail("failed to authorize device with ID %s: no such device (404)", text(t.in, "deviceId"))
	}
	d.Authorized = flag(t.in, "authorized")
	return nil
}

func init() {
	functions["tailscale:index/getDevice:getDevice"] = getDevice
	functions["tailscale:index/getDevices:getDevices"] = getDevices
}

// getDevice returns the first match, which after a rebuild is the stale node:
// that is what the real one does.
func getDevice(t *task) (map[string]any, error) {
	name, host := text(t.in, "name"), text(t.in, "hostname")
	if (name == "") == (host == "") {
		return nil, fail("exactly one of these attributes must be configured: [name,hostname]")
	}
	filter := fmt.Sprintf("name=%q", name)
	if host != "" {
		filter = fmt.Sprintf("hostname=%q", host)
	}
	var waited string
	if s := text(t.in, "waitFor"); s != "" {
		if _, err := time.ParseDuration(s); err != nil {
			return nil, fail("failed to parse wait_for: %v", err)
		}
		waited = fmt.Sprintf("failed after maximum of retries within %s: ", s)
	}
	for _, d := range t.w.state.Devices {
		if d.Name != name && d.Hostname != host {
			continue
		}
		out := d.properties()
		if s := text(t.in, "waitFor"); s != "" {
			out["waitFor"] = s
		}
		return out, nil
	}
	return nil, fail("failed to fetch devices: %scould not find device with %s", waited, filter)
}

// properties are what the API says of a device.
func (d *device) properties() map[string]any {
	return map[string]any{
		"addresses": anyList(d.Addresses), "authorized": d.Authorized, "blocksIncomingConnections": false,
		"clientVersion": "1.90.6", "created": d.Created.Format(time.RFC3339), "expires": d.Created.AddDate(0, 6, 0).Format(time.RFC3339),
		"hostname": d.Hostname, "id": d.ID, "isExternal": false, "keyExpiryDisabled": len(d.Tags) > 0,
		"lastSeen": d.LastSeen.Format(time.RFC3339), "machineKey": "", "name": d.Name, "nodeId": d.NodeID, "nodeKey": "",
		"os": "linux", "tags": anyList(d.Tags), "tailnetLockError": "", "tailnetLockKey": "", "updateAvailable": false, "user": d.User,
	}
}

// getDevices lists the devices: the server's, and the computer from which a person deploys.
func getDevices(t *task) (map[string]any, error) {
	if text(t.in, "namePrefix") != "" || t.in["filters"] != nil {
		return nil, fail("the simulated tailnet lists all devices only")
	}
	laptop := &device{
		ID: "3999999999999999", NodeID: "nLaptopCNTRL", Hostname: "laptop", Name: "laptop." + t.w.opts.Tailnet, User: "admin@example.com",
		Addresses: []string{"100.101.0.1", "fd7a:115c:a1e0::ffff"}, Authorized: true, Online: true,
	}
	all := []any{}
	if t.w.opts.Machines == nil { // a real tailnet lists it itself
		all = append(all, laptop.properties())
	}
	for _, d := range t.w.state.Devices {
		all = append(all, d.properties())
	}
	return map[string]any{"id": "devices", "devices": all}, nil
}
