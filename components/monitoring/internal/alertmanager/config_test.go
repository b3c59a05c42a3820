package alertmanager_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/smtp"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/alertmanager"
)

// receivers are who may hear of alerts, by the name of their golden.
var receivers = map[string]func(r *watch.Receivers){
	"everybody":          func(*watch.Receivers) {},
	"nobody":             func(r *watch.Receivers) { *r = watch.Receivers{} },
	"switch":             func(r *watch.Receivers) { *r = watch.Receivers{DeadMansSwitch: true} },
	"webhook":            func(r *watch.Receivers) { *r = watch.Receivers{Webhook: watch.Alertmanager} },
	"webhook-and-switch": func(r *watch.Receivers) { *r = watch.Receivers{Webhook: watch.Alertmanager, DeadMansSwitch: true} },
	"mail":               func(r *watch.Receivers) { *r = watch.Receivers{Mail: r.Mail} },
	"mail-by-tls": func(r *watch.Receivers) {
		server := r.Mail.Server
		server.TLS, server.Port = smtp.Implicit, 8465
		*r = watch.Receivers{Mail: &watch.Mail{Server: server, Recipient: "admin@example.com"}, DeadMansSwitch: true}
	},
}

func TestConfig(t *testing.T) {
	for name, change := range receivers {
		t.Run(name, func(t *testing.T) {
			m := example.Model()
			change(&m.Receivers)
			got, err := alertmanager.Config(m)
			require.NoError(t, err)
			golden.Equal(t, name, got)
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	m := example.Model()
	m.Domain = ""
	m.Receivers.Webhook = "pager"
	m.Receivers.Mail = &watch.Mail{Server: smtp.Server{Host: "smtp", Port: 25, TLS: "none"}}
	_, err := alertmanager.Config(m)
	golden.Error(t, "refused", err)
}

// Who is told, and which alert says it for others, does not depend on which services there are.
func TestAnotherServiceChangesNothing(t *testing.T) {
	before, err := alertmanager.Config(example.Model())
	require.NoError(t, err)
	m := example.Model()
	m.Subjects = append(m.Subjects, watch.Subject{
		Name: "x", Title: "X", Layer: watch.Service, Hostname: "x.example.com", NoMetrics: "none", MemoryMiB: 1, Library: true, Behind: "gluetun", Exporter: "wire",
	})
	after, err := alertmanager.Config(m)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}
