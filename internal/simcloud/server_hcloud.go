package simcloud

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

var _ = register(typeServer, &kind{
	replaces: []string{"datacenter", "image", "location", "sshKeys", "userData"}, autoname: true,
	computed: []string{"image", "location", "datacenter", "firewallIds"}, kept: []string{"publicNets.ipv4", "publicNets.ipv6"},
	sets: []string{"firewallIds", "networks", "publicNets"}, defaults: map[string]any{"publicNets.ipv4Enabled": true, "publicNets.ipv6Enabled": true},
	gone:       "1 error occurred: * server with ID '%s' not found (not_found)",
	deprecated: []string{"datacenter", "allowDeprecatedImages"},
	check:      checkServer, ask: noDatacenter, create: createServer, update: updateServer, remove: removeServer,
	also: &acts{create: bootMachine, update: changeMachine, refuse: protectedServer, remove: deleteMachine, read: readPower},
})

// location is one of Hetzner's data centre parks.
type location struct {
	id                  float64
	city, country, zone string
	description         string
	lat, long           float64
}

var locations = map[string]location{
	"fsn1": {1, "Falkenstein", "DE", "eu-central", "Falkenstein DC Park 1", 50.47612, 12.370071},
	"nbg1": {2, "Nuremberg", "DE", "eu-central", "Nuremberg DC Park 1", 49.452102, 11.076665},
	"hel1": {3, "Helsinki", "FI", "eu-central", "Helsinki DC Park 1", 60.169855, 24.938379},
	"ash":  {4, "Ashburn, VA", "US", "us-east", "Ashburn, VA", 39.045821, -77.487073},
	"hil":  {5, "Hillsboro, OR", "US", "us-west", "Hillsboro, OR", 45.54222, -122.951924},
	"sin":  {6, "Singapore", "SG", "ap-southeast", "Singapore", 1.283333, 103.833333},
}

// serverType is a type of the price list; memory in GB, disk in GB.
type serverType struct {
	id, cores, memory, disk    float64
	arch, category, cpu, where string
}

var serverTypes = map[string]serverType{
	"cx23": {114, 2, 4, 40, "x86", "Cost-Optimized", "shared", "eu"}, "cx33": {115, 4, 8, 80, "x86", "Cost-Optimized", "shared", "eu"},
	"cx43": {116, 8, 16, 160, "x86", "Cost-Optimized", "shared", "eu"}, "cx53": {117, 16, 32, 320, "x86", "Cost-Optimized", "shared", "eu"},
	"cax11": {45, 2, 4, 40, "arm", "Cost-Optimized", "shared", "eu"}, "cax21": {93, 4, 8, 80, "arm", "Cost-Optimized", "shared", "eu"},
	"cax31": {94, 8, 16, 160, "arm", "Cost-Optimized", "shared", "eu"}, "cax41": {95, 16, 32, 320, "arm", "Cost-Optimized", "shared", "eu"},
	"cpx11": {22, 2, 2, 40, "x86", "Regular Purpose", "shared", "us"}, "cpx21": {23, 3, 4, 80, "x86", "Regular Purpose", "shared", "us"},
	"cpx31": {24, 4, 8, 160, "x86", "Regular Purpose", "shared", "us"}, "cpx41": {25, 8, 16, 240, "x86", "Regular Purpose", "shared", "us"},
	"cpx51": {26, 16, 32, 360, "x86", "Regular Purpose", "shared", "us"},
	"cpx12": {109, 1, 2, 40, "x86", "Regular Purpose", "shared", "sin"}, "cpx22": {110, 2, 4, 80, "x86", "Regular Purpose", "shared", "eu sin"},
	"cpx32": {111, 4, 8, 160, "x86", "Regular Purpose", "shared", "eu sin"}, "cpx42": {112, 8, 16, 320, "x86", "Regular Purpose", "shared", "eu sin"},
	"cpx52": {113, 12, 24, 480, "x86", "Regular Purpose", "shared", "eu sin"}, "cpx62": {118, 16, 32, 640, "x86", "Regular Purpose", "shared", "eu sin"},
	"ccx13": {96, 2, 8, 80, "x86", "General Purpose", "dedicated", "all"}, "ccx23": {97, 4, 16, 160, "x86", "General Purpose", "dedicated", "all"},
	"ccx33": {98, 8, 32, 240, "x86", "General Purpose", "dedicated", "all"}, "ccx43": {99, 16, 64, 360, "x86", "General Purpose", "dedicated", "all"},
	"ccx53": {100, 32, 128, 600, "x86", "General Purpose", "dedicated", "all"}, "ccx63": {101, 48, 192, 960, "x86", "General Purpose", "dedicated", "all"},
}

// sold reports whether a type can be ordered at a location.
func (s serverType) sold(at location) bool {
	region := map[string]string{"eu-central": "eu", "us-east": "us", "us-west": "us", "ap-southeast": "sin"}[at.zone]
	return s.where == "all" || contains(strings.Fields(s.where), region)
}

// serverImages are the system images that can be ordered.
var serverImages = []string{
	"alma-8", "alma-9", "alma-10", "centos-stream-9", "centos-stream-10", "debian-11", "debian-12", "debian-13",
	"docker-ce", "fedora-42", "fedora-43", "opensuse-15", "opensuse-16", "rocky-8", "rocky-9", "rocky-10",
	"ubuntu-22.04", "ubuntu-24.04", "ubuntu-26.04",
}

var hostname = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

// maxUserData is the API's limit for user data.
const maxUserData = 32 << 10

// noDatacenter: the API knows data centres no longer; the plugin still takes one.
func noDatacenter(c *checking) {
	if c.has("datacenter") {
		c.refuse("datacenter", "the datacenter attribute was removed, use location")
	}
}

func checkServer(c *checking) {
	checkLabels(c)
	if image, ok := c.text("image"); ok && image == "" {
		c.refuse("image", "%q must have more than 0 characters. Have you set the name instead of an ID?", "image")
	}
	if v := c.news["sshKeys"]; v.IsArray() {
		for _, k := range v.ArrayValue() {
			if k.IsString() && k.StringValue() == "" {
				c.refuse("sshKeys", "invalid ssh key passed: it needs at least 1 character")
			}
		}
	}
}

func authorizedKey(s string) error {
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s)); err != nil {
		return fail("invalid input in field 'ssh_keys' (invalid_input): %v", err)
	}
	return nil
}

// createServer orders the server and boots it.
func createServer(t *task) (string, error) {
	if err := t.uniqueName("", "server"); err != nil {
		return "", err
	}
	if err := t.serverInputs(); err != nil {
		return "", err
	}
	if !contains(serverImages, text(t.in, "image")) {
		return "", fail("image %s for architecture %s not found", text(t.in, "image"), serverTypes[text(t.in, "serverType")].arch)
	}
	if text(t.in, "location") == "" {
		t.out["location"] = "fsn1"
	}
	for _, k := range texts(t.in, "sshKeys") {
		if !t.w.sshKeyExists(k) {
			return "", fail("ssh key not found: %s", k)
		}
	}
	id := t.w.numericID()
	if err := t.claimAddresses(id); err != nil {
		return "", err
	}
	t.out["status"] = "running"
	t.out["primaryDiskSize"] = serverTypes[text(t.in, "serverType")].disk
	t.out["backupWindow"] = ""
	t.w.boot(id, text(t.in, "name"), text(t.in, "userData"))
	return id, nil
}

// serverInputs checks what create and update have in common.
func (t *task) serverInputs() error {
	if !hostname.MatchString(text(t.in, "name")) {
		return fail("invalid input in field 'name' (invalid_input): %q is not a valid hostname", text(t.in, "name"))
	}
	typ, ok := serverTypes[text(t.in, "serverType")]
	if !ok {
		return fail("server type %s not found", text(t.in, "serverType"))
	}
	if name := text(t.in, "location"); name != "" {
		at, ok := locations[name]
		if !ok {
			return fail("location %s not found (invalid_input)", name)
		}
		if !typ.sold(at) {
			return fail("unsupported location for server type (invalid_input): %s at %s", text(t.in, "serverType"), name)
		}
	}
	if len(text(t.in, "userData")) > maxUserData {
		return fail("invalid input in field 'user_data' (invalid_input): must be at most 32 KiB")
	}
	for _, f := range list(t.in, "firewallIds") {
		if t.w.get(typeFirewall, "", idText(f)) == nil {
			return fail("firewall with ID '%s' not found (not_found)", idText(f))
		}
	}
	if len(list(t.in, "firewallIds")) > 5 {
		return fail("a server takes at most 5 firewalls (firewall_resource_limit)")
	}
	if len(list(t.in, "networks")) > 0 || t.in["placementGroupId"] != nil {
		return fail("private networks and placement groups are not simulated")
	}
	return nil
}

func (w *World) sshKeyExists(idOrName string) bool {
	for _, o := range w.all(typeSSHKey) {
		if o.ID == idOrName || text(o.live(), "name") == idOrName {
			return true
		}
	}
	return false
}

// claimAddresses gives the server its primary IPs, or new ones of its own.
func (t *task) claimAddresses(id string) error {
	wanted, err := t.wantedAddresses(id)
	if err != nil {
		return err
	}
	n, _ := strconv.ParseFloat(id, 64)
	for family, w := range wanted {
		switch {
		case w.ip != nil:
			w.ip.Outputs["assigneeId"] = n
		case w.enabled:
			address, network := t.w.nextAddress(family)
			t.out["own"+family] = address
			if network != "" {
				t.out["own"+family+"network"] = network
			}
		}
	}
	t.setAddresses(wanted)
	return nil
}

type wantedAddress struct {
	enabled bool
	ip      *object
}

// wantedAddresses reads publicNets and finds the primary IPs it names.
func (t *task) wantedAddresses(self string) (map[string]wantedAddress, error) {
	out := map[string]wantedAddress{"ipv4": {enabled: true}, "ipv6": {enabled: true}}
	at := text(t.in, "location")
	if at == "" {
		at = text(t.out, "location")
	}
	for _, net := range objects(t.in, "publicNets") {
		for _, family := range []string{"ipv4", "ipv6"} {
			enabled, given := net[family+"Enabled"].(bool)
			w := wantedAddress{enabled: enabled || !given}
			if ref := idText(net[family]); ref != "" && ref != "0" {
				ip := t.w.get(typePrimaryIP, "", ref)
				switch {
				case ip == nil:
					return nil, fail("primary IP with ID '%s' not found (not_found)", ref)
				case text(ip.Inputs, "type") != family:
					return nil, fail("primary IP %s is not of type %s (invalid_input)", ref, family)
				case text(ip.live(), "location") != at:
					return nil, fail("primary IP %s is not in the location of the server (invalid_input)", ref)
				}
				if user := idText(ip.Outputs["assigneeId"]); user != "0" && user != "" && user != self {
					return nil, fail("primary IP %s is already assigned to server %s (primary_ip_assigned)", ref, user)
				}
				w = wantedAddress{enabled: true, ip: ip}
			}
			out[family] = w
		}
	}
	return out, nil
}

func (t *task) setAddresses(wanted map[string]wantedAddress) {
	for _, name := range []string{"ipv4Address", "ipv6Address", "ipv6Network"} {
		t.out[name] = ""
	}
	if w := wanted["ipv4"]; w.ip != nil {
		t.out["ipv4Address"] = w.ip.Outputs["ipAddress"]
	} else if w.enabled {
		t.out["ipv4Address"] = t.out["ownipv4"]
	}
	if w := wanted["ipv6"]; w.ip != nil {
		t.out["ipv6Address"], t.out["ipv6Network"] = w.ip.Outputs["ipAddress"], w.ip.Outputs["ipNetwork"]
	} else if w.enabled {
		t.out["ipv6Address"], t.out["ipv6Network"] = t.out["ownipv6"], t.out["ownipv6network"]
	}
	for _, name := range []string{"ownipv4", "ownipv6", "ownipv6network"} {
		delete(t.out, name)
	}
}

func updateServer(t *task, o *object) error {
	if err := t.uniqueName(o.ID, "server"); err != nil {
		return err
	}
	if err := t.serverInputs(); err != nil {
		return err
	}
	old, next := serverTypes[text(o.live(), "serverType")], serverTypes[text(t.in, "serverType")]
	if old.arch != next.arch {
		return fail("server type has a different CPU architecture (invalid_server_type)")
	}
	if next.disk < number(o.Outputs, "primaryDiskSize") {
		return fail("the server's disk is bigger than the new type's (invalid_server_type)")
	}
	if !flag(t.in, "keepDisk") {
		t.out["primaryDiskSize"] = next.disk
	}
	if len(list(t.in, "publicNets")) == 0 {
		return nil
	}
	wanted, err := t.wantedAddresses(o.ID)
	if err != nil {
		return err
	}
	t.w.release(o.ID)
	return t.claimKept(o, wanted)
}

// claimKept assigns the wanted addresses to a server that already has some.
func (t *task) claimKept(o *object, wanted map[string]wantedAddress) error {
	t.out["ownipv4"], t.out["ownipv6"], t.out["ownipv6network"] = o.Outputs["ipv4Address"], o.Outputs["ipv6Address"], o.Outputs["ipv6Network"]
	n, err := strconv.ParseFloat(o.ID, 64)
	if err != nil {
		return fail("reading server ID %s: %v", o.ID, err)
	}
	for _, w := range wanted {
		if w.ip != nil {
			w.ip.Outputs["assigneeId"] = n
		}
	}
	t.setAddresses(wanted)
	return nil
}

// release unassigns a server's primary IPs.
func (w *World) release(server string) {
	for _, p := range w.all(typePrimaryIP) {
		if idText(p.Outputs["assigneeId"]) == server {
			p.Outputs["assigneeId"] = float64(0)
		}
	}
}

func protectedServer(_ *task, o *object) error {
	if flag(o.live(), "deleteProtection") {
		return fail("server deletion is protected (protected)")
	}
	return nil
}

func removeServer(t *task, o *object) error {
	if err := protectedServer(t, o); err != nil {
		return err
	}
	for _, p := range t.w.all(typePrimaryIP) {
		if idText(p.Outputs["assigneeId"]) == o.ID && flag(p.live(), "autoDelete") {
			t.w.drop(p)
		}
	}
	t.w.release(o.ID)
	t.w.shutDown(o.ID)
	return nil
}

// admits reports whether a server's firewalls let a TCP port in from anywhere.
// A server without a firewall is open.
func (w *World) admits(server string, port int) bool {
	attached := false
	for _, f := range w.all(typeFirewall) {
		if !contains(w.firewallUsers(f.ID), server) {
			continue
		}
		attached = true
		for _, r := range objects(f.live(), "rules") {
			from, to, err := portRange(text(r, "port"))
			if text(r, "direction") == "in" && text(r, "protocol") == "tcp" && err == nil && from <= port && port <= to {
				return true
			}
		}
	}
	return !attached
}

// sameAddress compares addresses by value.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x == y
}

func init() {
	functions["hcloud:index/getServerType:getServerType"] = func(t *task) (map[string]any, error) {
		for name, s := range serverTypes {
			if name != text(t.in, "name") && idText(t.in["id"]) != idText(s.id) {
				continue
			}
			var sold []any
			for _, l := range sortedKeys(locations) {
				if s.sold(locations[l]) {
					sold = append(sold, map[string]any{"id": locations[l].id, "name": l, "available": true, "recommended": true,
						"isDeprecated": false, "deprecationAnnounced": "", "unavailableAfter": ""})
				}
			}
			return map[string]any{
				"id": s.id, "name": name, "description": name, "cores": s.cores, "memory": s.memory, "disk": s.disk,
				"architecture": s.arch, "category": s.category, "cpuType": s.cpu, "storageType": "local", "includedTraffic": float64(0),
				"isDeprecated": false, "deprecationAnnounced": "", "unavailableAfter": "", "locations": sold,
			}, nil
		}
		return nil, fail("server type %q not found", text(t.in, "name")+idText(t.in["id"]))
	}
	functions["hcloud:index/getLocation:getLocation"] = func(t *task) (map[string]any, error) {
		for name, l := range locations {
			if name == text(t.in, "name") || idText(t.in["id"]) == idText(l.id) {
				return map[string]any{
					"id": l.id, "name": name, "city": l.city, "country": l.country, "description": l.description,
					"networkZone": l.zone, "latitude": l.lat, "longitude": l.long,
				}, nil
			}
		}
		return nil, fail("location %q not found", text(t.in, "name")+idText(t.in["id"]))
	}
}
