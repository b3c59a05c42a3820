package simcloud

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

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
	also: &acts{create: sendFirewall, update: sendFirewall},
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
	also:   &acts{create: sendFirewalls, update: sendFirewalls, removed: sendFirewalls},
})

// canonicalPrefix writes an address range as the provider keeps it.
func canonicalPrefix(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.String()
	}
	return s
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
		if err := firewallRule(toGoValues(r)); err != nil {
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
