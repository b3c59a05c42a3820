package simcloud

import (
	"net/netip"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"homelab/internal/simcloud/policyfile"
)

var _ = register(typeDNSRecord, &kind{
	replaces: []string{"zoneId", "type"}, framework: true, gone: gone404, volatile: []string{"modifiedOn"},
	computed: []string{"content", "settings", "tags"}, defaults: map[string]any{"proxied": false},
	check: checkRecord, ask: askRecord, create: createRecord, update: updateRecord,
	also: sendsZone,
})

var recordTypes = []string{
	"A", "AAAA", "CAA", "CERT", "CNAME", "DNSKEY", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS", "OPENPGPKEY", "PTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI",
}

func checkRecord(c *checking) {
	if s, ok := c.text("type"); ok && !contains(recordTypes, strings.ToUpper(s)) {
		c.oneOf("type", recordTypes...)
	}
	if c.has("content") && c.has("data") {
		c.refuse("content", "only one of content and data may be given")
	}
}

// askRecord is what only the API refuses.
func askRecord(c *checking) {
	requireZone(c)
	c.oneOf("type", recordTypes...)
	proxied := c.news["proxied"].IsBool() && c.news["proxied"].BoolValue()
	if v := c.news["ttl"]; v.IsNumber() {
		if ttl := v.NumberValue(); ttl != 1 && (ttl < 30 || ttl > 86400) {
			c.refuse("ttl", "value must be 1 (automatic) or between 30 and 86400, got %.0f", ttl)
		} else if proxied && ttl != 1 {
			c.refuse("ttl", "ttl must be set to 1 when `proxied` is true")
		}
	}
	typ, ok := c.text("type")
	if ok && proxied && typ != "A" && typ != "AAAA" && typ != "CNAME" {
		c.refuse("proxied", "a record of type %s cannot be proxied", typ)
	}
	if v := c.news[resource.PropertyKey("content")]; ok && v.IsString() {
		if err := recordContent(typ, v.StringValue()); err != nil {
			c.refuse("content", "%v", err)
		}
	}
}

func recordContent(typ, content string) error {
	switch typ {
	case "A":
		if a, err := netip.ParseAddr(content); err != nil || !a.Is4() {
			return fail("content for A record must be a valid IPv4 address (9005)")
		}
	case "AAAA":
		if a, err := netip.ParseAddr(content); err != nil || !a.Is6() || a.Is4In6() {
			return fail("content for AAAA record must be a valid IPv6 address (9006)")
		}
	case "CNAME", "NS", "PTR":
		if content == "" || strings.ContainsAny(content, " /") {
			return fail("content for %s record must be a hostname (9007)", typ)
		}
	}
	return nil
}

// recordName makes a record name absolute, as the API stores it.
func (w *World) recordName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "@" {
		return w.opts.ZoneName
	}
	return name
}

func createRecord(t *task) (string, error) {
	if err := t.record(""); err != nil {
		return "", err
	}
	typ := text(t.in, "type")
	t.out["createdOn"], t.out["modifiedOn"], t.out["meta"] = stamp(), stamp(), "{}"
	t.out["proxiable"] = typ == "A" || typ == "AAAA" || typ == "CNAME"
	t.out["commentModifiedOn"], t.out["tagsModifiedOn"] = "", ""
	return hexID(32), nil
}

func updateRecord(t *task, o *object) error {
	t.out["modifiedOn"] = stamp()
	return t.record(o.ID)
}

// record refuses what the zone does not take.
func (t *task) record(self string) error {
	if err := t.zone(); err != nil {
		return err
	}
	name, zone := t.w.recordName(text(t.in, "name")), t.w.opts.ZoneName
	if name != zone && !strings.HasSuffix(name, "."+zone) {
		return fail("DNS name is invalid: %q is not in zone %s; give the whole name (9000)", name, zone)
	}
	typ := text(t.in, "type")
	if text(t.in, "content") == "" && section(t.in, "data") == nil {
		return fail("content or data is required (9005)")
	}
	if flag(t.in, "proxied") && text(t.in, "content") != "" && (typ == "A" || typ == "AAAA") {
		if a, err := netip.ParseAddr(text(t.in, "content")); err == nil && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || policyfile.EveryNode.Contains(a)) {
			return fail("target %s is not allowed for a proxied record (9003)", a)
		}
	}
	if len(texts(t.in, "tags")) > 0 && t.w.opts.ZonePlan == "free" {
		return fail("DNS record has 1 tag, exceeding the quota of 0 (9303)")
	}
	longest := 500
	if t.w.opts.ZonePlan == "free" {
		longest = 100
	}
	if len(text(t.in, "comment")) > longest {
		return fail("DNS record comment is too long (9308)")
	}
	for _, o := range t.w.all(typeDNSRecord) {
		if o.ID == self || t.w.recordName(text(o.live(), "name")) != name {
			continue
		}
		other := text(o.live(), "type")
		switch {
		case other == typ && text(o.live(), "content") == text(t.in, "content") && section(t.in, "data") == nil:
			return fail("an identical record already exists. (81058)")
		case typ == "CNAME" && (other == "A" || other == "AAAA" || other == "CNAME"):
			return fail("an A, AAAA, or CNAME record with that host already exists. (81053)")
		case other == "CNAME" && (typ == "A" || typ == "AAAA"):
			return fail("an A, AAAA, or CNAME record with that host already exists. (81053)")
		}
	}
	return nil
}
