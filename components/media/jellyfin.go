package media

import (
	_ "embed"
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/service"
	"homelab/components/workload"
)

// jellyfinPort is where Jellyfin answers.
const jellyfinPort = 8096

//go:embed files/homelab-jellyfin
var jellyfinProgram string

// Jellyfin plays media. Its own apps for televisions and phones cannot pass the portal, so it keeps
// its own login.
func Jellyfin() service.Definition {
	return service.Definition{
		Name:    "jellyfin",
		Type:    "homelab:media:Jellyfin",
		Summary: "Films and series",
		Image:   images.Jellyfin,
		Port:    jellyfinPort,
		// While it starts, another server answers in its place, with status 200 and "Degraded".
		Health: service.Health{Command: []string{
			"sh", "-c", fmt.Sprintf(`[ "$(curl --fail --silent http://127.0.0.1:%d/health)" = Healthy ]`, jellyfinPort),
		}},
		Metrics: workload.NoMetrics("Jellyfin's metrics endpoint has no access control of its own; the wiring asks it, and has some"),
		Folders: []service.Folder{
			{Base: "config", Target: "/config", Keeps: workload.Databases("data/*.db")},
			{Base: "cache", Target: "/cache", Keeps: workload.Disposable("images and transcodes, which Jellyfin makes again")},
		},
		Scratch: map[string]int{"/tmp": 256},
		Library: service.ReadLibrary(library),
		Wired:   true,
		Slot:    32,
		WayOut:  workload.Internet, // what it knows of films and series
		Default: service.Default{
			Hostname:   "jellyfin",
			Visibility: access.Tailnet,
			Access:     access.Access{Policy: access.Native},
			MemoryMiB:  4096,
		},
		Prepare: nameAdministrator,
	}
}

// nameAdministrator completes Jellyfin's first set-up with a generated password, because until then
// whoever reaches Jellyfin first owns it. It runs again for every new container, and does nothing
// to a Jellyfin that has its administrator. The password travels on standard input, as everybody on
// the machine can read a command line.
func nameAdministrator(ctx *pulumi.Context, jellyfin *service.Running) (*service.Prepared, error) {
	name := jellyfin.Name
	password, err := random.NewRandomPassword(ctx, name+"-administrator-password", &random.RandomPasswordArgs{
		Length: pulumi.Int(32), Special: pulumi.Bool(false),
	}, jellyfin.Parent)
	if err != nil {
		return nil, fmt.Errorf("making the administrator's password: %w", err)
	}
	bin := host.Directory{Path: fmt.Sprintf("%s/%s/bin", host.Root, name), Mode: 0o755, Owner: "root:root"}
	folder, err := jellyfin.Host.NewFolder(ctx, name+"-bin", bin, jellyfin.Parent)
	if err != nil {
		return nil, err
	}
	program, err := folder.Write(ctx, name+"-program", "homelab-jellyfin", 0o755, pulumi.String(jellyfinProgram), jellyfin.Parent)
	if err != nil {
		return nil, err
	}
	named, err := jellyfin.Host.Run(ctx, name+"-administrator", host.Action{
		Command:  []string{program.Path, name, strconv.Itoa(jellyfin.Port), administrator},
		Stdin:    password.Result,
		Triggers: []pulumi.StringOutput{jellyfin.Container.ID(), program.Digest},
	}, jellyfin.Parent, pulumi.DependsOn([]pulumi.Resource{jellyfin.Container.Resource(), program.Resource}))
	if err != nil {
		return nil, err
	}
	return &service.Prepared{
		Resource:      named,
		Administrator: &service.Administrator{Name: administrator, Password: password.Result},
	}, nil
}
