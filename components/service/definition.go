// Package service runs services. A service is a Definition, plain data in a file of its own; what
// it needs on the machine, its place in the chain, its backup and its settings follow from it.
package service

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/internal/offer"
	"homelab/components/internal/validate"
	"homelab/components/internal/watch"
	"homelab/components/workload"
)

// Owner is the user that services run as unless they name another. It is not the library's
// (host.MediaOwner), because few services write to the library, and a mount that comes back into a
// running container is as writable as its files say. Its number is above every system user of
// Debian.
const Owner = "2001:2001"

// Definition is all that is said of a service. Everything that the program does for a service
// follows from it, so a service is added by writing one.
type Definition struct {
	// Name is the service's name on the machine and in the settings: a DNS label; unique.
	Name string
	// Type is the type token of the service's component, such as homelab:media:Jellyfin.
	Type string
	// Title is what people call it; empty means its name.
	Title string
	// Summary says in a few words what people do there; empty for what people do not visit.
	Summary string
	// Layer is the part of the system that it belongs to; empty means watch.Service.
	Layer watch.Layer
	// Internal means that it has no hostname: only what uses it reaches it.
	Internal bool
	// TwoFactorOnly means that the portal must ask for two factors, whoever visits it.
	TwoFactorOnly bool
	// Monitored means that it belongs to the monitoring: it runs only where there is one, and its
	// network is that of the monitoring.
	Monitored bool
	// Image is what runs; exactly one of Image and BuiltFrom is set.
	Image images.Image
	// BuiltFrom is the folder of this repository from which the machine builds what runs.
	BuiltFrom string
	// Port is the TCP port on which the service answers, 1024 or above; 0 for a program that nobody
	// asks, only with Internal.
	Port int
	// User is the uid:gid in numbers that the container and its folders have; empty means Owner.
	User string
	// Command replaces the image's default arguments; empty keeps them.
	Command []string
	// Arguments are further ones after Command, that follow from what is monitored; nil for none.
	Arguments func(watch.Model) []string
	// Program is the whole command line, in the place of the image's entrypoint and arguments;
	// empty keeps them. Needed with Seeds.
	Program []string
	// Environment is visible to everybody who can inspect containers: switches and the names of
	// files, never secrets.
	Environment map[string]string
	// Go means that it is a program in Go, which is told its memory limit.
	Go bool
	// Health is how the engine knows that the service works.
	Health Health
	// Metrics is where its metrics are, or why there are none.
	Metrics workload.Metrics
	// Folders are where it writes what outlives the container.
	Folders []Folder
	// Secrets are the names of secrets that are generated for it, such as api-key. It gets them in
	// Files.
	Secrets []string
	// Files are its configuration, made at deployment. Secrets reach a service in no other way.
	Files []File
	// Derived are further files, those that follow from what is monitored; nil for none.
	Derived func(Given) ([]File, error)
	// Seeds are files of configuration that the service itself rewrites: each is put in place
	// before the service starts, when it is missing or this program has changed it. Their targets
	// lie in Folders; the image must have a shell with cmp.
	Seeds []File
	// Administrator is its own first login; nil if it has none that is known from the start.
	Administrator *FirstLogin
	// Wired means that the deployment writes some of its settings over its API: the stack makes no
	// route to it before that is done.
	Wired bool
	// Scratch are folders in memory, by path, in MiB.
	Scratch map[string]int
	// Library is how it uses the media library; the zero value means not at all.
	Library Library
	// Downloads is where it reads and writes downloads, an absolute path; empty means nowhere. It
	// must run as host.MediaOwner.
	Downloads string
	// Slot is the service's number, from which its address follows; unique in the catalogue. The
	// monitoring's programs have 21 to 31, the services 32 to 63, and the operator's own services
	// the numbers from 64. What is behind a tunnel has none.
	Slot int
	// Uses are the services to which it may open connections. Each of them runs before it.
	Uses []Use
	// Later are further ones, which may come after it, or use it themselves.
	Later []Use
	// WayOut is what it may reach beside them; the zero value is nothing.
	WayOut workload.WayOut
	// BehindTunnel means that its only network is the VPN tunnel's. It is refused where there is no
	// tunnel.
	BehindTunnel bool
	// Devices are the machine's devices that it needs, each with its reason.
	Devices []workload.Device
	// Views are parts of the machine that it reads, each with its reason.
	Views []workload.View
	// Shares are folders of others that it reads, below a path of its own.
	Shares []Share
	// RootReason says why it must run as 0:0; it still has no capability.
	RootReason string
	// WritableReason says why its root file system must be writable; empty keeps it read-only.
	WritableReason string
	// Login lets the service log its users in at the portal by OpenID Connect; nil if it does not.
	Login *Login
	// StopGrace is how long it may take to stop; 0 means workload's default.
	StopGrace time.Duration
	// Default is how the service is offered unless the stack's configuration says otherwise.
	Default Default
	// Prepare does what must be done to the running service before anything can reach it; nil for
	// nothing. A route to the service depends on the resource that it returns.
	Prepare func(ctx *pulumi.Context, running *Running) (*Prepared, error)
}

// Health is how the engine knows that a service works; exactly one of Path and Command is set.
type Health struct {
	// Path is the path of a URL that answers with success. The image must have wget.
	Path string
	// Command is a program in the container, with its arguments, that fails when the service does.
	Command []string
	// StartPeriod is how long it may take until it first works; 0 means workload's default.
	StartPeriod time.Duration
}

func (h Health) check(port int) workload.Health {
	if h.Path == "" {
		return workload.Health{Command: h.Command, StartPeriod: h.StartPeriod}
	}
	return workload.Health{StartPeriod: h.StartPeriod, Command: []string{
		"wget", "--quiet", "--output-document=/dev/null", fmt.Sprintf("http://127.0.0.1:%d%s", port, h.Path),
	}}
}

// Folder is where a service writes.
type Folder struct {
	// Base is the folder's name below the service's own on the machine.
	Base string
	// Target is its absolute path in the container.
	Target string
	// Keeps is what the service writes there.
	Keeps workload.Contents
}

// File is a file of configuration, made at deployment. It is mounted read-only, together with the
// other files of its folder, and a change of it replaces the container.
type File struct {
	// Target is its absolute path in the container. All files of one folder there are mounted
	// together.
	Target string
	// Content renders it.
	Content func(Given) (pulumi.StringInput, error)
	// Reread means that the service reads it again by itself when it changes: the container stays.
	Reread bool
}

// Text is a file whose content is known already.
func Text(target string, content []byte) File {
	return File{Target: target, Content: func(Given) (pulumi.StringInput, error) { return pulumi.String(content), nil }}
}

// Share is a folder of another part of the program that a service may read.
type Share string

// The shares.
const (
	// MachineMetrics is what the machine says of itself.
	MachineMetrics Share = "metrics"
	// GatewayLogs are the logs that the proxy writes into files.
	GatewayLogs Share = "logs"
)

// MachineMetricsFolder is where a service finds MachineMetrics.
const MachineMetricsFolder = "/metrics"

// Given is what is known when a service's files are made.
type Given struct {
	// Secrets are the generated secrets by name.
	Secrets map[string]pulumi.StringOutput
	// Hostname is the full host name by which people reach it.
	Hostname string
	// Login is the service's registration at the portal; nil without one.
	Login *Credentials
	// Credentials are secrets of the settings, by name, for the services of the monitoring.
	Credentials map[Credential]pulumi.StringInput
	// Watch is what is monitored.
	Watch watch.Model

	uses map[string]*Service // those that run
}

// Address returns host:port of a service that is among the definition's Uses, on the containers'
// network.
func (g Given) Address(definition func() Definition) (string, error) {
	used, err := g.used(definition)
	if err != nil {
		return "", err
	}
	return used.Endpoint().Address(), nil
}

// SecretOf returns a generated secret of a service that is among the definition's Uses.
func (g Given) SecretOf(definition func() Definition, name string) (pulumi.StringOutput, error) {
	used, err := g.used(definition)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	return used.Secret(name)
}

func (g Given) used(definition func() Definition) (*Service, error) {
	name := definition().Name
	used, ok := g.uses[name]
	if !ok {
		return nil, fmt.Errorf("%s is not among the services that this one uses", name)
	}
	return used, nil
}

// Credential is a secret of the settings.
type Credential string

// The credentials.
const (
	// AlertsWebhook is the address that takes alerts.
	AlertsWebhook Credential = "alerts-webhook"
	// SMTPPassword is the password at the mail server.
	SMTPPassword Credential = "smtp-password"
	// DeadMansSwitch is the address that is told that all is well.
	DeadMansSwitch Credential = "dead-mans-switch"
)

// Login is how a service logs its users in at the portal.
type Login struct {
	// RedirectPaths are the paths of the service to which the portal sends a browser back; at least
	// one.
	RedirectPaths []string
	// Scopes are what the service may learn of a user beside who it is: email, groups, profile.
	Scopes []string
}

// Credentials are a service's registration at the portal.
type Credentials struct {
	// ClientID is the service's name at the portal.
	ClientID string
	// ClientSecret is what it proves itself with.
	ClientSecret pulumi.StringOutput
	// Issuer is the portal's address.
	Issuer string
	// Authorization is where the service sends the browser, Token where it changes the code into
	// tokens, UserInfo where it asks who the user is.
	Authorization, Token, UserInfo string
}

// Default is how a service is offered.
type Default struct {
	// Hostname is the host name below the domain.
	Hostname string
	// Visibility is from where the hostname can be reached.
	Visibility access.Visibility
	// Access is who may use the service.
	Access access.Access
	// MemoryMiB is the container's memory limit, in MiB.
	MemoryMiB int
	// Off keeps the service from running unless the configuration enables it.
	Off bool
}

// Library is how a service uses the media library, made by ReadLibrary or WriteLibrary. The zero
// value means that it does not.
type Library struct {
	target string
	write  bool
}

// ReadLibrary lets a service read the library, at an absolute path in its container.
func ReadLibrary(target string) Library { return Library{target: target} }

// WriteLibrary lets a service change the library. It must run as host.MediaOwner, and no visitor
// may reach it without the portal's permission.
func WriteLibrary(target string) Library { return Library{target: target, write: true} }

// FirstLogin is a service's own first login.
type FirstLogin struct {
	// Name is the login.
	Name string
	// Secret is the one of the definition's Secrets that is its password.
	Secret string
}

// Use is a service that another may open connections to. Only On and OnIfThere make one: there is
// no way to name it by a text.
type Use struct {
	definition func() Definition
	optional   bool
}

// On is the use of the service that a function of the catalogue defines.
func On(definition func() Definition) Use { return Use{definition: definition} }

// OnIfThere is the use of a service that may be off.
func OnIfThere(definition func() Definition) Use { return Use{definition: definition, optional: true} }

// Name is the name of the service that is used.
func (u Use) Name() string { return u.definition().Name }

// Offer is what the settings need to know of the service.
func (d Definition) Offer() offer.Offer {
	out := offer.Offer{
		Name: d.Name, Hostname: d.Default.Hostname, Visibility: d.Default.Visibility, Access: d.Default.Access,
		MemoryMiB: d.Default.MemoryMiB, Off: d.Default.Off, BehindTunnel: d.BehindTunnel, Wired: d.Wired,
		Internal: d.Internal, Monitored: d.Monitored, TwoFactorOnly: d.TwoFactorOnly,
	}
	for _, use := range d.Uses {
		if !use.optional {
			out.Uses = append(out.Uses, use.Name())
		}
	}
	return out
}

// Offers are the offers of a catalogue, in its order.
func Offers(catalogue []Definition) []offer.Offer {
	out := make([]offer.Offer, 0, len(catalogue))
	for _, d := range catalogue {
		out = append(out, d.Offer())
	}
	return out
}

func (d Definition) user() string {
	if d.User == "" {
		return Owner
	}
	return d.User
}

// firstSlot is the first number of a service in the range of a network, firstMonitored that of one
// of the monitoring; see workload.Spec.Slot.
const (
	firstMonitored = 21
	firstSlot      = 32
)

var plainTarget = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._-]*)+$`)

var namePattern = regexp.MustCompile(`^[a-z](?:[a-z0-9-]{0,46}[a-z0-9])?$`)

// Validate returns everything wrong with the definition, as far as it can be said without the
// machine. What it says of its container is checked by workload.
func (d Definition) Validate() error {
	p := validate.Of("service " + d.Name)
	p.Require(namePattern.MatchString(d.Name), "the name must be a DNS label that begins with a letter, of at most 48 characters")
	p.Require(strings.HasPrefix(d.Type, "homelab:") && strings.Count(d.Type, ":") == 2, "type %q is not homelab:MODULE:NAME", d.Type)
	if d.BuiltFrom == "" {
		p.Merge(d.Image.Validate())
	}
	p.Require(d.BuiltFrom == "" || d.Image == images.Image{}, "it has both an image and a folder to build one from")
	p.Require(d.Port >= 1024 && d.Port < 1<<16 || d.Port == 0 && d.Internal && d.Health.Path == "", "port %d is not between 1024 and 65535", d.Port)
	p.Require(d.BehindTunnel == (d.Slot == 0), "a service has a slot, and one behind a tunnel has none")
	first := firstSlot
	if d.Monitored {
		first = firstMonitored
	}
	p.Require(d.BehindTunnel || d.Slot >= first, "slot %d is not one of a service: they begin at %d", d.Slot, first)
	p.Require(!d.Internal || d.Default.Hostname == "" && d.Login == nil && !d.Wired, "it has no hostname, so it has no login at the portal and waits for nothing")
	p.Require(!d.Monitored || !d.BehindTunnel && d.Library == Library{} && d.Downloads == "", "it belongs to the monitoring, so it has neither tunnel, library nor downloads")
	p.Require(!d.BehindTunnel || len(d.Uses)+len(d.Later) == 0, "it is behind a tunnel, so it uses no other service")
	p.Require((d.Health.Path == "") != (len(d.Health.Command) == 0), "health needs either a path or a command")
	p.Require(d.Library == Library{} || path.IsAbs(d.Library.target), "the library's place %q is not an absolute path", d.Library.target)
	p.Require(!d.Library.write || d.user() == host.MediaOwner, "only a service that runs as host.MediaOwner can write to the library")
	p.Require(d.Downloads == "" || path.IsAbs(d.Downloads) && d.user() == host.MediaOwner,
		"only a service that runs as host.MediaOwner can use the downloads, at an absolute path")
	p.Require(len(d.Seeds) == 0 || len(d.Program) > 0, "seeds need a program")
	p.Require(len(d.Program) == 0 || len(d.Command) == 0, "a program has its arguments with it, so it has no command")
	bases := map[string]bool{}
	for _, f := range d.Folders {
		p.Require(f.Base != "" && !bases[f.Base], "two folders are called %q, or one has no name", f.Base)
		bases[f.Base] = true
	}
	for i, s := range d.Secrets {
		p.Require(s != "" && slices.Index(d.Secrets, s) == i, "two secrets are called %q, or one has no name", s)
	}
	for _, f := range d.Seeds {
		inFolder := slices.ContainsFunc(d.Folders, func(folder Folder) bool { return strings.HasPrefix(f.Target, folder.Target+"/") })
		p.Require(inFolder && plainTarget.MatchString(f.Target), "seed %q is not in one of its folders, or not a plain path", f.Target)
		p.Require(f.Content != nil, "seed %s has no content", f.Target)
	}
	if a := d.Administrator; a != nil {
		p.Require(a.Name != "" && slices.Contains(d.Secrets, a.Secret), "its administrator needs a name, and a password among its secrets")
	}
	for _, f := range d.Files {
		f.validate(p)
	}
	p.Require(d.Login == nil || len(d.Login.RedirectPaths) > 0, "its login names no path to come back to")
	return p.Err()
}

func (f File) validate(p *validate.Problems) {
	p.Require(path.IsAbs(f.Target) && path.Clean(f.Target) == f.Target && path.Dir(f.Target) != "/", "file %q is not in a folder of the container", f.Target)
	p.Require(f.Content != nil, "file %s has no content", f.Target)
}
