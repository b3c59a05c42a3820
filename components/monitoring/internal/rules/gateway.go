package rules

import (
	"fmt"
	"slices"
	"time"

	"homelab/components/internal/watch"
)

// The containers of the gateway, by the names that it gives them.
const (
	caddy    = "caddy"
	crowdsec = "crowdsec"
	authelia = "authelia"
)

// gateway fills in that an alert is about one of the gateway's containers.
func gateway(service string, alerts ...Alert) []Alert {
	for i := range alerts {
		alerts[i].Service, alerts[i].Layer = service, watch.Gateway
	}
	return alerts
}

// proxy is about Caddy.
func proxy(m watch.Model) []Alert {
	if !m.Has(caddy) {
		return nil
	}
	all := series(answers+"_count", "server", listeners)
	failed := series(answers+"_count", "server", listeners, "code", "5xx")
	return gateway(caddy, Alert{
		Name: ProxyErrors, Severity: Critical, For: 5 * time.Minute, KeepFiring: 7 * time.Minute,
		Expr:    fmt.Sprintf("sum(rate(%[1]s[5m])) / sum(rate(%[2]s[5m])) > 0.25 and on() sum(increase(%[2]s[5m])) > 50", failed, all),
		Summary: "The proxy answers with errors",
		Description: "More than a quarter of all answers are errors of the server (5xx), so it is not one service alone. Look at the portal and at CrowdSec first: " +
			"no request passes without them. `docker logs caddy` says which one does not answer.",
	}, Alert{
		Name: "ProxyReloadFailed", Severity: Critical, For: 2 * time.Minute,
		Expr:    "caddy_config_last_reload_successful == 0",
		Summary: "The proxy refused its new configuration",
		Description: "Caddy still runs with the old configuration: what the last deployment changed is not in force. `docker logs caddy` has the reason. " +
			"Deploy again when it is gone.",
	})
}

// detection is about CrowdSec, and what the proxy sees of it.
func detection(m watch.Model) []Alert {
	if !m.Has(crowdsec) || !m.Has(caddy) {
		return nil
	}
	local := series("cs_active_decisions", "origin", "crowdsec")
	verdicts := func(verdict, window string) string {
		return fmt.Sprintf("sum(increase(%s[%s]))", series("homelab_guard_inspections_total", "verdict", verdict), window)
	}
	return gateway(crowdsec, Alert{
		Name: "BouncerNotPulling", Severity: Critical, For: 4 * time.Minute,
		Expr:    "time() - homelab_guard_last_pull_timestamp_seconds > 120",
		Summary: "The proxy gets no decisions from CrowdSec",
		Description: "The proxy fetches who is banned every few seconds, and has got nothing for six minutes: whoever is banned from now on is let in. " +
			"`docker logs crowdsec` and `docker logs caddy` say whether the local API or the bouncer's key is at fault.",
	}, Alert{
		Name: "AppSecNoVerdict", Severity: Critical, For: 6 * time.Minute,
		Expr:    verdicts("none", "5m") + " > 5",
		Summary: "AppSec gives no verdict",
		Description: "Requests were inspected, and AppSec did not answer, or too late. The proxy refuses each of them, so visitors are turned away. " +
			"See whether crowdsec is healthy and not out of memory or processor time.",
	}, Alert{
		Name: "AppSecBlocksSpike", Severity: Warning,
		Expr:    verdicts("block", "10m") + " > 50",
		Summary: "AppSec blocks many requests",
		Description: "More than 50 requests within ten minutes looked like attacks and were blocked. If it is a scan, nothing is to be done: who goes on is banned. " +
			"If your own devices are affected, `docker exec crowdsec cscli alerts list` names the rule.",
	}, Alert{
		Name: "DecisionsSpike", Severity: Warning,
		Expr:    fmt.Sprintf("sum(%[1]s) - (sum(%[1]s offset 1h) or on() vector(0)) > 50", local),
		Summary: "CrowdSec bans many addresses",
		Description: "More than 50 addresses were banned within an hour for what they did here; lists from elsewhere do not count. " +
			"`docker exec crowdsec cscli decisions list` shows who and why. An attack is over when they are banned; look for your own users among them.",
	})
}

// portal is about Authelia.
func portal(m watch.Model) []Alert {
	if !m.Has(authelia) {
		return nil
	}
	// Authelia 4.39 has authelia_authn and authelia_authn_second_factor, and never counts there: only
	// later releases do (HandleAttempt in internal/regulation/regulator.go). It measures how long each
	// login with a password takes.
	return gateway(authelia, Alert{
		Name: "LoginsFail", Severity: Warning,
		Expr:    fmt.Sprintf("sum(increase(%s[15m])) > 20", series("authelia_authn_duration_count", "success", "false")),
		Summary: "Many logins at the portal fail",
		Description: "More than 20 logins with a password failed within 15 minutes. Somebody guesses passwords, or a device has an old one. " +
			"The portal's log in Grafana names the users and addresses; guessing is banned by itself.",
	})
}

// jails is about Fail2ban, which runs on the machine.
func jails() []Alert {
	return onMachine(Alert{
		Name: "Fail2banNotRunning", Severity: Critical, For: 10 * time.Minute,
		Expr:        missing("homelab_fail2ban_banned"),
		Summary:     "Fail2ban does not run",
		Description: "The machine reports no jail: nobody is banned at the edge or on the host. `systemctl status fail2ban` and `journalctl -u fail2ban` say why.",
	}, Alert{
		Name: "Fail2banBansSpike", Severity: Warning,
		Expr:    "homelab_fail2ban_banned - homelab_fail2ban_banned offset 1h > 20",
		Summary: "Fail2ban bans many addresses in the jail {{ $labels.jail }}",
		Description: "More than 20 addresses were added to the jail within an hour. The attack is held off; look whether your own devices are among them: " +
			"`journalctl -u fail2ban` lists them.",
	})
}

// certificates is about the certificates that the proxy shows, measured at its listeners, and about
// the one that the edge shows to it.
func certificates(m watch.Model) []Alert {
	var out []Alert
	if len(m.Probes) > 0 {
		out = append(out, gateway(caddy, both(Alert{
			Name: "CertificateExpires", For: time.Hour,
			Summary: "The certificate of {{ $labels.hostname }} expires in {{ $value | printf \"%.0f\" }} days",
			Description: "Caddy renews a certificate when a third of its time is left, and did not succeed. After that day no browser opens the site. " +
				"`docker logs caddy` shows what the certificate authority or the DNS challenge answers; the usual cause is the Cloudflare token for it.",
		}, func(days int) string { return daysLeft("probe_ssl_earliest_cert_expiry", days) }, CertificateWarning, CertificateCritical)...)...)
		out = append(out, gateway(caddy, Alert{
			Name: "CertificateInvalid", Severity: Critical, For: 10 * time.Minute,
			Expr:    series("probe_success", "job", "certificates") + " == 0",
			Summary: "The proxy shows no valid certificate for {{ $labels.hostname }}",
			Description: "A connection to the proxy by this name ends without a certificate that is trusted, valid today, and holds the name; or there is no connection. " +
				"`docker logs caddy` says whether one was issued.",
		})...)
	}
	if slices.ContainsFunc(m.Subjects, func(s watch.Subject) bool { return s.Public }) {
		out = append(out, gateway(caddy, both(Alert{
			Name: "OriginPullCertificateExpires", For: time.Hour,
			Summary: "Cloudflare's client certificate expires in {{ $value | printf \"%.0f\" }} days",
			Description: "The proxy lets Cloudflare in by this certificate alone: when it has expired, every public hostname answers with an error. " +
				"A deployment renews it.",
		}, func(days int) string {
			return daysLeft("homelab_origin_pull_certificate_expiry_timestamp_seconds", days)
		}, OriginPullWarning, OriginPullCritical)...)...)
	}
	return out
}
