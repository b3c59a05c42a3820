package stack_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/edge"
	"homelab/components/exposure"
	"homelab/components/gateway"
	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/internal/imageref"
	"homelab/components/media"
	"homelab/components/service"
	"homelab/components/tailnet"
	"homelab/components/workload"
)

// wanted is the line of an attempt that says how the compiler must refuse it.
var wanted = regexp.MustCompile(`(?m)^// want: (.+)$`)

// Every package below testdata/compile tries to get around the types that carry proof. Each must
// fail to compile, for the reason it names: an attempt that fails for another one, say a misspelt
// import, proves nothing.
func TestAttemptsThatMustNotCompile(t *testing.T) {
	// list compiles every package and, unlike build, goes on after one whose imports are refused.
	out, err := exec.Command("go", "list", "-e", "-export", "-json=Dir,ImportPath,Error", "./testdata/compile/...").Output()
	require.NoError(t, err)
	attempts := 0
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); attempts++ {
		var compiled struct {
			Dir, ImportPath string
			Error           *struct{ Err string }
		}
		require.NoError(t, decoder.Decode(&compiled))
		t.Run(filepath.Base(compiled.Dir), func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(compiled.Dir, "attempt.go"))
			require.NoError(t, err)
			want := wanted.FindStringSubmatch(string(source))
			require.NotNil(t, want, "the attempt does not say how it must be refused")
			require.NotNil(t, compiled.Error, "the attempt compiled")
			assert.Regexp(t, want[1], compiled.Error.Err)
		})
	}
	assert.GreaterOrEqual(t, attempts, 28)
}

// recorder refuses every registration: an attempt must be refused before it reaches the engine.
type recorder struct {
	mu         sync.Mutex
	registered []string
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registered = append(r.registered, args.TypeToken+" "+args.Name)
	return args.Name, args.Inputs, nil
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registered = append(r.registered, args.Token)
	return args.Args, nil
}

// Zero values compile in Go, so each is refused when it is used, with an error that says what is
// missing, and before anything is registered.
func TestAttemptsThatMustBeRefused(t *testing.T) {
	decent := func() workload.Spec {
		return workload.Spec{
			Image: images.Jellyfin, User: "2000:2000", MemoryMiB: 64,
			Health: workload.Health{Command: []string{"curl", "http://127.0.0.1/health"}}, Metrics: workload.NoMetrics("none"),
		}
	}
	with := func(change func(*workload.Spec)) func(*pulumi.Context) error {
		return func(ctx *pulumi.Context) error {
			spec := decent()
			change(&spec)
			_, err := workload.New(ctx, "attempt", &spec)
			return err
		}
	}
	defines := func(change func(*service.Definition)) func(*pulumi.Context) error {
		return func(ctx *pulumi.Context) error {
			d := media.Jellyfin()
			change(&d)
			_, err := service.Run(ctx, &service.Args{Timezone: "Etc/UTC", Deployments: []service.Deployment{
				{Definition: d, MemoryMiB: 64, Access: d.Default.Access},
			}})
			return err
		}
	}
	cases := map[string]struct {
		attempt func(*pulumi.Context) error
		want    string
	}{
		"publish without a route": {func(ctx *pulumi.Context) error {
			_, err := exposure.Publish(ctx, "attempt", &exposure.Args{})
			return err
		}, "no route: only (*gateway.Proxy).Routes makes one"},
		"routes of a proxy that is not there": {func(ctx *pulumi.Context) error {
			routes := (&gateway.Proxy{}).Routes()
			if len(routes) > 0 {
				return nil
			}
			return (&gateway.Proxy{}).Ready()
		}, "no proxy"},
		"a machine without a shield": {func(ctx *pulumi.Context) error {
			_, err := host.New(ctx, "attempt", &host.Args{Shield: &edge.Shield{}, Tailnet: &tailnet.Tailnet{}})
			return err
		}, "no shield"},
		"a machine without a tailnet": {func(ctx *pulumi.Context) error {
			_, err := host.New(ctx, "attempt", &host.Args{})
			return err
		}, "no tailnet"},
		"a portal without detection": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewIdentity(ctx, "attempt", &gateway.IdentityArgs{Detection: &gateway.Detection{}})
			return err
		}, "no detection"},
		"detection of sites that nobody checked": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewDetection(ctx, "attempt", &gateway.DetectionArgs{Sites: &gateway.Sites{}})
			return err
		}, "no sites"},
		"a proxy without identity": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewProxy(ctx, "attempt", &gateway.ProxyArgs{})
			return err
		}, "no identity"},
		"a proxy without jails": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewProxy(ctx, "attempt", &gateway.ProxyArgs{Jails: &gateway.Jails{}})
			return err
		}, "no jails"},
		"a site without a running service": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewSites([]gateway.Site{{
				Name: "attempt", Hostname: "attempt.example.com", Visibility: access.Public, Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
			}})
			return err
		}, "no endpoint"},
		"a login at the portal that the portal does not know": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewSites([]gateway.Site{{
				Name: "attempt", Hostname: "attempt.example.com", Visibility: access.Public, Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
				OpenID: &gateway.OpenID{},
			}})
			return err
		}, "no registration at the portal"},
		"a login at the portal that comes back anywhere": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewOpenID(ctx, "attempt", &gateway.OpenIDArgs{
				Hostname: "attempt.example.com", Portal: "auth.example.com", Access: access.Access{Policy: access.TwoFactor, Groups: []string{"users"}},
				RedirectPaths: []string{"/*"},
			})
			return err
		}, "is not a plain absolute path"},
		"a login at the portal for everybody": {func(ctx *pulumi.Context) error {
			_, err := gateway.NewOpenID(ctx, "attempt", &gateway.OpenIDArgs{
				Hostname: "attempt.example.com", Portal: "auth.example.com", Access: access.Access{Policy: access.Native}, RedirectPaths: []string{"/callback"},
			})
			return err
		}, "needs to know who may enter"},
		"a listener that no machine made": {func(ctx *pulumi.Context) error {
			spec := decent()
			_, err := workload.NewPublished(ctx, "attempt", &spec, []workload.Publication{{Port: 80}})
			return err
		}, "no listener"},
		"a service without a machine": {func(ctx *pulumi.Context) error {
			_, err := service.Run(ctx, &service.Args{Timezone: "Etc/UTC"})
			return err
		}, "no host"},
		"a player that writes to the library": {defines(func(d *service.Definition) {
			d.Library = service.WriteLibrary("/media")
		}), "only a service that runs as host.MediaOwner can write to the library"},
		"a writer to the library that visitors reach without the portal": {defines(func(d *service.Definition) {
			d.Library, d.User = service.WriteLibrary("/media"), host.MediaOwner
		}), "visitors reach it without the portal, so it cannot write to the library"},
		"a service that uses one that does not run": {defines(func(d *service.Definition) {
			d.Uses = []service.Use{service.On(media.Jellyseerr)}
		}), "jellyfin uses jellyseerr, which does not run"},
		"a service behind a tunnel that is not there": {defines(func(d *service.Definition) { d.BehindTunnel = true }), "no tunnel: pass the value that workload.NewTunnel returned"},
		"a service that the portal does not know":     {defines(func(d *service.Definition) { d.Login = &service.Login{} }), "it is not registered at the portal"},
		"a service on a port of root's":               {defines(func(d *service.Definition) { d.Port = 80 }), "port 80 is not between 1024 and 65535"},
		"two services of one name": {func(ctx *pulumi.Context) error {
			d := service.Deployment{Definition: media.Jellyfin(), MemoryMiB: 64}
			_, err := service.Run(ctx, &service.Args{Timezone: "Etc/UTC", Deployments: []service.Deployment{d, d}})
			return err
		}, "two services are called jellyfin"},
		"a service of the operator's own without a digest": {defines(func(d *service.Definition) {
			*d = service.Custom(service.CustomArgs{Name: "x", Image: imageref.Reference{Repository: "nginx", Tag: "1"}, Port: 8080, User: "2002:2002"})
		}), "is not pinned"},
		"a device that nobody made": {with(func(s *workload.Spec) { s.Devices = []workload.Device{{}} }), "must be made by workload.Tunnel or workload.Graphics"},
		"a device without a reason": {with(func(s *workload.Spec) { s.Devices = []workload.Device{workload.Tunnel("")} }), "device /dev/net/tun needs a reason"},
		"a container that writes to media": {with(func(s *workload.Spec) {
			s.User, s.Mounts = service.Owner, []workload.Mount{{Media: &host.Media{}, Target: "/media"}}
		}), "only a container that runs as the library's owner may write"},
		"a file outside its folders": {func(*pulumi.Context) error {
			return host.File{Path: "/etc/passwd", Mode: 0o600, Owner: "root:root", Content: pulumi.String("")}.Validate()
		}, "below /opt/homelab or /etc/fail2ban"},
		"a file that climbs out": {func(*pulumi.Context) error {
			return host.File{Path: "/opt/homelab/../../etc/passwd", Mode: 0o600, Owner: "root:root", Content: pulumi.String("")}.Validate()
		}, "the path must be plain"},
		"a file that anybody may write": {func(*pulumi.Context) error {
			return host.File{Path: "/opt/homelab/x", Mode: 0o666, Owner: "root:root", Content: pulumi.String("")}.Validate()
		}, "lets anybody write"},
		"no image":        {with(func(s *workload.Spec) { s.Image = images.Image{} }), "is not pinned"},
		"no memory limit": {with(func(s *workload.Spec) { s.MemoryMiB = 0 }), "no memory limit"},
		"no health check": {with(func(s *workload.Spec) { s.Health = workload.Health{} }), "no health check"},
		"a check that proves nothing": {with(func(s *workload.Spec) {
			s.Health.Command = []string{"/bin/ping", "127.0.0.1"}
		}), "proves nothing about the service"},
		"no metrics":                         {with(func(s *workload.Spec) { s.Metrics = workload.Metrics{} }), "no metrics"},
		"no metrics, no reason":              {with(func(s *workload.Spec) { s.Metrics = workload.NoMetrics("") }), "no metrics"},
		"no network":                         {with(func(s *workload.Spec) {}), "no network"},
		"a network that is not":              {with(func(s *workload.Spec) { s.Networks = []*workload.Network{{}} }), "no network: pass the value"},
		"an endpoint that no container made": {with(func(s *workload.Spec) { s.Uses = []workload.Endpoint{{}} }), "no endpoint: only workload.Container.Endpoint makes one"},
		"root without a reason":              {with(func(s *workload.Spec) { s.User = "0:0" }), "runs as root without a reason"},
		"a user by name":                     {with(func(s *workload.Spec) { s.User = "root" }), "must be uid:gid in numbers"},
		"a secret in the environment": {with(func(s *workload.Spec) {
			s.Env = map[string]string{"DB_PASSWORD": "x"}
		}), "DB_PASSWORD would show a secret"},
		"every capability": {with(func(s *workload.Spec) { s.Capabilities = []string{"CAP_SYS_ADMIN"} }), "is root on the machine by another name"},
		"a folder that the backup does not know": {with(func(s *workload.Spec) {
			s.Mounts = []workload.Mount{{Folder: &host.Folder{}, Target: "/x"}}
		}), "the backup must know what the container keeps"},
		"a database outside its folder": {with(func(s *workload.Spec) {
			s.Mounts = []workload.Mount{{Folder: &host.Folder{}, Target: "/x", Keeps: workload.Databases("../other/data.db")}}
		}), `"../other/data.db" is not a relative path of a database`},
		"a cache without a reason": {with(func(s *workload.Spec) {
			s.Mounts = []workload.Mount{{Folder: &host.Folder{}, Target: "/x", Keeps: workload.Disposable("")}}
		}), "the backup must know what the container keeps"},
		"a mount from nowhere": {with(func(s *workload.Spec) { s.Mounts = []workload.Mount{{Target: "/x"}} }), "no folder"},
		"a mounted file that never changes": {with(func(s *workload.Spec) {
			s.Mounts = []workload.Mount{{File: &host.Written{Path: "/opt/homelab/x"}, Target: "/x"}}
		}), "must also be in RestartOn"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			var refused error
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				refused = c.attempt(ctx)
				return nil
			}, pulumi.WithMocks("homelab", "attempt", r))
			require.NoError(t, err)
			require.Error(t, refused, "the attempt was let through")
			assert.Contains(t, refused.Error(), c.want)
			assert.Empty(t, r.registered, "the attempt reached the engine before it was refused")
		})
	}
}
