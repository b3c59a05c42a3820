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
	d.Prepare = notify
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

// notify sends a test message, and fails the deployment if it does not arrive. Nothing else waits
// for it: a receiver that is down must not keep a hostname from coming back.
func notify(ctx *pulumi.Context, running *service.Running) (*service.Prepared, error) {
	told := integrations(running.Watch.Receivers)
	if len(told) == 0 {
		return &service.Prepared{Resource: running.Container.Resource()}, nil
	}
	bin := host.Directory{Path: fmt.Sprintf("%s/%s/bin", host.Root, running.Name), Mode: 0o755, Owner: "root:root"}
	folder, err := running.Host.NewFolder(ctx, running.Name+"-bin", bin, running.Parent)
	if err != nil {
		return nil, err
	}
	program, err := folder.Write(ctx, running.Name+"-program", "homelab-notify", 0o755, pulumi.String(notifyProgram), running.Parent)
	if err != nil {
		return nil, err
	}
	_, err = running.Host.Run(ctx, running.Name+"-test-notification", host.Action{
		Command:  append([]string{program.Path, running.Name, alertmanager.TestAlert}, told...),
		Triggers: []pulumi.StringOutput{running.Container.ID(), program.Digest},
	}, running.Parent, pulumi.DependsOn([]pulumi.Resource{running.Container.Resource(), program.Resource}))
	if err != nil {
		return nil, err
	}
	return &service.Prepared{Resource: running.Container.Resource()}, nil
}
