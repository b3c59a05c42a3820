package simcloud

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"

	"golang.org/x/crypto/ssh"
)

const (
	typeSSHKey             = "hcloud:index/sshKey:SshKey"
	typePrimaryIP          = "hcloud:index/primaryIp:PrimaryIp"
	typeFirewall           = "hcloud:index/firewall:Firewall"
	typeFirewallAttachment = "hcloud:index/firewallAttachment:FirewallAttachment"
	typeServer             = "hcloud:index/server:Server"
	typeStorageBox         = "hcloud:index/storageBox:StorageBox"
	typeSubaccount         = "hcloud:index/storageBoxSubaccount:StorageBoxSubaccount"
	typeRdns               = "hcloud:index/rdns:Rdns"
	typeVolume             = "hcloud:index/volume:Volume"
)

var _ = register(typeSSHKey, &kind{
	replaces: []string{"publicKey"}, autoname: true, framework: true,
	check:  checkLabels,
	create: createSSHKey,
	update: func(t *task, o *object) error { return t.uniqueName(o.ID, "SSH key") },
})

var _ = register(typePrimaryIP, &kind{
	replaces: []string{"type", "location", "datacenter"}, autoname: true, framework: true,
	computed: []string{"location", "datacenter", "assigneeId", "assigneeType"}, defaults: map[string]any{"autoDelete": false, "deleteProtection": false},
	deprecated: []string{"assigneeType", "datacenter"},
	check:      checkPrimaryIP, ask: func(c *checking) { noDatacenter(c); c.oneOf("type", "ipv4", "ipv6") }, create: createPrimaryIP, update: updatePrimaryIP, remove: removePrimaryIP,
	also: &acts{create: sendAddress},
})

var _ = register(typeRdns, &kind{
	replaces: []string{"serverId", "primaryIpId", "floatingIpId", "loadBalancerId", "ipAddress"}, framework: true,
	check: checkRdns, create: createRdns,
	update: func(*task, *object) error { return nil },
})

var _ = register(typeVolume, &kind{
	replaces: []string{"location"}, autoname: true,
	computed: []string{"location", "serverId"},
	check:    checkLabels, ask: askVolume, create: createVolume, update: updateVolume, remove: removeVolume,
})

var labelKey = regexp.MustCompile(`^([a-z0-9A-Z]((?:[\-_.]|[a-z0-9A-Z]){0,253}[a-z0-9A-Z])?/)?[a-z0-9A-Z]((?:[\-_.]|[a-z0-9A-Z]){0,62}[a-z0-9A-Z])?$`)

func checkLabels(c *checking) {
	v := c.news["labels"]
	if !v.IsObject() {
		return
	}
	for key, value := range v.ObjectValue() {
		if !labelKey.MatchString(string(key)) {
			c.refuse("labels", "label key %q is not correctly formatted", string(key))
		}
		if value.IsString() && value.StringValue() != "" && !labelKey.MatchString(value.StringValue()) {
			c.refuse("labels", "label value %q (key: %q) is not correctly formatted", value.StringValue(), string(key))
		}
	}
}

// uniqueName refuses a name that another resource of the type has.
func (t *task) uniqueName(self, what string) error {
	for _, o := range t.w.all(t.token) {
		if o.ID != self && text(o.Inputs, "name") == text(t.in, "name") {
			return fail("%s name is already used (uniqueness_error)", what)
		}
	}
	return nil
}

func createSSHKey(t *task) (string, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text(t.in, "publicKey")))
	if err != nil {
		return "", fail("invalid input in field 'public_key' (invalid_input): %v", err)
	}
	fingerprint := ssh.FingerprintLegacyMD5(pub)
	for _, o := range t.w.all(typeSSHKey) {
		if text(o.Outputs, "fingerprint") == fingerprint {
			return "", fail("SSH key not unique (uniqueness_error)")
		}
	}
	t.out["fingerprint"] = fingerprint
	return t.w.numericID(), t.uniqueName("", "SSH key")
}

func checkPrimaryIP(c *checking) {
	checkLabels(c)
	given := 0
	for _, name := range []string{"location", "datacenter", "assigneeId"} {
		if c.has(name) {
			given++
		}
	}
	if given != 1 {
		c.refuse("location", "exactly one of these attributes must be configured: [location,datacenter,assignee_id]")
	}
	if c.has("assigneeId") && !c.has("assigneeType") {
		c.refuse("assigneeId", "these attributes must be configured together: [assignee_id,assignee_type]")
	}
}

func createPrimaryIP(t *task) (string, error) {
	if err := t.uniqueName("", "primary IP"); err != nil {
		return "", err
	}
	location := text(t.in, "location")
	assignee := idText(t.in["assigneeId"])
	if assignee != "" {
		server := t.w.get(typeServer, "", assignee)
		if server == nil {
			return "", fail("server with ID '%s' not found (not_found)", assignee)
		}
		location = text(server.live(), "location")
		if family := text(t.in, "type"); text(server.Outputs, family+"Address") != "" {
			return "", fail("server already has an address of type %s (server_has_%s)", family, family)
		}
	}
	if _, ok := locations[location]; !ok {
		return "", fail("location %s not found (invalid_input)", location)
	}
	address, network := t.w.nextAddress(text(t.in, "type"))
	t.out["ipAddress"] = address
	if network != "" {
		t.out["ipNetwork"] = network
	}
	t.out["location"] = location
	number, _ := strconv.ParseFloat(assignee, 64) // "" means 0, not assigned
	t.out["assigneeId"], t.out["assigneeType"] = number, "server"
	if server := t.w.get(typeServer, "", assignee); server != nil {
		server.Outputs[text(t.in, "type")+"Address"] = address
		if network != "" {
			server.Outputs["ipv6Network"] = network
		}
	}
	return t.w.numericID(), nil
}

func updatePrimaryIP(t *task, o *object) error {
	if err := t.uniqueName(o.ID, "primary IP"); err != nil {
		return err
	}
	// assigneeId is optional and computed: the program's silence keeps it.
	if _, given := t.in["assigneeId"]; given && idText(t.in["assigneeId"]) != idText(o.Outputs["assigneeId"]) {
		t.out["assigneeId"] = t.in["assigneeId"]
	}
	return nil
}

func removePrimaryIP(t *task, o *object) error {
	if flag(o.live(), "deleteProtection") {
		return fail("primary IP deletion is protected (protected)")
	}
	if s := t.w.serverUsing(o.ID); s != nil {
		return fail("primary IP is still assigned to server %s, which is running (must_be_unassigned)", s.ID)
	}
	return nil
}

// serverUsing finds the server that a primary IP is assigned to.
func (w *World) serverUsing(primaryIP string) *object {
	p := w.get(typePrimaryIP, "", primaryIP)
	if p == nil {
		return nil
	}
	return w.get(typeServer, "", idText(p.Outputs["assigneeId"]))
}

// nextAddress hands out addresses of the documentation ranges: no address of
// anybody's real machine ever appears.
func (w *World) nextAddress(family string) (address, network string) {
	n := w.serial()
	if family == "ipv6" {
		prefix := fmt.Sprintf("2001:db8:%x::", n)
		return prefix + "1", prefix + "/64"
	}
	pools := []string{"198.51.100", "192.0.2"}
	return fmt.Sprintf("%s.%d", pools[(n/250)%2], 2+n%250), ""
}

func checkRdns(c *checking) {
	given := 0
	for _, name := range []string{"serverId", "primaryIpId", "floatingIpId", "loadBalancerId"} {
		if c.has(name) {
			given++
		}
	}
	if given != 1 {
		c.refuse("serverId", "exactly one of these attributes must be configured: [server_id,primary_ip_id,floating_ip_id,load_balancer_id]")
	}
	if ip, ok := c.text("ipAddress"); ok {
		if _, err := netip.ParseAddr(ip); err != nil {
			c.refuse("ipAddress", "must be a valid IP address, got: %s", ip)
		}
	}
}

func createRdns(t *task) (string, error) {
	ip, err := netip.ParseAddr(text(t.in, "ipAddress"))
	if err != nil {
		return "", fail("attribute ip_address must be a valid ip: %v", err)
	}
	var owner *object
	var prefix, id string
	switch {
	case t.in["serverId"] != nil:
		prefix, id = "s", idText(t.in["serverId"])
		owner = t.w.get(typeServer, "", id)
	case t.in["primaryIpId"] != nil:
		prefix, id = "p", idText(t.in["primaryIpId"])
		owner = t.w.get(typePrimaryIP, "", id)
	default:
		return "", fail("floating IPs and load balancers are not simulated")
	}
	if owner == nil {
		return "", fail("resource with ID '%s' not found (not_found)", id)
	}
	if !owns(owner, ip) {
		return "", fail("IP %s does not belong to the resource (ip_not_owned)", ip)
	}
	return prefix + "-" + id + "-" + ip.String(), nil
}

// owns reports whether an address belongs to a server or primary IP.
func owns(o *object, ip netip.Addr) bool {
	for _, name := range []string{"ipAddress", "ipv4Address", "ipv6Address", "ipNetwork", "ipv6Network"} {
		s := text(o.Outputs, name)
		if p, err := netip.ParsePrefix(s); err == nil && p.Contains(ip) {
			return true
		}
		if a, err := netip.ParseAddr(s); err == nil && a == ip {
			return true
		}
	}
	return false
}

func askVolume(c *checking) {
	c.oneOf("format", "xfs", "ext4")
	if v := c.news["size"]; v.IsNumber() && (v.NumberValue() < 10 || v.NumberValue() > 10240) {
		c.refuse("size", "expected size to be in the range (10 - 10240), got %.0f", v.NumberValue())
	}
	if c.has("serverId") == c.has("location") {
		c.refuse("location", "exactly one of location and server_id must be given")
	}
}

func createVolume(t *task) (string, error) {
	if err := t.uniqueName("", "volume"); err != nil {
		return "", err
	}
	location := text(t.in, "location")
	if id := idText(t.in["serverId"]); id != "" {
		server := t.w.get(typeServer, "", id)
		if server == nil {
			return "", fail("server with ID '%s' not found (not_found)", id)
		}
		location = text(server.live(), "location")
	} else if _, ok := locations[location]; !ok {
		return "", fail("location %s not found (invalid_input)", location)
	}
	id := t.w.numericID()
	t.out["location"] = location
	t.out["linuxDevice"] = "/dev/disk/by-id/scsi-0HC_Volume_" + id
	return id, nil
}

func updateVolume(t *task, o *object) error {
	if number(t.in, "size") < number(o.live(), "size") {
		return fail("a volume can only grow (invalid_input)")
	}
	if id := idText(t.in["serverId"]); id != "" && t.w.get(typeServer, "", id) == nil {
		return fail("server with ID '%s' not found (not_found)", id)
	}
	return t.uniqueName(o.ID, "volume")
}

func removeVolume(_ *task, o *object) error {
	if flag(o.live(), "deleteProtection") {
		return fail("volume deletion is protected (protected)")
	}
	return nil
}
