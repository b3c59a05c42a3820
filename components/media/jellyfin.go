package media

import (
	_ "embed"
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/workload"
)

// jellyfinPort is where Jellyfin answers.
const jellyfinPort = 8096

// jellyfinAdministrator is the login of the administrator that the deployment makes.
const jellyfinAdministrator = "admin"

//go:embed files/homelab-jellyfin
var jellyfinProgram string

// NewJellyfin runs the media server and gives it its administrator. A route to its endpoint depends on that: until then, whoever reaches Jellyfin
// first owns it.
func NewJellyfin(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Service, error) {
	s, err := newService(ctx, JellyfinType, name, args, definition{
		port:    jellyfinPort,
		library: "/media",
		spec: workload.Spec{
			Image:   images.Jellyfin,
			Scratch: map[string]int{"/tmp": 256},
			// While it starts, another server answers in its place, with status 200 and "Degraded".
			Health: workload.Health{Command: []string{
				"sh", "-c", fmt.Sprintf(`[ "$(curl --fail --silent http://127.0.0.1:%d/health)" = Healthy ]`, jellyfinPort),
			}},
			Metrics: workload.NoMetrics("Jellyfin's metrics endpoint has no access control of its own"),
		},
		folders: map[string]folder{
			"/config": {"config", workload.Databases("data/*.db")},
			"/cache":  {"cache", workload.Disposable("images and transcodes, which Jellyfin makes again")},
		},
	}, opts)
	if err != nil {
		return nil, err
	}
	return s, s.nameAdministrator(ctx, name, args.Host)
}

// nameAdministrator completes Jellyfin's first set-up with a generated password, again for every new container: it does nothing to a Jellyfin that
// has its administrator. The password travels on standard input, as everybody on the machine can read a command line.
func (s *Service) nameAdministrator(ctx *pulumi.Context, name string, h *host.Host) error {
	child := pulumi.Parent(s)
	password, err := random.NewRandomPassword(ctx, name+"-administrator-password", &random.RandomPasswordArgs{
		Length: pulumi.Int(32), Special: pulumi.Bool(false),
	}, child)
	if err != nil {
		return fmt.Errorf("making the password of the administrator of %s: %w", name, err)
	}
	folder, err := h.NewFolder(ctx, name+"-bin", host.Directory{Path: fmt.Sprintf("%s/%s/bin", host.Root, name), Mode: 0o755, Owner: "root:root"}, child)
	if err != nil {
		return err
	}
	program, err := folder.Write(ctx, name+"-program", "homelab-jellyfin", 0o755, pulumi.String(jellyfinProgram), child)
	if err != nil {
		return err
	}
	container := s.container.Resource()
	named, err := h.Run(ctx, name+"-administrator", host.Action{
		Command:  []string{program.Path, s.container.Name(), strconv.Itoa(s.port), jellyfinAdministrator},
		Stdin:    password.Result,
		Triggers: []pulumi.StringOutput{s.container.ID(), program.Digest},
	}, child, pulumi.DependsOn([]pulumi.Resource{container, program.Resource}))
	if err != nil {
		return err
	}
	s.ready = named
	s.administrator = &Administrator{Name: jellyfinAdministrator, Password: password.Result}
	return nil
}

// Administrator is a service's own first login.
type Administrator struct {
	// Name is the login.
	Name string
	// Password is the generated one, a secret. Who changed it in the service has another.
	Password pulumi.StringOutput
}

// Administrator is the service's own first login, or nil if it has none of its own.
func (s *Service) Administrator() *Administrator { return s.administrator }
