package simcloud

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
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
})

var _ = register(typeFirewall, &kind{
	autoname: true, computed: []string{"labels"},
	sets:     []string{"applyTos", "rules", "rules.sourceIps", "rules.destinationIps"},
	spelling: map[string]func(string) string{"rules.sourceIps[]": canonicalPrefix, "rules.destinationIps[]": canonicalPrefix},
	// The official plugin panics, and every operation that is under way in it fails.
	gone:  "error reading from server: EOF",
	check: checkFirewall, ask: askFirewall, create: createFirewall, update: updateFirewall, remove: removeFirewall,
	read: func(_ *task, o *object) (bool, error) {
		if rules, stale := o.Live["rules"]; stale {
			o.Inputs["rules"] = rules
		}
		return true, nil
	},
})

var _ = register(typeFirewallAttachment, &kind{
	replaces: []string{"firewallId"}, gone: "1 error occurred: * firewall with ID '%s' not found (not_found)",
	ask: func(c *checking) {
		if !c.has("serverIds") && !c.has("labelSelectors") {
			c.refuse("serverIds", "one of `label_selectors,server_ids` must be specified")
		}
	},
	create: createAttachment,
	update: func(t *task, _ *object) error { return t.attachable() },
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

// canonicalPrefix writes an address range as the provider keeps it.
func canonicalPrefix(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.String()
	}
	return s
}

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

// checkFirewall is what the plugin refuses in a preview: no port, no missing range.
func checkFirewall(c *checking) {
	checkLabels(c)
	c.each("rules", func(at string, r resource.PropertyMap) {
		for name, allowed := range map[resource.PropertyKey][]string{"direction": {"in", "out"}, "protocol": {"icmp", "tcp", "udp", "gre", "esp"}} {
			if s := r[name]; s.IsString() && !contains(allowed, s.StringValue()) {
				c.refuse(at, "expected %s to be one of %q, got %s", name, allowed, s.StringValue())
			}
		}
		for _, name := range []resource.PropertyKey{"sourceIps", "destinationIps"} {
			if !r[name].IsArray() {
				continue
			}
			for _, ip := range r[name].ArrayValue() {
				if !ip.IsString() {
					continue
				}
				if p, err := netip.ParsePrefix(ip.StringValue()); err != nil {
					c.refuse(at, "invalid CIDR address: %s", ip.StringValue())
				} else if p.Masked() != p {
					c.refuse(at, "host bits of %q are set", ip.StringValue())
				}
			}
		}
	})
}

// askFirewall is what the API checks of each rule.
func askFirewall(c *checking) {
	c.each("rules", func(at string, r resource.PropertyMap) {
		if err := firewallRule(plain(r)); err != nil {
			c.refuse(at, "%v", err)
		}
	})
}

// firewallRule checks one rule as the API does.
func firewallRule(r map[string]any) error {
	direction, protocol, port := text(r, "direction"), text(r, "protocol"), text(r, "port")
	ips := texts(r, "sourceIps")
	switch direction {
	case "in":
		if len(texts(r, "destinationIps")) > 0 {
			return fail("destination_ips can only be used with direction out")
		}
	case "out":
		if ips = texts(r, "destinationIps"); len(texts(r, "sourceIps")) > 0 {
			return fail("source_ips can only be used with direction in")
		}
	default:
		return fail("expected direction to be one of [in out], got %s", direction)
	}
	if len(ips) == 0 {
		return fail("a rule with direction %s needs at least one address range", direction)
	}
	if len(ips) > 100 {
		return fail("a rule takes at most 100 address ranges, got %d", len(ips))
	}
	for _, ip := range ips {
		p, err := netip.ParsePrefix(ip)
		if err != nil {
			return fail("%q is not a CIDR: %v", ip, err)
		}
		if p.Masked() != p {
			return fail("host bits of %q are set", ip)
		}
	}
	switch protocol {
	case "tcp", "udp":
		if _, _, err := portRange(port); err != nil {
			return err
		}
	case "icmp", "gre", "esp":
		if port != "" {
			return fail("port is not allowed with protocol %s", protocol)
		}
	default:
		return fail("expected protocol to be one of [icmp tcp udp gre esp], got %s", protocol)
	}
	return nil
}

// portRange reads "80", "80-85" or "any".
func portRange(s string) (from, to int, err error) {
	if s == "any" {
		return 1, 65535, nil
	}
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	from, errA := strconv.Atoi(a)
	to, errB := strconv.Atoi(b)
	if errA != nil || errB != nil || from < 1 || to > 65535 || from > to {
		return 0, 0, fail("%q is not a valid port or port range", s)
	}
	return from, to, nil
}

func createFirewall(t *task) (string, error) {
	if err := t.uniqueName("", "firewall"); err != nil {
		return "", err
	}
	return t.w.numericID(), t.firewallTargets()
}

func (t *task) firewallTargets() error {
	if n := len(list(t.in, "rules")); n > 50 {
		return fail("a firewall takes at most 50 rules, got %d (firewall_resource_limit)", n)
	}
	for _, a := range objects(t.in, "applyTos") {
		if id := idText(a["server"]); id != "" && t.w.get(typeServer, "", id) == nil {
			return fail("server with ID '%s' not found (not_found)", id)
		}
	}
	return nil
}

// updateFirewall keeps the live rules when the last one is taken away: the
// provider sends no request then.
func updateFirewall(t *task, o *object) error {
	if err := t.uniqueName(o.ID, "firewall"); err != nil {
		return err
	}
	if len(list(t.in, "rules")) == 0 && len(list(o.live(), "rules")) > 0 {
		o.Live = map[string]any{"rules": o.live()["rules"]}
	} else {
		o.Live = nil
	}
	return t.firewallTargets()
}

func removeFirewall(t *task, o *object) error {
	if users := t.w.firewallUsers(o.ID); len(users) > 0 {
		return fail("firewall with ID '%s' is still in use by server %s (resource_in_use)", o.ID, users[0])
	}
	return nil
}

// firewallUsers lists the servers that a firewall applies to.
func (w *World) firewallUsers(id string) []string {
	found := map[string]bool{}
	for _, s := range w.all(typeServer) {
		for _, f := range list(s.live(), "firewallIds") {
			if idText(f) == id {
				found[s.ID] = true
			}
		}
	}
	for _, a := range w.all(typeFirewallAttachment) {
		if idText(a.Inputs["firewallId"]) == id {
			for _, s := range list(a.live(), "serverIds") {
				if w.get(typeServer, "", idText(s)) != nil {
					found[idText(s)] = true
				}
			}
		}
	}
	if f := w.get(typeFirewall, "", id); f != nil {
		for _, a := range objects(f.live(), "applyTos") {
			if s := idText(a["server"]); s != "" && w.get(typeServer, "", s) != nil {
				found[s] = true
			}
		}
	}
	return sortedKeys(found)
}

func createAttachment(t *task) (string, error) {
	id := idText(t.in["firewallId"])
	for _, a := range t.w.all(typeFirewallAttachment) {
		if idText(a.Inputs["firewallId"]) == id {
			return "", fail("firewall %s already has an attachment resource: only one may exist per firewall", id)
		}
	}
	if err := t.attachable(); err != nil {
		return "", err
	}
	return id, nil
}

func (t *task) attachable() error {
	if id := idText(t.in["firewallId"]); t.w.get(typeFirewall, "", id) == nil {
		return fail("firewall with ID '%s' not found (not_found)", id)
	}
	for _, s := range list(t.in, "serverIds") {
		if t.w.get(typeServer, "", idText(s)) == nil {
			return fail("server with ID '%s' not found (not_found)", idText(s))
		}
	}
	return nil
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
