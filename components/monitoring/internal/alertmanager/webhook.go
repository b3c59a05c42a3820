package alertmanager

import (
	"errors"
	"fmt"
	"net/url"

	"homelab/components/internal/watch"
)

// maxAlerts is how many alerts go into one message of ntfy, which refuses one of more than 4096
// bytes. Alertmanager does not send again what was refused.
const maxAlerts = 5

// What a notification of ntfy says: Go templates over the JSON that Alertmanager posts, which ntfy
// fills in itself where the parameter template is yes
// (https://docs.ntfy.sh/publish/#message-templating).
// ntfy has a template for Alertmanager of its own; it writes each rule's whole expression into the
// message, and grows beyond what ntfy accepts.
const (
	ntfyTitle = `{{if eq .status "resolved"}}Ended: {{end}}{{(index .alerts 0).annotations.summary}}`
	ntfyText  = `{{range $i, $a := .alerts}}{{if $i}}` + "\n\n" + `{{if eq $a.status "resolved"}}Ended: {{end}}{{$a.annotations.summary}}{{end}}` +
		`{{if ne $a.status "resolved"}}{{if $i}}` + "\n" + `{{end}}{{$a.annotations.description}}` +
		`{{else if not $i}}{{$a.labels.alertname}} of {{$a.labels.service}}{{end}}{{end}}` +
		`{{if .truncatedAlerts}}` + "\n\n" + `and {{.truncatedAlerts}} more{{end}}`
)

// WebhookURL returns the address that messages are posted to, with what makes the receiver
// understand them. The address is a secret, and no part of an error.
func WebhookURL(raw string, f watch.Format) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Parse repeats what it was given.
		return "", errors.New("the webhook's address is no URL")
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.Fragment != "" {
		return "", errors.New("the webhook's address must begin with https:// or http://, name a host, and have no fragment")
	}
	switch f {
	case watch.Alertmanager:
		return u.String(), nil
	case watch.Ntfy:
	default:
		return "", fmt.Errorf("%q is no format of a webhook", string(f))
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", errors.New("the query of the webhook's address cannot be read")
	}
	if u.Path == "" || u.Path == "/" {
		return "", errors.New("the webhook's address names no topic of ntfy: its path is empty")
	}
	// Whoever has a template of his own keeps it.
	for _, name := range []string{"template", "tpl", "x-template"} {
		if query.Has(name) {
			return u.String(), nil
		}
	}
	query.Set("template", "yes")
	query.Set("title", ntfyTitle)
	query.Set("message", ntfyText)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
