package settings

import "homelab/components/internal/smtp"

// smtp checks the mail server. Nothing set means that there is none.
func (k *checker) smtp(r rawSMTP) *smtp.Server {
	given, isObject := k.given["smtp"].(object)
	if isObject && len(given) == 0 || k.given["smtp"] == nil {
		return nil
	}
	s := smtp.Server{Host: r.Host, Port: r.Port, TLS: smtp.TLS(r.TLS), Username: r.Username, Sender: r.Sender}
	if !k.has("smtp.tls") {
		// Hetzner lets no new server reach ports 25 and 465, so the default is the one that works.
		s.TLS = smtp.StartTLS
	}
	if !k.has("smtp.port") {
		s.Port = s.TLS.DefaultPort()
	}
	for _, p := range s.Check() {
		if p.Field == "port" && !k.has("smtp.port") {
			continue // it follows from tls, which is wrong
		}
		k.add(smtpKey+"."+p.Field, p.What, p.Remedy)
	}
	return &s
}
