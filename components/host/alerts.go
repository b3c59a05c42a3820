package host

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/smtp"
	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
)

// AlertsType is the type token of the alerts.
const AlertsType = "homelab:host:Alerts"

// alertFiles is where the alerts' program and settings are on the machine. The program knows it
// too.
const alertFiles = Root + "/alerts"

// AlertsArgs says who hears of what fails on the machine. Without either, failures are in the
// journal alone.
type AlertsArgs struct {
	// Webhook is the address that takes a message, by POST: a secret; nil means none.
	Webhook pulumi.StringInput
	// Format is what the webhook takes; empty means watch.Ntfy.
	Format watch.Format
	// Mail sends a mail; nil means none.
	Mail *AlertMail
}

// AlertMail is where a mail goes, and through which server.
type AlertMail struct {
	// Server is the mail server.
	Server smtp.Server
	// Password is the password at the mail server, a secret.
	Password pulumi.StringInput
	// Recipient is who gets it.
	Recipient string
}

// Validate reports every problem of the arguments.
func (a *AlertsArgs) Validate() error {
	p := validate.Of("alerts")
	p.Require(a.Format == "" || a.Format.Valid(), "%q is no format of a webhook", string(a.Format))
	if a.Mail != nil {
		for _, problem := range a.Mail.Server.Problems() {
			p.Add("%s", problem)
		}
		p.Require(a.Mail.Password != nil, "no password for the mail server")
		p.Require(a.Mail.Recipient != "", "no recipient of the mail")
	}
	return p.Err()
}

// Alerts tells somebody when a unit fails that says OnFailure=homelab-alert@%n.service. Only
// NewAlerts makes a usable one.
type Alerts struct {
	pulumi.ResourceState

	ready pulumi.Resource
}

// alertSettings is what homelab-alert reads.
type alertSettings struct {
	Webhook bool          `json:"webhook"`
	Format  watch.Format  `json:"format"`
	Mail    *alertMailbox `json:"mail"`
}

type alertMailbox struct {
	Host      string   `json:"host"`
	Port      int      `json:"port"`
	TLS       smtp.TLS `json:"tls"`
	Username  string   `json:"username"`
	Sender    string   `json:"sender"`
	Recipient string   `json:"recipient"`
}

func (a *AlertsArgs) settings() (string, error) {
	out := alertSettings{Webhook: a.Webhook != nil, Format: cmp.Or(a.Format, watch.Ntfy)}
	if m := a.Mail; m != nil {
		out.Mail = &alertMailbox{m.Server.Host, m.Server.Port, m.Server.TLS, m.Server.Username, m.Server.Sender, m.Recipient}
	}
	body, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return "", fmt.Errorf("rendering the alerts' settings: %w", err)
	}
	return string(body) + "\n", nil
}

// NewAlerts sets the alerts up, with a look at the machine every day, and sends a first message.
// The deployment fails if that does not arrive: an alert that nobody gets should be noticed before
// there is something to tell.
func (h *Host) NewAlerts(ctx *pulumi.Context, name string, args *AlertsArgs, opts ...pulumi.ResourceOption) (*Alerts, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := args.Validate(); err != nil {
		return nil, err
	}
	a := &Alerts{}
	inputs := pulumi.Map{"webhook": pulumi.Bool(args.Webhook != nil), "mail": pulumi.Bool(args.Mail != nil)}
	if err := ctx.RegisterComponentResourceV2(AlertsType, name, inputs, a, opts...); err != nil {
		return nil, fmt.Errorf("registering the alerts: %w", err)
	}
	reads, err := h.alertFiles(ctx, name, args, pulumi.Parent(a))
	if err != nil {
		return nil, err
	}
	var after []pulumi.Resource
	for _, f := range reads {
		after = append(after, f.Resource)
	}
	for _, unit := range []struct {
		name  string
		start bool
	}{
		{"homelab-alert@.service", false}, {"homelab-alert-deployed.service", true}, {"homelab-check.service", false}, {"homelab-check.timer", true},
	} {
		content, err := files.ReadFile("files/alerts/" + unit.name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded %s: %w", unit.name, err)
		}
		written, err := h.WriteUnit(ctx, name+"-"+unit.name, Unit{Name: unit.name, Content: pulumi.String(content)}, pulumi.Parent(a), pulumi.DependsOn(after))
		if err != nil {
			return nil, err
		}
		after = append(after, written.Resource)
		if !unit.start {
			continue
		}
		a.ready, err = h.StartUnit(ctx, name+"-"+unit.name+"-started", written, reads, pulumi.Parent(a), pulumi.DependsOn(after))
		if err != nil {
			return nil, err
		}
		after = append(after, a.ready)
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{})
}

// alertFiles puts the program and what it reads on the machine.
func (h *Host) alertFiles(ctx *pulumi.Context, name string, args *AlertsArgs, child pulumi.ResourceOption) ([]*Written, error) {
	folder, err := h.NewFolder(ctx, name+"-folder", Directory{Path: alertFiles, Mode: 0o700, Owner: "root:root"}, child)
	if err != nil {
		return nil, err
	}
	program, err := files.ReadFile("files/alerts/homelab-alert")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded homelab-alert: %w", err)
	}
	settings, err := args.settings()
	if err != nil {
		return nil, err
	}
	type content struct {
		base string
		mode uint32
		text pulumi.StringInput
	}
	contents := []content{{"homelab-alert", 0o700, pulumi.String(program)}, {"alerts.json", 0o600, pulumi.String(settings)}}
	if args.Webhook != nil {
		contents = append(contents, content{"webhook", 0o400, args.Webhook})
	}
	if args.Mail != nil {
		contents = append(contents, content{"smtp-password", 0o400, args.Mail.Password})
	}
	var written []*Written
	for _, c := range contents {
		file, err := folder.Write(ctx, name+"-"+c.base, c.base, c.mode, c.text, child)
		if err != nil {
			return nil, err
		}
		written = append(written, file)
	}
	return written, nil
}

// Ready reports Alerts that NewAlerts did not make.
func (a *Alerts) Ready() error {
	if a == nil || a.ready == nil {
		return errors.New("no alerts: pass the value that host.Host.NewAlerts returned")
	}
	return nil
}

// Resource is what to depend on: it exists once a message has arrived.
func (a *Alerts) Resource() pulumi.Resource { return a.ready }
