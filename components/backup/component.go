// Package backup keeps a copy of everything the services hold on the backup's Storage Box, and
// shows every month that it can be restored.
package backup

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/validate"
	"homelab/components/storage"
)

// Type is the component's type token.
const Type = "homelab:backup:Backup"

// Retention is how many archives a prune keeps: the newest of each of so many days, weeks, months
// and years. Only an operator prunes.
type Retention struct {
	// Daily is at least 1; the others may be 0.
	Daily, Weekly, Monthly, Yearly int
}

// Schedule is when the jobs run, in the machine's time zone.
type Schedule struct {
	// Hour and Minute are when the daily backup starts.
	Hour, Minute int
	// JitterMinutes is by how much each start is put off at random, at most.
	JitterMinutes int
	// DrillDay is the day of the month of the restore drill, 1 to 28; it runs four hours after the
	// backup.
	DrillDay int
}

// Args describes the backup.
type Args struct {
	// Host is the machine. What its containers declared to keep is what is backed up, so the backup
	// is made after all of them.
	Host *host.Host
	// Box is where the repository is.
	Box *storage.Box
	// Alerts hear of a backup that failed or did not happen.
	Alerts *host.Alerts
	// Retention is what is kept.
	Retention Retention
	// Schedule is when it happens.
	Schedule Schedule
	// Protect keeps the passphrase from any delete or replace: without it every archive is lost.
	Protect bool
}

// Validate reports every problem of the arguments.
func (a *Args) Validate() error {
	p := validate.Of("backup")
	p.Merge(a.Host.Ready())
	p.Merge(a.Box.Ready())
	p.Merge(a.Alerts.Ready())
	r, s := a.Retention, a.Schedule
	p.Require(r.Daily >= 1, "%d daily archives: at least one must be kept", r.Daily)
	p.Require(r.Weekly >= 0 && r.Monthly >= 0 && r.Yearly >= 0, "a retention cannot be negative")
	p.Require(s.Hour >= 0 && s.Hour < 24 && s.Minute >= 0 && s.Minute < 60, "no such time of day: %02d:%02d", s.Hour, s.Minute)
	p.Require(s.JitterMinutes >= 0 && s.JitterMinutes <= maxJitterMinutes, "a jitter of %d minutes is not between 0 and %d", s.JitterMinutes, maxJitterMinutes)
	p.Require(s.DrillDay >= 1 && s.DrillDay <= 28, "day %d does not exist in every month", s.DrillDay)
	return p.Err()
}

// maxJitterMinutes leaves the drill, four hours later, a backup that has begun.
const maxJitterMinutes = 180

// Backup is the repository, ready, and the timers that fill and test it. Only New makes a usable
// one.
type Backup struct {
	pulumi.ResourceState

	repository    pulumi.StringOutput
	passphrase    pulumi.StringOutput
	repositoryKey pulumi.StringOutput
	pruneKey      pulumi.StringOutput
	knownHosts    pulumi.StringOutput
	pruneOptions  string
}

// New sets the backup up. It fails if the box does not take our key, borgmatic does not accept its
// configuration or the repository cannot be made: a backup that does not work should be noticed
// now.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Backup, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	b := &Backup{pruneOptions: args.Retention.pruneOptions()}
	inputs := pulumi.Map{"daily": pulumi.Int(args.Retention.Daily), "hour": pulumi.Int(args.Schedule.Hour)}
	if err := ctx.RegisterComponentResourceV2(Type, name, inputs, b, opts...); err != nil {
		return nil, fmt.Errorf("registering the backup: %w", err)
	}
	// Another machine gets another key: who had the old one had perhaps its key.
	key, err := tls.NewPrivateKey(ctx, name+"-ssh-key", &tls.PrivateKeyArgs{Algorithm: pulumi.String("ED25519")}, pulumi.Parent(b),
		pulumi.ReplacementTrigger(args.Host.Machine()))
	if err != nil {
		return nil, fmt.Errorf("making the backup's SSH key: %w", err)
	}
	// Its private half is in the state alone: who takes the server cannot remove what is in the
	// repository.
	pruneKey, err := tls.NewPrivateKey(ctx, name+"-prune-key", &tls.PrivateKeyArgs{Algorithm: pulumi.String("ED25519")}, pulumi.Parent(b))
	if err != nil {
		return nil, fmt.Errorf("making the SSH key that prunes the backup: %w", err)
	}
	b.pruneKey = pruneKey.PrivateKeyOpenssh
	secret, err := random.NewRandomPassword(ctx, name+"-passphrase", &random.RandomPasswordArgs{
		Length: pulumi.Int(48), Special: pulumi.Bool(false),
	}, pulumi.Parent(b), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, fmt.Errorf("making the repository's passphrase: %w", err)
	}
	b.passphrase = secret.Result
	files, err := b.files(ctx, name, args, key, pruneKey)
	if err != nil {
		return nil, err
	}
	prepared, err := b.prepare(ctx, name, args, []*tls.PrivateKey{key, pruneKey}, files)
	if err != nil {
		return nil, err
	}
	if err := b.units(ctx, args, prepared); err != nil {
		return nil, err
	}
	b.repository = pulumi.All(args.Box.Username(), args.Box.Server()).ApplyT(func(v []any) string {
		return model{Username: v[0].(string), Server: v[1].(string)}.repository()
	}).(pulumi.StringOutput)
	b.knownHosts = args.Box.Server().ApplyT(storage.KnownHosts).(pulumi.StringOutput)
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{"repository": b.repository})
}

// file is one file of the backup's.
type file struct {
	path    string
	mode    uint32
	content pulumi.StringInput
}

func (b *Backup) files(ctx *pulumi.Context, name string, args *Args, key, pruneKey *tls.PrivateKey) ([]*host.Written, error) {
	folders := args.Host.Inventory()
	from := func(f func(model) (string, error)) pulumi.StringInput {
		return pulumi.All(args.Box.Server(), args.Box.Username(), key.PublicKeyOpenssh, pruneKey.PublicKeyOpenssh).ApplyT(func(v []any) (string, error) {
			return f(model{
				Server: v[0].(string), Username: v[1].(string), PublicKey: strings.TrimSpace(v[2].(string)), PruneKey: strings.TrimSpace(v[3].(string)),
				Folders: folders,
			})
		}).(pulumi.StringOutput)
	}
	ssh, err := renderSSHConfig()
	if err != nil {
		return nil, err
	}
	contents := []file{
		{configFile, 0o600, from(func(m model) (string, error) { out, err := m.borgmatic(); return string(out), err })},
		{factsFile, 0o600, from(func(m model) (string, error) { out, err := m.facts(); return string(out), err })},
		{knownHosts, 0o600, from(func(m model) (string, error) { return storage.KnownHosts(m.Server), nil })},
		{sshConfig, 0o600, pulumi.String(ssh)},
		{identity, 0o600, key.PrivateKeyOpenssh},
		{passphrase, 0o600, b.passphrase},
	}
	for _, path := range []string{program, drill} {
		body, err := script(path[strings.LastIndexByte(path, '/')+1:])
		if err != nil {
			return nil, err
		}
		contents = append(contents, file{path, 0o755, pulumi.String(body)})
	}
	return b.write(ctx, name, args.Host, contents)
}

func (b *Backup) write(ctx *pulumi.Context, name string, h *host.Host, contents []file) ([]*host.Written, error) {
	made := map[string]*host.Folder{}
	for _, f := range []struct {
		path string
		mode uint32
	}{
		// Programs of other users walk through the first and run the second.
		{home, 0o755}, {home + "/bin", 0o755}, {home + "/config", 0o700}, {secrets, 0o700}, {state, 0o700},
	} {
		after := []pulumi.ResourceOption{pulumi.Parent(b)}
		if above, ok := made[home]; ok {
			after = append(after, pulumi.DependsOn([]pulumi.Resource{above.Resource()}))
		}
		folder, err := h.NewFolder(ctx, strings.ReplaceAll(name+strings.TrimPrefix(f.path, home), "/", "-")+"-folder", host.Directory{
			Path: f.path, Mode: f.mode, Owner: "root:root",
		}, after...)
		if err != nil {
			return nil, err
		}
		made[f.path] = folder
	}
	written := make([]*host.Written, 0, len(contents))
	for _, c := range contents {
		at := strings.LastIndexByte(c.path, '/')
		f, err := made[c.path[:at]].Write(ctx, name+"-"+c.path[at+1:], c.path[at+1:], c.mode, c.content, pulumi.Parent(b))
		if err != nil {
			return nil, err
		}
		written = append(written, f)
	}
	return written, nil
}

// backupCommand returns the command that runs a verb of the backup's program as root.
func backupCommand(verb string) []string {
	return []string{"sudo", "-n", "/usr/local/sbin/homelab-file", "backup", verb}
}

// prepare puts the keys on the box, makes the repository and fetches its key.
func (b *Backup) prepare(ctx *pulumi.Context, name string, args *Args, keys []*tls.PrivateKey, files []*host.Written) (pulumi.Resource, error) {
	child := pulumi.Parent(b)
	var after []pulumi.Resource
	var digests []pulumi.StringOutput
	for _, f := range files {
		after, digests = append(after, f.Resource), append(digests, f.Digest)
	}
	triggers := []pulumi.StringOutput{args.Box.Username(), pulumi.String(strings.Join(model{}.authorizedKeys(), "\n")).ToStringOutput()}
	for _, key := range keys {
		triggers = append(triggers, key.PublicKeyFingerprintSha256)
	}
	// The password travels once, on standard input; it never lies on the machine's disk.
	installed, err := args.Host.Run(ctx, name+"-key-installed", host.Action{
		Command: backupCommand("install-key"), Stdin: args.Box.Password(),
		Triggers: triggers,
	}, child, pulumi.DependsOn(after))
	if err != nil {
		return nil, err
	}
	prepared, err := args.Host.Run(ctx, name+"-repository", host.Action{Command: backupCommand("prepare"), Triggers: digests},
		child, pulumi.DependsOn(append(after, installed)))
	if err != nil {
		return nil, err
	}
	b.repositoryKey, err = args.Host.Fetch(ctx, name+"-repository-key", host.Action{
		Command: backupCommand("export-key"), Triggers: []pulumi.StringOutput{args.Box.Username()},
	}, child, pulumi.DependsOn([]pulumi.Resource{prepared}))
	return prepared, err
}

// units starts the timers once there is a repository to fill.
func (b *Backup) units(ctx *pulumi.Context, args *Args, prepared pulumi.Resource) error {
	child := pulumi.Parent(b)
	for _, j := range jobs(args.Schedule) {
		// The machine checks each unit: a service's program must be there before it, and a timer's
		// service before that.
		after := []pulumi.Resource{prepared, args.Alerts.Resource()}
		for _, kind := range []string{"service", "timer"} {
			content, err := render("job."+kind+".tmpl", j)
			if err != nil {
				return err
			}
			unit := j.Name + "." + kind
			written, err := args.Host.WriteUnit(ctx, unit, host.Unit{Name: unit, Content: pulumi.String(content)}, child, pulumi.DependsOn(after))
			if err != nil {
				return err
			}
			after = append(after, written.Resource)
			if kind == "timer" {
				if _, err := args.Host.StartUnit(ctx, unit+"-started", written, nil, child, pulumi.DependsOn(after)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Repository is the repository's address.
func (b *Backup) Repository() pulumi.StringOutput { return b.repository }

// Passphrase opens the repository's key: a secret.
func (b *Backup) Passphrase() pulumi.StringOutput { return b.passphrase }

// RepositoryKey is the repository's encryption key as borg key import reads it: a secret. The
// repository holds the same; if that one is damaged, this one and the passphrase open the archives.
func (b *Backup) RepositoryKey() pulumi.StringOutput { return b.repositoryKey }

// PruneKey is the private SSH key, a secret, that may remove archives for good. It is not on the
// server.
func (b *Backup) PruneKey() pulumi.StringOutput { return b.pruneKey }

// PruneOptions are the options of borg prune that keep what the retention says.
func (b *Backup) PruneOptions() string { return b.pruneOptions }

// KnownHosts is what an SSH client must know of the box, as a known_hosts file.
func (b *Backup) KnownHosts() pulumi.StringOutput { return b.knownHosts }
