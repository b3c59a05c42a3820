package monitoring

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/apply"
	"homelab/components/internal/watch"
	"homelab/components/monitoring/internal/alertmanager"
	"homelab/components/service"
	"homelab/components/workload"
)

// Alertmanager tells people what is wrong. It is the only program of the monitoring with a way out.
func Alertmanager() service.Definition {
	d := program("alertmanager", "Alertmanager", "Alertmanager", 9093, alertmanagerSlot, 128)
	d.Image = images.Alertmanager
	d.WayOut = workload.Internet // who is told
	d.Health = service.Health{Path: "/-/ready"}
	d.Folders = []service.Folder{{Base: "data", Target: "/alertmanager", Keeps: keptHere}}
	d.Command = []string{"--config.file=" + alertmanager.ConfigFile, "--storage.path=/alertmanager", "--cluster.listen-address="}
	d.Derived = alertmanagerFiles
	return d
}

// alertmanagerFiles are its configuration and the secrets that this names.
func alertmanagerFiles(given service.Given) ([]service.File, error) {
	config, err := alertmanager.Config(given.Watch)
	if err != nil {
		return nil, err
	}
	out := []service.File{service.Text(alertmanager.ConfigFile, config)}
	secret := func(target string, credential service.Credential, change func(string) (string, error)) {
		out = append(out, service.File{Target: target, Content: func(given service.Given) (pulumi.StringInput, error) {
			value, ok := given.Credentials[credential]
			if !ok {
				return nil, errors.New("there is no secret " + string(credential))
			}
			if change == nil {
				return value, nil
			}
			return apply.String(value.ToStringOutput(), change), nil
		}})
	}
	told := given.Watch.Receivers
	if told.Webhook != "" {
		secret(alertmanager.WebhookFile, service.AlertsWebhook, func(raw string) (string, error) { return alertmanager.WebhookURL(raw, told.Webhook) })
	}
	if told.Mail != nil {
		secret(alertmanager.PasswordFile, service.SMTPPassword, nil)
	}
	if told.DeadMansSwitch {
		secret(alertmanager.SwitchFile, service.DeadMansSwitch, nil)
	}
	return out, nil
}

//go:embed files/homelab-notify
var notifyProgram string

// integrations are Alertmanager's names of the ways by which somebody is told.
func integrations(told watch.Receivers) []string {
	var out []string
	if told.Mail != nil {
		out = append(out, "email")
	}
	if told.Webhook != "" {
		out = append(out, "webhook")
	}
	return out
}

// Notify sends a test message by every way that the model names, and fails the deployment if it is
// not taken. It comes after everything in after: the engine does nothing more once a step has failed,
// and a receiver that is down must not keep a hostname from coming back.
func Notify(ctx *pulumi.Context, machine *host.Host, running *service.Service, m watch.Model, after []pulumi.Resource) error {
	if err := errors.Join(machine.Ready(), running.Ready()); err != nil {
		return err
	}
	told := integrations(m.Receivers)
	if len(told) == 0 {
		return nil
	}
	name, parent := running.Name(), pulumi.Parent(running)
	bin := host.Directory{Path: fmt.Sprintf("%s/%s/bin", host.Root, name), Mode: 0o755, Owner: "root:root"}
	folder, err := machine.NewFolder(ctx, name+"-bin", bin, parent)
	if err != nil {
		return err
	}
	program, err := folder.Write(ctx, name+"-program", "homelab-notify", 0o755, pulumi.String(notifyProgram), parent)
	if err != nil {
		return err
	}
	_, err = machine.Run(ctx, name+"-test-notification", host.Action{
		Command:  append([]string{program.Path, name, alertmanager.TestAlert}, told...),
		Triggers: []pulumi.StringOutput{running.Container().ID(), program.Digest},
	}, parent, pulumi.DependsOn(append([]pulumi.Resource{running.Container().Resource(), program.Resource}, after...)))
	return err
}
