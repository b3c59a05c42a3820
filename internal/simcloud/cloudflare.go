package simcloud

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	ranges "homelab/internal/cloudflare"
)

const (
	typeZoneSetting   = "cloudflare:index/zoneSetting:ZoneSetting"
	typeNormalization = "cloudflare:index/urlNormalizationSettings:UrlNormalizationSettings"
	typeRuleset       = "cloudflare:index/ruleset:Ruleset"
	typePullCert      = "cloudflare:index/authenticatedOriginPullsCertificate:AuthenticatedOriginPullsCertificate"
	typePullSettings  = "cloudflare:index/authenticatedOriginPullsSettings:AuthenticatedOriginPullsSettings"
	typeOriginCA      = "cloudflare:index/originCaCertificate:OriginCaCertificate"
	typeDNSRecord     = "cloudflare:index/dnsRecord:DnsRecord"
)

// gone404 is the error of a delete of what the API does not have any more.
const gone404 = "failed to make http request: DELETE %s: 404 Not Found {\"errors\": [{\"code\": 81044, \"message\": \"Record does not exist.\"}]}"

var _ = register(typeZoneSetting, &kind{
	replaces: []string{"zoneId", "settingId"}, framework: true, permanent: true, volatile: []string{"modifiedOn"},
	ask: requireZone, unfit: func(state, news resource.PropertyMap) error {
		if old, value := state["value"], news["value"]; !old.IsNull() && !value.IsNull() && !value.IsComputed() && old.TypeString() != value.TypeString() {
			return fail("value: the type of a dynamic attribute changed from %s to %s", old.TypeString(), value.TypeString())
		}
		return nil
	},
	create: func(t *task) (string, error) {
		if err := t.setZoneSetting(); err != nil {
			return "", err
		}
		return text(t.in, "settingId"), nil
	},
	update: func(t *task, _ *object) error { return t.setZoneSetting() },
	remove: func(t *task, o *object) error { t.disown(typeZoneSetting + "/" + o.ID); return nil },
	also:   sendsZone,
})

var _ = register(typeNormalization, &kind{
	replaces: []string{"zoneId"}, framework: true, gone: gone404,
	check: func(c *checking) {
		c.oneOf("type", "cloudflare", "rfc3986")
		c.oneOf("scope", "incoming", "both", "none")
	},
	create: func(t *task) (string, error) {
		if err := t.zone(); err != nil {
			return "", err
		}
		return text(t.in, "zoneId"), nil
	},
	update: func(t *task, _ *object) error { return t.zone() },
	also:   sendsZone,
})

var _ = register(typePullSettings, &kind{
	replaces: []string{"zoneId"}, framework: true, permanent: true,
	create: func(t *task) (string, error) {
		if err := t.setOriginPulls(); err != nil {
			return "", err
		}
		return text(t.in, "zoneId"), nil
	},
	update: func(t *task, _ *object) error { return t.setOriginPulls() },
	remove: func(t *task, _ *object) error { t.disown(typePullSettings); return nil },
	also:   sendsZone,
})

var _ = register(typePullCert, &kind{
	replaces: []string{"certificate", "zoneId"}, framework: true, gone: gone404, create: createPullCert, remove: removePullCert,
	also: sendsZone,
})

var _ = register(typeOriginCA, &kind{
	replaces: []string{"*"}, framework: true, gone: gone404, defaults: map[string]any{"requestedValidity": 5475.0},
	check: func(c *checking) {
		c.oneOf("requestType", "origin-rsa", "origin-ecc", "keyless-certificate")
		if v := c.news["requestedValidity"]; v.IsNumber() {
			switch v.NumberValue() {
			case 7, 30, 90, 365, 730, 1095, 5475:
			default:
				c.refuse("requestedValidity", "must be one of 7, 30, 90, 365, 730, 1095, 5475, got %.0f", v.NumberValue())
			}
		}
	},
	create: createOriginCA,
})

// requireZone refuses a missing zone: optional in the SDK's types, needed by the API.
func requireZone(c *checking) {
	if !c.has("zoneId") {
		c.refuse("zoneId", "missing required zone_id parameter")
	}
}

// zone refuses any zone but the one that exists.
func (t *task) zone() error {
	if id := text(t.in, "zoneId"); id != t.w.opts.ZoneID {
		return fail("could not route to /zones/%s, perhaps your object identifier is invalid? (403 Forbidden, 7003)", id)
	}
	return nil
}

func stamp() string { return now().Format(time.RFC3339) }

// zoneSettings are the settings that the API knows, with the values each takes;
// nil means a value with a structure of its own.
var zoneSettings = map[string][]any{
	"always_use_https": {"on", "off"}, "automatic_https_rewrites": {"on", "off"}, "brotli": {"on", "off"}, "browser_check": {"on", "off"},
	"development_mode": {"on", "off"}, "early_hints": {"on", "off"}, "email_obfuscation": {"on", "off"}, "hotlink_protection": {"on", "off"},
	"http2": {"on", "off"}, "http3": {"on", "off"}, "ip_geolocation": {"on", "off"}, "ipv6": {"on", "off"},
	"min_tls_version": {"1.0", "1.1", "1.2", "1.3"}, "opportunistic_encryption": {"on", "off"}, "opportunistic_onion": {"on", "off"},
	"replace_insecure_js": {"on", "off"}, "rocket_loader": {"on", "off"}, "security_header": nil, "browser_cache_ttl": nil,
	"security_level": {"off", "essentially_off", "low", "medium", "high", "under_attack"}, "server_side_exclude": {"on", "off"},
	"ssl": {"off", "flexible", "full", "strict", "origin_pull"}, "tls_1_3": {"on", "off", "zrt"}, "tls_client_auth": {"on", "off"},
	"websockets": {"on", "off"}, "0rtt": {"on", "off"}, "privacy_pass": {"on", "off"}, "cache_level": {"aggressive", "basic", "simplified"},
	"challenge_ttl": nil, "ciphers": nil, "always_online": {"on", "off"}, "pseudo_ipv4": {"off", "add_header", "overwrite_header"},
	"sort_query_string_for_cache": {"on", "off"}, "true_client_ip_header": {"on", "off"}, "waf": {"on", "off"}, "polish": {"off", "lossless", "lossy"},
	"webp": {"on", "off"}, "mirage": {"on", "off"}, "max_upload": nil, "minify": nil, "nel": nil, "ech": {"on", "off"},
	"response_buffering": {"on", "off"}, "prefetch_preload": {"on", "off"}, "h2_prioritization": {"on", "off", "custom"},
	"image_resizing": {"on", "off", "open"}, "proxy_read_timeout": nil, "ssl_recommender": nil, "fonts": {"on", "off"}, "speed_brain": {"on", "off"},
	"orange_to_orange": {"on", "off"}, "origin_error_page_pass_thru": {"on", "off"}, "transformations": {"on", "off", "open"},
}

// paidSettings are refused on the plan named and those below it.
var paidSettings = map[string][]string{
	"polish": {"free"}, "webp": {"free"}, "mirage": {"free"}, "h2_prioritization": {"free"}, "image_resizing": {"free"},
	"waf": {"free"}, "ciphers": {"free", "pro"}, "sort_query_string_for_cache": {"free", "pro", "business"},
	"true_client_ip_header": {"free", "pro", "business"}, "response_buffering": {"free", "pro", "business"},
	"prefetch_preload": {"free", "pro", "business"}, "proxy_read_timeout": {"free", "pro", "business"},
	"origin_error_page_pass_thru": {"free", "pro", "business"},
}

func (t *task) setZoneSetting() error {
	if err := t.zone(); err != nil {
		return err
	}
	id := text(t.in, "settingId")
	allowed, known := zoneSettings[id]
	if !known {
		return fail("undefined zone setting: %s (1006)", id)
	}
	if contains(paidSettings[id], t.w.opts.ZonePlan) {
		return fail("not allowed to edit setting for %s (1007)", id)
	}
	if allowed != nil {
		ok := false
		for _, a := range allowed {
			ok = ok || a == t.in["value"]
		}
		if !ok {
			return fail("invalid value for zone setting %s: %v (1007)", id, t.in["value"])
		}
	}
	for _, o := range t.w.all(typeZoneSetting) {
		if o.ID == id && o.URN != t.urn {
			return fail("zone setting %s is managed by another resource, %s", id, o.Name)
		}
	}
	t.out["editable"], t.out["modifiedOn"], t.out["timeRemaining"] = true, stamp(), float64(0)
	t.own(typeZoneSetting+"/"+id, t.in["value"])
	return nil
}

func (t *task) setOriginPulls() error {
	if err := t.zone(); err != nil {
		return err
	}
	t.own(typePullSettings, t.in["enabled"])
	return nil
}

// originPullsEnabled reports the live zone-level setting.
func (w *World) originPullsEnabled() bool {
	r := w.state.Settings[typePullSettings]
	if r == nil {
		return false
	}
	on, _ := r.Value.(bool)
	return on
}

func createPullCert(t *task) (string, error) {
	if err := t.zone(); err != nil {
		return "", err
	}
	pair, err := tls.X509KeyPair([]byte(text(t.in, "certificate")), []byte(text(t.in, "privateKey")))
	if err != nil {
		return "", fail("the certificate and key are not a valid pair (1412): %v", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return "", fail("the certificate is not valid (1412): %v", err)
	}
	if now().After(leaf.NotAfter) {
		return "", fail("the certificate has expired (1413)")
	}
	id := hexID(8) + "-" + hexID(4) + "-4" + hexID(3) + "-8" + hexID(3) + "-" + hexID(12)
	t.out = map[string]any{
		"certificateId": id, "enabled": t.w.originPullsEnabled(), "expiresOn": leaf.NotAfter.UTC().Format(time.RFC3339),
		"issuer": leaf.Issuer.String(), "serialNumber": leaf.SerialNumber.String(), "signature": leaf.SignatureAlgorithm.String(),
		"status": "active", "uploadedOn": stamp(),
	}
	return id, nil
}

// removePullCert refuses to take away the only certificate of enabled origin
// pulls: what Cloudflare would present to the origin then is not documented.
func removePullCert(t *task, o *object) error {
	if t.w.originPullsEnabled() && len(t.w.all(typePullCert)) == 1 && t.w.get(typePullSettings, "", t.w.opts.ZoneID) != nil {
		return fail("certificate %s is in use by enabled origin pulls", o.ID)
	}
	return nil
}

func createOriginCA(t *task) (string, error) {
	block, _ := pem.Decode([]byte(text(t.in, "csr")))
	if block == nil {
		return "", fail("the CSR is not PEM (1010)")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return "", fail("the CSR is not valid (1010): %v", err)
	}
	names := texts(t.in, "hostnames")
	for _, n := range names {
		if bare := strings.TrimPrefix(n, "*."); bare != t.w.opts.ZoneName && !strings.HasSuffix(bare, "."+t.w.opts.ZoneName) {
			return "", fail("hostname %q is not in a zone of the account (1010)", n)
		}
	}
	days := number(t.in, "requestedValidity")
	if days == 0 {
		days = 5475
	}
	ca, err := t.w.originCA()
	if err != nil {
		return "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 150))
	if err != nil {
		return "", fail("making a serial number: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: csr.Subject, DNSNames: names, NotBefore: now().Add(-5 * time.Minute),
		NotAfter: now().Add(time.Duration(days) * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		return "", fail("signing the certificate: %v", err)
	}
	t.out["certificate"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	t.out["expiresOn"] = template.NotAfter.Format(time.RFC3339)
	return serial.String(), nil
}

func init() {
	functions["cloudflare:index/getIpRanges:getIpRanges"] = func(t *task) (map[string]any, error) {
		if n := text(t.in, "networks"); n != "" {
			return nil, fail("networks %q is not simulated", n)
		}
		return map[string]any{
			"id": "cloudflare_ip_ranges", "etag": "38f79d050aa027e3be3865e495dcc9bc", "ipv4Cidrs": anyList(ranges.IPv4()),
			"ipv6Cidrs": anyList(ranges.IPv6()), "jdcloudCidrs": []any{},
		}, nil
	}
	functions["cloudflare:index/getZone:getZone"] = getZone
}

func getZone(t *task) (map[string]any, error) {
	id := text(t.in, "zoneId")
	filter := section(t.in, "filter")
	if (id == "") == (filter == nil) {
		return nil, fail("exactly one of these attributes must be configured: [zone_id,filter]")
	}
	if id != "" && id != t.w.opts.ZoneID || filter != nil && text(filter, "name") != t.w.opts.ZoneName {
		return nil, fail("invalid object identifier: zone %q does not exist (404 Not Found, 1001)", id+text(filter, "name"))
	}
	names := map[string]string{"free": "Free Website", "pro": "Pro Website", "business": "Business Website", "enterprise": "Enterprise Website"}
	plan := t.w.opts.ZonePlan
	out := map[string]any{
		"id": t.w.opts.ZoneID, "zoneId": t.w.opts.ZoneID, "name": t.w.opts.ZoneName, "status": "active", "paused": false, "type": "full",
		"account":     map[string]any{"id": strings.Repeat("a", 32), "name": "simulated account"},
		"nameServers": []any{"ada.ns.cloudflare.com", "bob.ns.cloudflare.com"}, "originalNameServers": []any{}, "vanityNameServers": []any{},
		"activatedOn": stamp(), "createdOn": stamp(), "modifiedOn": stamp(), "developmentMode": float64(0), "permissions": []any{},
		"originalDnshost": "", "originalRegistrar": "", "cnameSuffix": "", "verificationKey": "",
		"meta": map[string]any{"cdnOnly": false, "customCertificateQuota": float64(0), "dnsOnly": false, "foundationDns": false,
			"pageRuleQuota": float64(3), "phishingDetected": false, "step": float64(4)},
		"owner": map[string]any{"id": "", "name": "", "type": "user"}, "tenant": map[string]any{"id": "", "name": ""}, "tenantUnit": map[string]any{"id": ""},
		"plan": map[string]any{"id": fmt.Sprintf("%032x", len(plan)), "name": names[plan], "legacyId": plan, "price": float64(0), "currency": "USD",
			"frequency": "", "isSubscribed": plan != "free", "canSubscribe": false, "legacyDiscount": false, "externallyManaged": false},
	}
	if filter != nil {
		out["filter"] = filter
	}
	return out, nil
}
