package simcloud

import (
	"context"

	"homelab/internal/rehearsal"
)

// sendsZone are the acts of everything that is part of the zone.
var sendsZone = &acts{create: sendZone, update: sendZone, removed: sendZone}

// sendZone sends the zone as it is declared now, once at a time, so that what is sent last was true
// last.
func sendZone(ctx context.Context, t *task, _ *object) error {
	w := t.w
	w.zones.Lock()
	defer w.zones.Unlock()
	w.mu.Lock()
	zone := w.rehearsedZone()
	w.mu.Unlock()
	return w.opts.Machines.SetZone(ctx, zone)
}

// rehearsedZone describes the zone. It expects w.mu to be held.
func (w *World) rehearsedZone() rehearsal.Zone {
	out := rehearsal.Zone{
		ID: w.opts.ZoneID, Name: w.opts.ZoneName, Plan: w.opts.ZonePlan, Records: []rehearsal.Record{}, Settings: map[string]any{},
		Rulesets: []rehearsal.Ruleset{}, OriginPulls: w.originPullsEnabled(), Certificates: []rehearsal.ClientCertificate{},
	}
	for _, o := range w.all(typeDNSRecord) {
		live := o.live()
		out.Records = append(out.Records, rehearsal.Record{
			Name: w.recordName(text(live, "name")), Type: text(live, "type"), Content: text(live, "content"), Proxied: flag(live, "proxied"),
		})
	}
	// A setting stays when its resource goes.
	for _, r := range w.state.Settings {
		if r.Type == typeZoneSetting {
			out.Settings[r.ID[len(typeZoneSetting+"/"):]] = r.Value
		}
	}
	for _, o := range w.all(typeNormalization) {
		out.Normalization = &rehearsal.Normalization{Type: text(o.live(), "type"), Scope: text(o.live(), "scope")}
	}
	for _, o := range w.all(typeRuleset) {
		live := o.live()
		set := rehearsal.Ruleset{Phase: text(live, "phase"), Rules: []rehearsal.ZoneRule{}}
		for _, r := range objects(live, "rules") {
			set.Rules = append(set.Rules, zoneRule(r))
		}
		out.Rulesets = append(out.Rulesets, set)
	}
	for _, o := range w.all(typePullCert) {
		live := o.live()
		out.Certificates = append(out.Certificates, rehearsal.ClientCertificate{
			ID: o.ID, Certificate: text(live, "certificate"), PrivateKey: text(live, "privateKey"),
		})
	}
	return out
}

// zoneRule reads a rule of a ruleset. One that does not say whether it is enabled is.
func zoneRule(r map[string]any) rehearsal.ZoneRule {
	out := rehearsal.ZoneRule{
		Ref: text(r, "ref"), Description: text(r, "description"), Expression: text(r, "expression"), Action: text(r, "action"),
		Enabled: r["enabled"] == nil || flag(r, "enabled"), Parameters: section(r, "actionParameters"),
	}
	if limit := section(r, "ratelimit"); limit != nil {
		out.RateLimit = &rehearsal.RateLimit{
			Characteristics: texts(limit, "characteristics"), Requests: int(number(limit, "requestsPerPeriod")),
			PeriodSeconds: int(number(limit, "period")), BlockSeconds: int(number(limit, "mitigationTimeout")), Counting: text(limit, "countingExpression"),
		}
	}
	return out
}
