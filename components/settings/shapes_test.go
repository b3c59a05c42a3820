package settings

import "testing"

func TestBadShapes(t *testing.T) { runBad(t, badShapes) }

// badShapes are mistakes of form: unknown keys, wrong types, nulls, and many at once.
var badShapes = []badCase{
	{"unknown-top-level", func(c *stackConfig) {
		c.set("homelab:timezon", "Etc/UTC").set("homelab:zoneId", "x").set("homelab:colour", "blue")
		c.set("homelab:cloudflareAcmetoken", "x")
		// Other programs may share the stack's file.
		c.set("other:key", "x")
	}},
	{"unknown-nested", func(c *stackConfig) {
		c.set("homelab:cloudflare.zoneID", "x").set("homelab:server.breakglass", object{})
		c.set("homelab:services.jelyfin", object{}).set("homelab:services.jellyfin.access.group", list{})
		c.set("homelab:users[0].e mail", "x").set("homelab:users[0].a.b", object{"c": 1})
		c.set("homelab:server.https", 443).set("homelab:server.zzz", 1)
	}},
	{"wrong-types", func(c *stackConfig) {
		c.set("homelab:cloudflare.plan", 1).set("homelab:cloudflare.rules", object{})
		c.set("homelab:ports.https", "443").set("homelab:ports.ssh", 22.5)
		c.set("homelab:server", "cx33").set("homelab:tailscale.overwritePolicy", "false")
		c.set("homelab:services.jellyfin", list{}).set("homelab:users[0].groups", "admins")
		c.set("homelab:storage.backup.snapshots.hour", true)
	}},
	{"wrong-types-in-lists", func(c *stackConfig) {
		c.set("homelab:tailscale.admins", list{"admin@example.com", 7, list{}})
		c.set("homelab:users", list{"admin", object{"name": 1, "email": "a@example.com", "groups": list{"admins", "users"}}})
	}},
	{"wrong-type-hides-nothing", func(c *stackConfig) {
		// In one object: a wrong type, an unknown key, a null and a wrong value.
		c.set("homelab:ports", object{"https": "443", "shh": 22, "ssh": nil, "tailscale": 70000})
	}},
	{"number-too-large", func(c *stackConfig) {
		c.set("homelab:ports.ssh", float64(1e30)).set("homelab:ports.tailscale", 1.5)
	}},
	{"nulls", func(c *stackConfig) {
		c.set("homelab:auth", nil).set("homelab:cloudflare.plan", nil).set("homelab:server.breakGlass", nil)
		c.set("homelab:services.jellyseerr.access", nil).set("homelab:tailscale.admins", list{nil, "admin@example.com"})
	}},
	{"null-text", func(c *stackConfig) { c.set("homelab:users", "null") }},
	{"not-json", func(c *stackConfig) {
		c.set("homelab:cloudflare", "free").set("homelab:ports", `{"https":443} trailing`).set("homelab:users", `[{"name":`)
	}},
	{"list-for-object", func(c *stackConfig) { c.set("homelab:networks", list{}).set("homelab:users", object{"name": "admin"}) }},
	{"everything", func(c *stackConfig) {
		clear(c.values)
		c.set("homelab:domain", "Example").set("homelab:timezone", "Mars/Olympus").set("homelab:protect", "1")
		c.set("homelab:adminEmail", "admin").set("homelab:domian", "example.com")
		c.set("homelab:cloudflare", object{
			"zoneId": "abc", "plan": "free", "blockedCountries": list{"ZZ"},
			"rateLimit": object{"periodSeconds": 60},
			"rules":     list{rule("a"), rule("a"), rule("b"), rule("c")},
		})
		c.set("homelab:tailscale", object{"tailnet": "home", "admins": list{}})
		c.set("homelab:server", object{"type": "big", "breakGlass": object{"cidr": "0.0.0.0/0"}})
		c.set("homelab:ports", object{"https": 22, "ssh": 22})
		c.set("homelab:networks", object{"gluetun": "172.30.1.0/25"})
		c.set("homelab:users", list{object{"name": "Bob", "groups": list{}}})
		c.set("homelab:auth", object{"hostname": "requests", "sessionExpiration": "30m"})
		c.set("homelab:services", object{"jellyfin": object{"visibility": "public"}, "sonarr": object{}})
		c.set("hcloud:token", "not-a-token-but-still-not-shown")
	}},
}
