package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"

	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/memory"
	"homelab/components/internal/smtp"
	"homelab/components/internal/validate"
	"homelab/components/workload"
)

// IdentityType is the type token of the portal.
const IdentityType = "homelab:gateway:Identity"

const (
	autheliaOwner = autheliaUser + ":" + autheliaUser
	// The names, on the network, of the portal and of the store behind it.
	autheliaName = "authelia"
	storeName    = "authelia-store"
)

// User is a person the portal knows.
type User struct {
	// Name is the login.
	Name string
	// DisplayName is how the person is addressed.
	DisplayName string
	// Email is where the portal writes to.
	Email string
	// Groups are what the person may use.
	Groups []string
	// Password is the one the operator chose: a secret; nil means that one is generated.
	Password pulumi.StringInput
}

// IdentityArgs describes the portal.
type IdentityArgs struct {
	// Host is the machine.
	Host *host.Host
	// Logs is where the portal writes what the detectors read.
	Logs *Logs
	// Proxy is the network on which the proxy asks the portal.
	Proxy *workload.Network
	// Monitoring is where it is scraped.
	Monitoring *workload.Network
	// Domain is the zone's apex.
	Domain string
	// SessionDomain is the domain below which sessions hold; empty means Domain.
	SessionDomain string
	// Hostname is the portal's own.
	Hostname string
	// Detection reads the portal's log, and knows the sites; the access rules follow from them.
	Detection *Detection
	// Users are the people; at least one.
	Users []User
	// SessionInactivity, SessionExpiration and RememberMe are how long a login lasts.
	SessionInactivity, SessionExpiration, RememberMe time.Duration
	// TailnetRanges are the addresses of the tailnet.
	TailnetRanges []string
	// SessionNetwork is the IPv4 range of the network between the portal and its session store.
	SessionNetwork netip.Prefix
	// Mail sends the portal's codes; nil writes them to a file on the machine.
	Mail *Mail
}

// Mail is the mail server that the portal sends through.
type Mail struct {
	smtp.Server
	// Password is the user's at the server, a secret; required.
	Password pulumi.StringInput
}

// Validate reports every problem of the arguments.
func (a *IdentityArgs) Validate() error {
	p := validate.Of("identity")
	p.Merge(a.Host.Ready())
	p.Merge(a.Logs.Ready())
	p.Merge(a.Proxy.Ready())
	p.Merge(a.Monitoring.Ready())
	if err := a.Detection.Ready(); err != nil {
		p.Merge(err)
	} else {
		p.Merge(a.model().Validate())
		p.Merge(a.Detection.sites.registeredAt(a.Hostname))
	}
	p.Require(a.Mail == nil || a.Mail.Password != nil, "no password at the mail server")
	p.Require(len(a.Users) > 0, "no users: nobody could log in")
	return p.Err()
}

func (a *IdentityArgs) model() authelia.Model {
	var mail *smtp.Server
	if a.Mail != nil {
		mail = &a.Mail.Server
	}
	return authelia.Model{
		Mail:          mail,
		Domain:        a.Domain,
		SessionDomain: a.SessionDomain,
		Hostname:      a.Hostname,
		Sites:         a.Detection.sites.declared(),
		TailnetRanges: a.TailnetRanges,
		Store:         fmt.Sprintf("%s:%d", storeName, storePort),
		Session:       authelia.Session{Inactivity: a.SessionInactivity, Expiration: a.SessionExpiration, RememberMe: a.RememberMe},
		Listen:        authelia.DefaultListen(),
		Paths:         authelia.DefaultPaths(),
	}
}

// wayOut is what the portal may reach: a mail server, if there is one.
func (a *IdentityArgs) wayOut() workload.WayOut {
	if a.Mail == nil {
		return workload.WayOut{}
	}
	return workload.Internet
}

// Identity is the running portal. Only NewIdentity makes a usable one.
type Identity struct {
	pulumi.ResourceState

	container *workload.Container
	hostname  string
	detection *Detection
	passwords pulumi.StringMap
	// hashes are the passwords' digests by login.
	hashes map[string]pulumi.StringOutput
	// ended are what ended the sessions of people with new passwords.
	ended []pulumi.Resource
}

// NewIdentity runs the portal and its session store.
func NewIdentity(ctx *pulumi.Context, name string, args *IdentityArgs, opts ...pulumi.ResourceOption) (*Identity, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	i := &Identity{hostname: args.Hostname, detection: args.Detection, passwords: pulumi.StringMap{}, hashes: map[string]pulumi.StringOutput{}}
	inputs := pulumi.Map{"hostname": pulumi.String(args.Hostname), "users": pulumi.Int(len(args.Users))}
	if err := ctx.RegisterComponentResourceV2(IdentityType, name, inputs, i, opts...); err != nil {
		return nil, fmt.Errorf("registering the portal: %w", err)
	}
	store, err := newStore(ctx, i, args.Host, args.SessionNetwork)
	if err != nil {
		return nil, err
	}
	folders, err := i.folders(ctx, args, store)
	if err != nil {
		return nil, err
	}
	placed, err := workload.Place(ctx, args.Host, autheliaName, autheliaOwner, folders, pulumi.Parent(i))
	if err != nil {
		return nil, err
	}
	paths := authelia.DefaultPaths()
	i.container, err = workload.New(ctx, autheliaName, &workload.Spec{
		Host:      args.Host,
		Image:     images.Authelia,
		User:      autheliaOwner,
		Networks:  []*workload.Network{args.Proxy, store.network, args.Monitoring},
		Slot:      identitySlot,
		Uses:      []workload.Endpoint{store.container.Endpoint(storePort)},
		WayOut:    args.wayOut(),
		Mounts:    append(placed.Mounts, workload.Mount{Folder: args.Logs.authelia, Target: path.Dir(paths.Log), Keeps: keepsLogs}),
		Scratch:   map[string]int{"/tmp": 16},
		Env:       withGoMemory(args.model().Environment(), memory.Authelia),
		MemoryMiB: memory.Authelia,
		Health:    workload.Health{Command: []string{"wget", "--quiet", "--output-document=/dev/null", fmt.Sprintf("http://127.0.0.1:%d/api/health", authelia.PortalPort)}},
		Metrics:   identityMetrics,
		RestartOn: placed.Files(),
		Stage:     host.StagePortal,
		After:     args.Logs.files,
	}, pulumi.Parent(i))
	if err != nil {
		return nil, err
	}
	if err := i.endSessions(ctx, args, store); err != nil {
		return nil, err
	}
	return i, ctx.RegisterResourceOutputs(i, pulumi.Map{"hostname": pulumi.String(i.hostname)})
}

// folders are the portal's configuration, users and secrets, and its database.
func (i *Identity) folders(ctx *pulumi.Context, args *IdentityArgs, s *store) ([]workload.Folder, error) {
	paths := authelia.DefaultPaths()
	configuration, err := authelia.Configuration(args.model())
	if err != nil {
		return nil, err
	}
	users, err := i.usersDatabase(ctx, args.Users)
	if err != nil {
		return nil, err
	}
	openID, err := i.openIDFiles(ctx, args.model(), args.Detection.sites.list)
	if err != nil {
		return nil, err
	}
	secrets := append([]workload.File{{Base: authelia.StorePasswordFile, Content: s.password}}, openID...)
	if args.Mail != nil {
		secrets = append(secrets, workload.File{Base: authelia.MailPasswordFile, Content: pulumi.ToSecret(args.Mail.Password).(pulumi.StringOutput)})
	}
	for _, base := range []string{authelia.SessionSecretFile, authelia.StorageKeyFile} {
		secret, err := newSecret(ctx, i, autheliaName+"-"+base)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, workload.File{Base: base, Content: secret})
	}
	return []workload.Folder{
		{Base: "config", Target: path.Dir(paths.Users), Files: []workload.File{
			{Base: authelia.ConfigurationFile, Content: pulumi.String(configuration)},
			{Base: path.Base(paths.Users), Content: users},
		}},
		{Base: "secrets", Target: paths.Secrets, Files: secrets},
		{Base: "data", Target: path.Dir(paths.Database), Keeps: workload.Databases(path.Base(paths.Database))},
	}, nil
}

// usersDatabase gives every person the chosen password, or a generated one. The portal's file holds
// only argon2id hashes; the generated passwords themselves are a secret output of the stack, for
// the first login. A chosen one is no output: the operator has it already.
func (i *Identity) usersDatabase(ctx *pulumi.Context, people []User) (pulumi.StringOutput, error) {
	people = slices.Clone(people)
	slices.SortFunc(people, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	hashes := make([]any, 0, len(people))
	for _, person := range people {
		// The salt is kept in the state: without a new password there is no new hash, and so no new
		// file.
		salt, err := newSalt(ctx, i, "user-"+person.Name)
		if err != nil {
			return pulumi.StringOutput{}, err
		}
		password := person.Password
		if password == nil {
			generated, err := newSecret(ctx, i, "user-"+person.Name+"-password")
			if err != nil {
				return pulumi.StringOutput{}, err
			}
			i.passwords[person.Name] = generated
			password = generated
		}
		hash := pulumi.All(pulumi.ToSecret(password), salt).ApplyT(func(v []any) string {
			return authelia.HashPassword(v[0].(string), []byte(v[1].(string)))
		}).(pulumi.StringOutput)
		i.hashes[person.Name] = hash
		hashes = append(hashes, hash)
	}
	return pulumi.All(hashes...).ApplyT(func(all []any) (string, error) {
		users := make([]authelia.User, 0, len(people))
		for n, person := range people {
			users = append(users, authelia.User{
				Name: person.Name, DisplayName: person.DisplayName, Email: person.Email, Groups: person.Groups, PasswordHash: all[n].(string),
			})
		}
		rendered, err := authelia.UsersDatabase(users)
		return string(rendered), err
	}).(pulumi.StringOutput), nil
}

// newSecret makes a random secret of letters and digits, 48 long: more entropy than any use of it
// can lose.
func newSecret(ctx *pulumi.Context, parent pulumi.Resource, name string) (pulumi.StringOutput, error) {
	secret, err := random.NewRandomPassword(ctx, name, &random.RandomPasswordArgs{Length: pulumi.Int(48), Special: pulumi.Bool(false)}, pulumi.Parent(parent))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the secret %s: %w", name, err)
	}
	return secret.Result, nil
}

// newSalt makes the salt of one hash: letters and digits, 128 bits and more. RandomBytes would do,
// but the provider makes its value the resource's ID, which every state and every preview shows in
// clear.
func newSalt(ctx *pulumi.Context, parent pulumi.Resource, name string) (pulumi.StringOutput, error) {
	salt, err := random.NewRandomPassword(ctx, name+"-salt", &random.RandomPasswordArgs{Length: pulumi.Int(24), Special: pulumi.Bool(false)}, pulumi.Parent(parent))
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the salt of %s: %w", name, err)
	}
	return salt.Result, nil
}

// Ready reports an Identity that NewIdentity did not make.
func (i *Identity) Ready() error {
	if i == nil || i.container == nil {
		return errors.New("no identity: pass the value that gateway.NewIdentity returned")
	}
	return nil
}

// Passwords are the generated first passwords by login, without those that the operator chose;
// every value is a secret.
func (i *Identity) Passwords() pulumi.StringMap { return i.passwords }
