package simcloud

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var zoneID = strings.Repeat("0", 32)

func zoned(plan string, change ...func(*Options)) (*World, Options) {
	o := Options{ZonePlan: plan}
	for _, c := range change {
		c(&o)
	}
	return New(o), o
}

func TestZoneSettings(t *testing.T) {
	w, _ := zoned("free")
	e := clouds(t, w)("cloudflare")
	in := m{"zoneId": zoneID, "settingId": "ssl", "value": "strict"}
	assert.Contains(t, e.refusals(typeZoneSetting, with(in, m{"zoneId": nil}))[0], "zone_id")
	assert.Contains(t, e.refuse(typeZoneSetting, "s", with(in, m{"zoneId": "f"})), "7003")
	assert.Contains(t, e.refuse(typeZoneSetting, "s", with(in, m{"settingId": "tls"})), "undefined zone setting")
	assert.Contains(t, e.refuse(typeZoneSetting, "s", with(in, m{"value": "strictest"})), "invalid value")
	assert.Contains(t, e.refuse(typeZoneSetting, "s", with(in, m{"settingId": "polish", "value": "off"})), "not allowed to edit")
	s := e.create(typeZoneSetting, "s", in)
	assert.Contains(t, e.refuse(typeZoneSetting, "again", in), "managed by another resource")
	require.NoError(t, e.update(s, with(in, m{"value": "full"})))
	assert.Equal(t, []string{"settingId"}, e.diff(s, with(in, m{"settingId": "ipv6", "value": "full"})).GetReplaces())
	assert.Empty(t, w.Residue())
	require.NoError(t, e.delete(s))
	assert.Empty(t, w.Inventory())
	assert.Equal(t, []Entity{{typeZoneSetting, typeZoneSetting + "/ssl", "s"}}, w.Residue(), "the value stays live")

	assert.Contains(t, e.refusals(typeNormalization, m{"zoneId": zoneID, "type": "x", "scope": "both"})[0], "one of")
	n := e.create(typeNormalization, "n", m{"zoneId": zoneID, "type": "cloudflare", "scope": "both"})
	require.NoError(t, e.delete(n))
}

func rulesetIn(phase string, rules ...any) m {
	return m{"zoneId": zoneID, "kind": "zone", "name": "n", "phase": phase, "rules": rules}
}

func customRule(n int, change m) m {
	return with(m{"ref": fmt.Sprint("r", n), "action": "block", "expression": `(ip.src.country eq "XX")`, "enabled": true}, change)
}

func TestRulesets(t *testing.T) {
	w, _ := zoned("free")
	e := clouds(t, w)("cloudflare")
	r := e.create(typeRuleset, "waf", rulesetIn(phaseCustom, customRule(1, nil)))
	assert.Equal(t, "1", r.out["version"])
	assert.Contains(t, e.refuse(typeRuleset, "again", rulesetIn(phaseCustom)), "20217")
	require.NoError(t, e.update(r, rulesetIn(phaseCustom, customRule(1, nil), customRule(2, nil))))
	assert.Equal(t, "2", r.out["version"])
	d := e.diff(r, with(rulesetIn(phaseCustom, customRule(1, nil), customRule(2, nil)), m{"name": "other"}))
	assert.Equal(t, []string{"name"}, d.GetReplaces())
	assert.False(t, d.GetDeleteBeforeReplace(), "the program must ask for it")
	require.NoError(t, e.delete(r))
	e.create(typeRuleset, "again", rulesetIn(phaseCustom))

	taken := clouds(t, New(Options{Rulesets: []string{phaseCustom}}))("cloudflare")
	assert.Contains(t, taken.refuse(typeRuleset, "waf", rulesetIn(phaseCustom)), "20217", "left by the dashboard")
}

func TestRulesetLimitsOfPlans(t *testing.T) {
	limit := func(change m) m {
		return m{"ref": "l", "action": "block", "expression": `(http.request.uri.path eq "/login")`, "ratelimit": with(m{
			"characteristics": []any{"cf.colo.id", "ip.src"}, "period": 10.0, "requestsPerPeriod": 50.0, "mitigationTimeout": 10.0}, change)}
	}
	managed := func(id string) m {
		return m{"ref": "m", "action": "execute", "expression": "true", "actionParameters": m{"id": id}}
	}
	cached := func(n int) (out []any) {
		for i := range n {
			out = append(out, m{
				"ref": fmt.Sprint("c", i), "action": "set_cache_settings", "expression": `http.host in {"a" "b"}`, "actionParameters": m{"cache": false},
			})
		}
		return out
	}
	many := func(n int) (out []any) {
		for i := range n {
			out = append(out, customRule(i, nil))
		}
		return out
	}
	for _, c := range []struct {
		plan  string
		in    m
		want  string
		since string // a plan that allows it; "" none needed
	}{
		{"free", rulesetIn(phaseCustom, many(6)...), "maximum number of rules", "pro"},
		{"pro", rulesetIn(phaseCustom, many(21)...), "maximum number of rules", "business"},
		{"free", rulesetIn(phaseCache, cached(11)...), "maximum number of rules", "pro"},
		{"pro", rulesetIn(phaseCache, cached(26)...), "maximum number of rules", "business"},
		{"business", rulesetIn(phaseCache, cached(51)...), "maximum number of rules", "enterprise"},
		{"enterprise", rulesetIn(phaseCache, cached(301)...), "maximum number of rules", ""},
		{"free", rulesetIn(phaseCache, customRule(1, nil)), "not allowed in the phase", ""},
		{"free", rulesetIn(phaseCache, m{"ref": "c", "action": "set_cache_settings", "expression": "true"}), "needs action parameters", ""},
		{"free", rulesetIn(phaseCustom, customRule(1, m{"action": "set_cache_settings"})), "not allowed in the phase", ""},
		{"free", rulesetIn(phaseCustom, customRule(1, m{"action": "log"})), "action log is not available", "enterprise"},
		{"pro", rulesetIn(phaseCustom, customRule(1, m{"expression": `http.host matches "a.*"`})), "operator matches", "business"},
		{"free", rulesetIn(phaseRateLimit, limit(nil), with(limit(nil), m{"ref": "x"})), "maximum number of rules", "pro"},
		{"free", rulesetIn(phaseRateLimit, limit(m{"period": 60.0})), "period 60", "pro"},
		{"free", rulesetIn(phaseRateLimit, limit(m{"mitigationTimeout": 60.0})), "mitigation timeout 60", "pro"},
		{"free", rulesetIn(phaseRateLimit, with(limit(nil), m{"expression": `(http.host eq "a")`})), "field http.host", "pro"},
		{"free", rulesetIn(phaseRateLimit, limit(m{"characteristics": []any{"ip.src"}})), "cf.colo.id", ""},
		{"free", rulesetIn(phaseRateLimit, customRule(1, nil)), "needs ratelimit", ""},
		{"free", rulesetIn(phaseManaged, managed("efb7b8c949ac4650a09736fc376e9aee")), "not available on plan free", "pro"},
		{"free", rulesetIn(phaseCustom, customRule(1, nil), customRule(1, nil)), "not unique", ""},
		{"free", rulesetIn(phaseCustom, customRule(1, m{"action": "execute"})), "not allowed in the phase", ""},
		{"free", rulesetIn(phaseCustom, customRule(1, m{"action": "skip"})), "needs action parameters", ""},
	} {
		w, _ := zoned(c.plan)
		assert.Contains(t, clouds(t, w)("cloudflare").refuse(typeRuleset, "r", c.in), c.want)
		if c.since != "" {
			w, _ := zoned(c.since)
			clouds(t, w)("cloudflare").create(typeRuleset, "r", c.in)
		}
	}
	w, _ := zoned("free")
	e := clouds(t, w)("cloudflare")
	e.create(typeRuleset, "c", rulesetIn(phaseCustom, customRule(1, m{"expression": `http.host eq "x matches y"`})))
	e.create(typeRuleset, "l", rulesetIn(phaseRateLimit, limit(nil)))
	e.create(typeRuleset, "m", rulesetIn(phaseManaged, managed(freeManagedRuleset)))
	e.create(typeRuleset, "s", rulesetIn(phaseCache, cached(10)...))
	for want, in := range map[string]m{
		"open parenthesis":    rulesetIn(phaseCustom, customRule(1, m{"expression": "(a"})),
		"unterminated string": rulesetIn(phaseCustom, customRule(1, m{"expression": `a eq "b`})),
		"never opened":        rulesetIn(phaseCustom, customRule(1, m{"expression": "a)"})),
		"is empty":            rulesetIn(phaseCustom, customRule(1, m{"expression": " "})),
		"one of":              rulesetIn(phaseCustom, customRule(1, m{"action": "explode"})),
		"phase to be one of":  rulesetIn("http_request"),
		"exactly one of":      with(rulesetIn(phaseCustom), m{"accountId": "x"}),
	} {
		assert.Contains(t, strings.Join(e.refusals(typeRuleset, in), "\n"), want)
	}
}

func TestDNSRecords(t *testing.T) {
	w, _ := zoned("free")
	e := clouds(t, w)("cloudflare")
	in := m{"zoneId": zoneID, "name": "a.example.com", "type": "A", "content": "198.51.100.7", "ttl": 1.0, "proxied": true}
	for want, change := range map[string]m{
		"ttl must be set to 1": {"ttl": 300.0},
		"between 30 and 86400": {"ttl": 5.0, "proxied": false},
		"valid IPv4":           {"content": "example.org"},
		"valid IPv6":           {"type": "AAAA"},
		"cannot be proxied":    {"type": "TXT"},
		"type to be one of":    {"type": "ANAME"},
		"only one of content":  {"data": m{"value": "x"}},
		"zone_id":              {"zoneId": nil},
	} {
		assert.Contains(t, strings.Join(e.refusals(typeDNSRecord, with(in, change)), "\n"), want)
	}
	for want, change := range map[string]m{
		"is not in zone":            {"name": "a.example.org"},
		"is not in zone example":    {"name": "a"},
		"not allowed for a proxied": {"content": "100.64.0.1"},
		"exceeding the quota":       {"tags": []any{"a:b"}},
		"too long":                  {"comment": strings.Repeat("x", 101)},
		"content or data":           {"content": nil},
	} {
		assert.Contains(t, e.refuse(typeDNSRecord, "r", with(in, change)), want)
	}
	rec := e.create(typeDNSRecord, "r", in)
	assert.Contains(t, e.refuse(typeDNSRecord, "r2", in), "81058")
	assert.Contains(t, e.refuse(typeDNSRecord, "r2", with(in, m{"type": "CNAME", "content": "b.example.com"})), "81053")
	e.create(typeDNSRecord, "second", with(in, m{"content": "198.51.100.8"}))
	e.create(typeDNSRecord, "cname", with(in, m{"name": "b.example.com", "type": "CNAME", "content": "a.example.com", "proxied": false}))
	assert.Contains(t, e.refuse(typeDNSRecord, "r3", with(in, m{"name": "b.example.com"})), "81053")
	e.create(typeDNSRecord, "tailnet", with(in, m{"name": "c.example.com", "content": "100.101.0.9", "proxied": false, "ttl": 300.0}))
	e.create(typeDNSRecord, "node", with(in, m{"name": "d.example.com", "type": "CNAME", "content": "homelab.tail1234.ts.net", "proxied": false}))
	assert.Equal(t, []string{"a.example.com", "b.example.com"}, w.PublicHostnames())
	assert.Len(t, w.DNSRecords(), 5)
	assert.Equal(t, DNSRecord{"a.example.com", "A", "198.51.100.7", true}, w.DNSRecords()[0])
	assert.Equal(t, []string{"type"}, e.diff(rec, with(in, m{"type": "AAAA", "content": "2001:db8::1"})).GetReplaces())
	require.NoError(t, e.update(rec, with(in, m{"content": "198.51.100.9"})))
	require.NoError(t, e.delete(rec))
	assert.Len(t, w.DNSRecords(), 4)
}

func TestOriginPulls(t *testing.T) {
	w, _ := zoned("free")
	connect := clouds(t, w)
	e, keys := connect("cloudflare"), connect("tls", m{})
	key := keys.create(typePrivateKey, "k", m{"algorithm": "ECDSA", "ecdsaCurve": "P256"})
	other := keys.create(typePrivateKey, "o", m{"algorithm": "ECDSA", "ecdsaCurve": "P256"})
	cert := keys.create(typeSelfSigned, "c", m{"privateKeyPem": key.out["privateKeyPem"], "allowedUses": []any{"client_auth"}, "validityPeriodHours": 24.0})
	in := m{"zoneId": zoneID, "certificate": cert.out["certPem"], "privateKey": key.out["privateKeyPem"]}
	assert.Contains(t, e.refuse(typePullCert, "p", with(in, m{"privateKey": other.out["privateKeyPem"]})), "not a valid pair")
	assert.Contains(t, e.refuse(typePullCert, "p", with(in, m{"certificate": "x"})), "not a valid pair")
	renewed := keys.create(typeSelfSigned, "e", m{"privateKeyPem": key.out["privateKeyPem"], "allowedUses": []any{"client_auth"}, "validityPeriodHours": 48.0})
	p := e.create(typePullCert, "p", in)
	assert.Equal(t, "active", p.out["status"])
	assert.True(t, e.read(p.props)["privateKey"].IsSecret())
	assert.NotEmpty(t, e.diff(p, with(in, m{"certificate": renewed.out["certPem"]})).GetReplaces())

	s := e.create(typePullSettings, "s", m{"zoneId": zoneID, "enabled": true})
	require.ErrorContains(t, e.delete(p), "in use by enabled origin pulls")
	require.NoError(t, e.delete(s))
	require.NoError(t, e.delete(p))
	assert.Equal(t, typePullSettings, w.Residue()[0].Type)
}

func TestOriginCA(t *testing.T) {
	w, _ := zoned("free")
	connect := clouds(t, w)
	e, keys := connect("cloudflare"), connect("tls", m{})
	key := keys.create(typePrivateKey, "k", m{"algorithm": "ECDSA", "ecdsaCurve": "P256"})
	csr := keys.create(typeCertRequest, "r", m{"privateKeyPem": key.out["privateKeyPem"]})
	in := m{"csr": csr.out["certRequestPem"], "hostnames": []any{"example.com", "*.example.com"}, "requestType": "origin-ecc", "requestedValidity": 365.0}
	assert.Contains(t, e.refusals(typeOriginCA, with(in, m{"requestType": "rsa"}))[0], "one of")
	assert.Contains(t, e.refusals(typeOriginCA, with(in, m{"requestedValidity": 10.0}))[0], "must be one of")
	assert.Contains(t, e.refuse(typeOriginCA, "o", with(in, m{"csr": "x"})), "not PEM")
	assert.Contains(t, e.refuse(typeOriginCA, "o", with(in, m{"hostnames": []any{"example.org"}})), "not in a zone")
	o := e.create(typeOriginCA, "o", in)
	block, _ := pem.Decode([]byte(o.out["certificate"].(string)))
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, cert.VerifyHostname("requests.example.com"))
	require.NoError(t, cert.VerifyHostname("example.com"))
}

func TestCloudflareInvokes(t *testing.T) {
	w, _ := zoned("pro")
	e := clouds(t, w)("cloudflare")
	ranges, err := e.invoke("cloudflare:index/getIpRanges:getIpRanges", m{})
	require.NoError(t, err)
	assert.Len(t, ranges["ipv4Cidrs"], 15)
	assert.Len(t, ranges["ipv6Cidrs"], 7)
	for _, list := range []string{"ipv4Cidrs", "ipv6Cidrs"} {
		for _, r := range ranges[list].([]any) {
			p, err := netip.ParsePrefix(r.(string))
			require.NoError(t, err)
			assert.Equal(t, p.Masked(), p)
		}
	}
	zone, err := e.invoke("cloudflare:index/getZone:getZone", m{"zoneId": zoneID})
	require.NoError(t, err)
	assert.Equal(t, "example.com", zone["name"])
	assert.Equal(t, "active", zone["status"])
	assert.Equal(t, "pro", zone["plan"].(m)["legacyId"])
	_, err = e.invoke("cloudflare:index/getZone:getZone", m{"zoneId": "x"})
	require.ErrorContains(t, err, "does not exist")
	byName, err := e.invoke("cloudflare:index/getZone:getZone", m{"filter": m{"name": "example.com", "match": "all"}})
	require.NoError(t, err)
	assert.Equal(t, zoneID, byName["id"])
	_, err = e.invoke("cloudflare:index/getZone:getZone", m{})
	require.Error(t, err)
}
