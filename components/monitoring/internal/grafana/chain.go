package grafana

import (
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/rules"
)

// chain shows what stands between the internet and the services, and what it does.
func chain(m watch.Model) dashboard {
	b := newBoard(chainUID, "Security chain", "What stands between the internet and the services, and what it does.", "now-6h")
	b.row("Who may talk to whom")
	b.add(24, mapHeight(m), text("", connections(m)))
	b.row("State")
	b.add(4, 4,
		stat("Without a verdict", "Requests of the last day on which AppSec gave no verdict. The proxy refused them.", counted(),
			query{orZero(sum(increase(series("homelab_guard_inspections_total", "verdict", "none"), "1d"))), ""}),
		stat("Partly inspected", "Requests of the last day of which AppSec saw the beginning: the rest was an upload, or a WebSocket.",
			look{unit: short, steps: plain(), none: "0"},
			query{orZero(sum(increase(series("homelab_guard_inspections_total", "verdict", "partial"), "1d"))), ""}),
		stat("Decisions at the proxy", "Addresses and ranges that the proxy refuses.", look{unit: short, steps: plain(), none: "unknown"}, query{"homelab_guard_decisions", ""}),
		stat("Failed pulls", "How often within an hour the proxy could not fetch decisions.", counted(),
			query{orZero(sum(increase(series("homelab_guard_lapi_pulls_total", "result", "error"), "1h"))), ""}),
		stat("Configuration", "Whether the proxy took its latest configuration.", look{words: yesNo("loaded", "refused", 1), steps: plain(), none: "unknown"},
			query{"caddy_config_last_reload_successful", ""}),
		stat("Origin pull certificate", "Until the certificate ends by which the proxy knows Cloudflare.",
			remaining(rules.OriginPullCritical, rules.OriginPullWarning, "unknown"), query{until("homelab_origin_pull_certificate_expiry_timestamp_seconds"), ""}),
		stat("Tailnet key", "Until the server's key for the tailnet ends.", remaining(rules.TailnetKeyCritical, rules.TailnetKeyWarning, "does not end"),
			query{until("homelab_tailnet_key_expiry_timestamp_seconds"), ""}),
	)
	b.row("Proxy")
	b.add(12, 8,
		stacked("Answers", "Answers to people, by status.", perSecond,
			query{sum(rate(series("caddy_http_request_duration_seconds_count", visitors("handler", "subroute")...)), "code"), "{{code}}"}),
		graph("Slow answers", "The time within which nine of ten answers begin.", seconds,
			query{quantile(0.9, series(answers+"_bucket", visitors()...), "hostname"), "{{hostname}}"}),
		stacked("Inspections", "How AppSec's inspections of requests ended. All but pass and partial refuse the request.", perSecond,
			query{sum(rate("homelab_guard_inspections_total"), "stage", "verdict"), "{{stage}}: {{verdict}}"}),
		stacked("Refused", "Requests that the proxy refused because of a decision, or because it had none yet.", perSecond,
			query{rate("homelab_guard_bans_total"), "banned"}, query{rate("homelab_guard_undecided_total"), "no decisions yet"}),
		graph("Pulls of decisions", "How often the proxy fetched decisions.", occurrencesPS,
			query{sum(rate("homelab_guard_lapi_pulls_total"), "result"), "{{result}}"}),
	)
	b.row("Detection")
	detection(b)
	b.row("Portal and bans")
	portal(b)
	b.row("Network")
	b.add(12, 9,
		stacked("Dropped packets", "Packets that the machine's filter dropped because they follow no declared connection.", occurrencesPS,
			query{sum(rate("homelab_filter_dropped_packets_total"), "from", "to"), "{{from}} → {{to}}"}),
		table("Dropped packets", "Who tried to talk to whom in the last day.", look{unit: short},
			sum(increase("homelab_filter_dropped_packets_total", "1d"), "from", "to")+" > 0", "Packets", "from", "From", "to", "To"),
	)
	b.row("Certificates")
	b.add(24, 9, table("Certificates", "What the origin shows visitors, and until when.", look{unit: seconds},
		"min by (hostname) ("+until("probe_ssl_earliest_cert_expiry")+")", "Left", "hostname", "Hostname"))
	return b.dashboard
}

// detection adds what CrowdSec says of itself.
func detection(b *board) {
	b.add(12, 8,
		graph("Decisions", "Decisions that hold, by where they come from.", short, query{sum("cs_active_decisions", "origin", "action"), "{{origin}}: {{action}}"}),
		table("Reasons", "Why somebody is banned.", look{unit: short}, sum("cs_active_decisions", "reason"), "Decisions", "reason", "Reason"),
		graph("AppSec", "Requests that AppSec saw and blocked.", perSecond,
			query{sum(rate("cs_appsec_reqs_total")), "seen"}, query{sum(rate("cs_appsec_block_total")), "blocked"}),
		graph("Questions of the proxy", "Requests of bouncers to CrowdSec.", perSecond, query{sum(rate("cs_lapi_bouncer_requests_total"), "bouncer"), "{{bouncer}}"}),
		graph("Log lines", "Lines that CrowdSec read, and those that a parser understood.", occurrencesPS,
			query{sum(rate("cs_parser_hits_total")), "read"}, query{sum(rate("cs_parser_hits_ok_total")), "understood"}),
		graph("Detected", "Scenarios that came to a conclusion, within an hour.", short, query{sum(increase("cs_bucket_overflowed_total", "1h"), "name"), "{{name}}"}),
	)
}

// portal adds logins, and who was banned for failing them.
func portal(b *board) {
	b.add(12, 8,
		graph("Logins", "Logins with a password at the portal, within an hour.", short,
			query{sum(increase(series("authelia_authn_duration_count", "success", "true"), "1h")), "succeeded"},
			query{sum(increase(series("authelia_authn_duration_count", "success", "false"), "1h")), "failed"}),
		stacked("Decisions of the portal", "What the portal answered when the proxy asked, by status: 200 lets in.", perSecond,
			query{sum(rate("authelia_authz"), "code"), "{{code}}"}),
		graph("Banned", "Addresses that Fail2ban bans, by jail.", short, query{"homelab_fail2ban_banned", "{{jail}}"}),
		graph("Failures", "Failures that Fail2ban counted within an hour, by jail.", short,
			query{increase("homelab_fail2ban_failed_total", "1h"), "{{jail}}"}),
	)
}
