package simcloud

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// theZone is the ID of the zone that a world has by default.
var theZone = strings.Repeat("0", 32)

func TestTheZoneReachesTheRehearsal(t *testing.T) {
	f := newRealFleet(t)
	e, keys := f.connect("cloudflare"), f.connect("tls", m{})
	zone := func() rehearsal.Zone { return f.rack.zone }

	ssl := e.create(typeZoneSetting, "ssl", m{"zoneId": theZone, "settingId": "ssl", "value": "full"})
	assertAsked(t, f.rack, "zone "+theZone)
	assert.Equal(t, "example.com free", zone().Name+" "+zone().Plan)
	assert.Equal(t, map[string]any{"ssl": "full"}, zone().Settings)
	require.NoError(t, e.update(ssl, m{"zoneId": theZone, "settingId": "ssl", "value": "strict"}))
	require.NoError(t, e.delete(ssl))
	assert.Equal(t, map[string]any{"ssl": "strict"}, zone().Settings, "a setting stays when its resource goes")
	hsts := m{"strict_transport_security": m{"enabled": true, "max_age": 31536000.0}}
	e.create(typeZoneSetting, "hsts", m{"zoneId": theZone, "settingId": "security_header", "value": hsts})
	assert.Equal(t, map[string]any{"strict_transport_security": map[string]any{"enabled": true, "max_age": 31536000.0}}, zone().Settings["security_header"])

	normal := e.create(typeNormalization, "n", m{"zoneId": theZone, "type": "cloudflare", "scope": "both"})
	assert.Equal(t, &rehearsal.Normalization{Type: "cloudflare", Scope: "both"}, zone().Normalization)
	require.NoError(t, e.delete(normal))
	assert.Nil(t, zone().Normalization)

	limited := m{
		"ref": "l", "description": "d", "action": "block", "expression": `(http.request.uri.path eq "/login")`, "ratelimit": m{
			"characteristics": []any{"cf.colo.id", "ip.src"}, "period": 10.0, "requestsPerPeriod": 20.0, "mitigationTimeout": 10.0,
		},
	}
	rules := e.create(typeRuleset, "l", rulesetIn(phaseRateLimit, limited))
	assert.Equal(t, []rehearsal.Ruleset{{Phase: phaseRateLimit, Rules: []rehearsal.ZoneRule{{
		Ref: "l", Description: "d", Action: "block", Expression: `(http.request.uri.path eq "/login")`, Enabled: true,
		RateLimit: &rehearsal.RateLimit{Characteristics: []string{"cf.colo.id", "ip.src"}, Requests: 20, PeriodSeconds: 10, BlockSeconds: 10},
	}}}}, zone().Rulesets)
	require.NoError(t, e.update(rules, rulesetIn(phaseRateLimit, with(limited, m{"enabled": false}))))
	assert.False(t, zone().Rulesets[0].Rules[0].Enabled)
	require.NoError(t, e.delete(rules))
	assert.Empty(t, zone().Rulesets)
	uncached := m{"ref": "c", "action": "set_cache_settings", "expression": "true", "actionParameters": m{"cache": false}}
	e.create(typeRuleset, "c", rulesetIn(phaseCache, uncached))
	assert.Equal(t, map[string]any{"cache": false}, zone().Rulesets[0].Rules[0].Parameters)

	key := keys.create(typePrivateKey, "k", m{"algorithm": "ECDSA", "ecdsaCurve": "P256"})
	cert := keys.create(typeSelfSigned, "c", m{"privateKeyPem": key.out["privateKeyPem"], "allowedUses": []any{"client_auth"}, "validityPeriodHours": 24.0})
	pull := e.create(typePullCert, "p", m{"zoneId": theZone, "certificate": cert.out["certPem"], "privateKey": key.out["privateKeyPem"]})
	assert.False(t, zone().OriginPulls)
	assert.Equal(t, []rehearsal.ClientCertificate{
		{ID: pull.id, Certificate: cert.out["certPem"].(string), PrivateKey: key.out["privateKeyPem"].(string)},
	}, zone().Certificates)
	on := e.create(typePullSettings, "s", m{"zoneId": theZone, "enabled": true})
	assert.True(t, zone().OriginPulls)
	require.ErrorContains(t, e.delete(pull), "in use by enabled origin pulls")
	require.NoError(t, e.delete(on))
	require.NoError(t, e.delete(pull))
	assert.Empty(t, zone().Certificates)
}

func TestARecordIsThereAsLongAsItIsDeclared(t *testing.T) {
	f := newRealFleet(t)
	e := f.connect("cloudflare")
	in := m{"zoneId": theZone, "name": "Requests.example.com", "type": "A", "content": "198.51.100.7", "ttl": 1.0, "proxied": true}
	record := e.create(typeDNSRecord, "r", in)
	assert.Equal(t, []rehearsal.Record{{Name: "requests.example.com", Type: "A", Content: "198.51.100.7", Proxied: true}}, f.rack.zone.Records)
	require.NoError(t, e.update(record, with(in, m{"content": "198.51.100.8"})))
	assert.Equal(t, "198.51.100.8", f.rack.zone.Records[0].Content)
	f.rack.since()
	require.NoError(t, e.delete(record))
	assertAsked(t, f.rack, "zone "+theZone)
	assert.Empty(t, f.rack.zone.Records)
}

func TestWhatTheRehearsalsZoneDoesNotTakeIsNotThere(t *testing.T) {
	f := newRealFleet(t)
	e := f.connect("cloudflare")
	setting := e.create(typeZoneSetting, "ssl", m{"zoneId": theZone, "settingId": "ssl", "value": "strict"})
	f.rack.failures["zone"] = errors.New("zone example.com: rule x: the field cf.threat_score is not part of a rehearsal")
	assert.Contains(t, e.refuse(typeRuleset, "r", rulesetIn(phaseCustom, customRule(1, nil))), "cf.threat_score is not part of a rehearsal")
	assert.Contains(t, e.refuse(typeZoneSetting, "tls", m{"zoneId": theZone, "settingId": "tls_1_3", "value": "on"}), "not part of a rehearsal")
	require.ErrorContains(t, e.update(setting, m{"zoneId": theZone, "settingId": "ssl", "value": "full"}), "not part of a rehearsal")
	delete(f.rack.failures, "zone")
	e.create(typeNormalization, "n", m{"zoneId": theZone, "type": "cloudflare", "scope": "both"})
	assert.Empty(t, f.rack.zone.Rulesets)
	assert.Equal(t, map[string]any{"ssl": "strict"}, f.rack.zone.Settings)

	assert.Contains(t, e.refuse(typeOriginCA, "o", m{
		"csr": "x", "hostnames": []any{"example.com"}, "requestType": "origin-ecc", "requestedValidity": 365.0,
	}), "is not part of a rehearsal on machines", "nobody in the rehearsal believes its authority")
}
