package settings

import (
	"fmt"
	"strings"

	"homelab/components/internal/watch"
)

// alerts checks that somebody hears of a failure, or that there is a reason why nobody does.
func (k *checker) alerts(r rawAlerts, mailServer bool) Alerts {
	const path = namespace + "alerts"
	if !k.wasRead(path) {
		return Alerts{}
	}
	told, reason := r.Webhook || r.Mail, strings.TrimSpace(r.Nobody) != ""
	switch {
	case told && reason:
		k.add(path+".nobody", "gives a reason why nobody is told, but somebody is", "remove it, or what tells somebody")
	case !told && !reason:
		k.add(path, "names nobody: a backup that fails would go unnoticed",
			"set webhook to true and "+alertsWebhookKey+", or mail to true and "+smtpKey+", or say in nobody why nobody need know")
	}
	if r.Mail && !mailServer && k.wasRead(smtpKey) {
		k.add(path+".mail", "is set, but there is no mail server", "set "+smtpKey+", or use webhook")
	}
	format := watch.Format(r.Format)
	if k.optional(path+".format", r.Format) && !format.Valid() {
		k.add(path+".format", quote(r.Format)+" is not what a webhook takes", oneOf(watch.Formats()))
	}
	return Alerts{Webhook: r.Webhook, Format: format, Mail: r.Mail, Nobody: r.Nobody}
}

// metricsShare is the part of the server's disk that metrics may have: one in so many.
const metricsShare = 8

// monitoring checks what is measured and kept; nil means nothing.
func (k *checker) monitoring(r rawMonitoring, s *Settings) *Monitoring {
	const path = namespace + "monitoring"
	shipper := watch.Shipper(r.Shipper)
	if k.optional(path+".shipper", r.Shipper) && !shipper.Valid() {
		k.add(path+".shipper", quote(r.Shipper)+" is not a log shipper", oneOf(watch.Shippers()))
	}
	for _, days := range []struct {
		key  string
		days int
	}{{"metrics.days", r.Metrics.Days}, {"logs.days", r.Logs.Days}} {
		if days.days < 1 || days.days > 400 {
			k.add(path+"."+days.key, fmt.Sprintf("must be between 1 and 400, is %d", days.days), "choose another number of days")
		}
	}
	most := s.Server.DiskGB / metricsShare
	switch at := path + ".metrics.sizeGB"; {
	case r.Metrics.SizeGB < 1:
		k.add(at, fmt.Sprintf("must be at least 1, is %d", r.Metrics.SizeGB), "give metrics more of the disk")
	case most > 0 && r.Metrics.SizeGB > most:
		k.add(at, fmt.Sprintf("is %d, more than an eighth of the %d GB of server type %s", r.Metrics.SizeGB, s.Server.DiskGB, s.Server.Type),
			fmt.Sprintf("lower it to %d, or use a larger server type", most))
	}
	if !r.Enabled {
		if r.DeadMansSwitch {
			k.add(path+".deadMansSwitch", "is true, but there is no monitoring that could tell", "enable "+path+", or remove it")
		}
		return nil
	}
	return &Monitoring{
		Shipper: shipper, DeadMansSwitch: r.DeadMansSwitch,
		Retention: watch.Retention{MetricsDays: r.Metrics.Days, MetricsGB: r.Metrics.SizeGB, LogsDays: r.Logs.Days},
	}
}
