package settings

import "strings"

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
	return Alerts(r)
}
