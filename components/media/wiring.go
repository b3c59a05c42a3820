package media

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/internal/memory"
	"homelab/components/internal/qualityprofile"
	"homelab/components/internal/validate"
	"homelab/components/service"
	"homelab/components/vpn"
	"homelab/components/workload"
)

// WiringType is the type token of what connects the services with each other.
const WiringType = "homelab:media:Wiring"

// wireSlot is the number of its container; see workload.Spec.Slot.
const wireSlot = 62

// The libraries of Jellyfin, which are folders of the library on the Storage Box.
const (
	movies = "movies"
	series = "tv"
)

// WiringArgs are the services to connect, and what the settings say of it.
type WiringArgs struct {
	// Host is the machine.
	Host *host.Host
	// Network is that of the services, Monitoring where it is scraped.
	Network, Monitoring *workload.Network
	// Library is the mounted media library.
	Library *host.Media
	// ImageRoot is the project's folder, below which the program's source is.
	ImageRoot string
	// Timezone is an IANA name.
	Timezone string
	// Services are those that run, by name.
	Services []*service.Service
	// Hostnames are the full host names of the services, by name.
	Hostnames map[string]string
	// Email is the mail address of Jellyseerr's administrator.
	Email string
	// Enforce are the services whose settings are put back when somebody changed them.
	Enforce []string
	// ListenPort is the port that the VPN's provider always forwards to qBittorrent; 0 for none.
	ListenPort int
	// JackettIndexers and ProwlarrIndexers are set up in these services.
	JackettIndexers, ProwlarrIndexers []string
	// QualityProfiles are those that Recyclarr writes, by the name of the service.
	QualityProfiles map[string][]qualityprofile.Profile
	// Recyclarr writes them; nil if there are none.
	Recyclarr *service.Service
}

// Validate returns every problem of the arguments.
func (a *WiringArgs) Validate() error {
	p := validate.Of("wiring")
	p.Merge(a.Host.Ready())
	p.Merge(a.Network.Ready())
	p.Merge(a.Monitoring.Ready())
	p.Merge(a.Library.Ready())
	p.Require(a.ImageRoot != "", "no folder of the project")
	p.Require(len(a.Services) > 0, "no services")
	for _, s := range a.Services {
		p.Merge(s.Ready())
	}
	if len(a.QualityProfiles) > 0 {
		p.Merge(a.Recyclarr.Ready()) // Jellyseerr is told of a profile that only it makes
	}
	return p.Err()
}

// Wiring connects the services with each other over their APIs, and watches that it stays so. Only
// Wire makes a usable one.
type Wiring struct {
	pulumi.ResourceState

	container *workload.Container
}

// Wire connects the services. It is a container like any other: what it may reach is the edges that
// it declares, and it is healthy once everything is connected. So a route that depends on it leads
// to no service that is still anybody's to set up.
func Wire(ctx *pulumi.Context, name string, args *WiringArgs, opts ...pulumi.ResourceOption) (*Wiring, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	w := &Wiring{}
	if err := ctx.RegisterComponentResourceV2(WiringType, name, pulumi.Map{}, w, opts...); err != nil {
		return nil, fmt.Errorf("registering the wiring: %w", err)
	}
	plan, uses, err := args.plan()
	if err != nil {
		return nil, err
	}
	image, err := workload.Build(ctx, name, args.Host, args.ImageRoot, path.Join("images", "wire"), pulumi.Parent(w))
	if err != nil {
		return nil, err
	}
	placed, err := workload.Place(ctx, args.Host, name, service.Owner, []workload.Folder{
		{Base: "plan", Target: "/etc/wire", Files: []workload.File{{Base: "plan.json", Content: plan}}},
		{Base: "state", Target: "/state", Keeps: workload.Files()},
	}, pulumi.Parent(w))
	if err != nil {
		return nil, err
	}
	networks := []*workload.Network{args.Network, args.Monitoring}
	for _, e := range uses {
		if !slices.Contains(networks, e.Network()) {
			networks = append(networks, e.Network())
		}
	}
	var after []pulumi.Resource
	for _, s := range args.Services {
		after = append(after, s.Guards()...)
	}
	if args.Recyclarr != nil {
		after = append(after, args.Recyclarr.Container().Resource())
	}
	w.container, err = workload.New(ctx, name, &workload.Spec{
		Host: args.Host, Built: image, User: service.Owner, Networks: networks, Slot: wireSlot,
		Uses: uses, Mounts: placed.Mounts, RestartOn: placed.Files(), Env: memory.WithGo(map[string]string{"TZ": args.Timezone}, memory.Wiring),
		Command:   []string{"run", "--plan", "/etc/wire/plan.json", "--state", "/state"},
		MemoryMiB: memory.Wiring,
		// Services of a new machine take minutes to start, and an indexer's site may be slow.
		Health:  workload.Health{Command: []string{"/usr/bin/homelab-wire", "healthy"}, StartPeriod: 10 * time.Minute},
		Metrics: wiringMetrics,
		After:   after,
	}, pulumi.Parent(w))
	if err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}

// Container is its container.
func (w *Wiring) Container() *workload.Container { return w.container }

// Resource exists once everything is connected.
func (w *Wiring) Resource() pulumi.Resource { return w.container.Resource() }

// wirePlan is what the program reads: images/wire/plan has its meaning.
type wirePlan struct {
	Version     int             `json:"version"`
	Enforce     []string        `json:"enforce,omitempty"`
	Jellyfin    *wireJellyfin   `json:"jellyfin,omitempty"`
	Jellyseerr  *wireJellyseerr `json:"jellyseerr,omitempty"`
	Radarr      *wireArr        `json:"radarr,omitempty"`
	Sonarr      *wireArr        `json:"sonarr,omitempty"`
	Prowlarr    *wireIndexers   `json:"prowlarr,omitempty"`
	Jackett     *wireIndexers   `json:"jackett,omitempty"`
	QBittorrent *wireTorrents   `json:"qbittorrent,omitempty"`
}

// wireApp is where a service answers, and who may change its settings there.
type wireApp struct {
	URL      string `json:"url"`
	Setting  string `json:"setting"`
	APIKey   string `json:"apiKey,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

type wireArr struct {
	wireApp
	RootFolder     string `json:"rootFolder"`
	QualityProfile string `json:"qualityProfile"`
}

// usual is a profile that every new Radarr and Sonarr has.
const usual = "HD-1080p"

// requested is the profile of what people ask a service for.
func (a *WiringArgs) requested(service string) string {
	if profiles := a.QualityProfiles[service]; len(profiles) > 0 {
		return profiles[0].Name
	}
	return usual
}

type wireIndexers struct {
	wireApp
	Indexers []string `json:"indexers,omitempty"`
}

type wireTorrents struct {
	wireApp
	SavePath   string   `json:"savePath"`
	TempPath   string   `json:"tempPath"`
	Interface  string   `json:"interface"`
	ListenPort int      `json:"listenPort,omitempty"`
	Categories []string `json:"categories"`
}

type wireLibrary struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Path string `json:"path"`
}

type wireJellyfin struct {
	wireApp
	Libraries []wireLibrary `json:"libraries"`
}

type wireJellyseerr struct {
	wireApp
	Email          string `json:"email"`
	ApplicationURL string `json:"applicationUrl"`
}

// plan renders what the program reads, and returns what it may reach for it.
func (a *WiringArgs) plan() (pulumi.StringOutput, []workload.Endpoint, error) {
	var uses []workload.Endpoint
	all := pulumi.Map{}
	for _, s := range a.Services {
		uses = append(uses, s.Endpoint())
		app := pulumi.Map{"url": pulumi.String("http://" + s.Endpoint().Address())}
		if key, err := s.Secret(apiKey); err == nil {
			app["apiKey"] = key
		}
		if admin := s.Administrator(); admin != nil {
			app["user"], app["password"] = pulumi.String(admin.Name), admin.Password
		}
		all[s.Name()] = app
	}
	text := all.ToMapOutput().ApplyT(func(apps map[string]any) (string, error) {
		out, err := json.MarshalIndent(a.render(apps), "", "  ")
		if err != nil {
			return "", fmt.Errorf("rendering the wiring's plan: %w", err)
		}
		return string(out) + "\n", nil
	}).(pulumi.StringOutput)
	return pulumi.ToSecret(text).(pulumi.StringOutput), uses, nil
}

// render puts together what is known of each service that runs.
func (a *WiringArgs) render(apps map[string]any) wirePlan {
	app := func(name string) *wireApp {
		known, runs := apps[name].(map[string]any)
		if !runs {
			return nil
		}
		text := func(key string) string { s, _ := known[key].(string); return s }
		return &wireApp{
			URL: text("url"), Setting: "homelab:services." + name, APIKey: text("apiKey"), User: text("user"), Password: text("password"),
		}
	}
	out := wirePlan{Version: 1, Enforce: a.Enforce}
	if known := app(Jellyfin().Name); known != nil {
		out.Jellyfin = &wireJellyfin{*known, []wireLibrary{
			{"Movies", "movies", a.Library.Within(library, movies)}, {"Shows", "tvshows", a.Library.Within(library, series)},
		}}
	}
	if known := app(Jellyseerr().Name); known != nil {
		out.Jellyseerr = &wireJellyseerr{*known, a.Email, "https://" + a.Hostnames[Jellyseerr().Name]}
	}
	var categories []string
	arr := func(name, folder string) *wireArr {
		known := app(name)
		if known == nil {
			return nil
		}
		categories = append(categories, name)
		return &wireArr{*known, a.Library.Within(library, folder), a.requested(name)}
	}
	out.Radarr, out.Sonarr = arr(Radarr().Name, movies), arr(Sonarr().Name, series)
	if known := app(Prowlarr().Name); known != nil {
		out.Prowlarr = &wireIndexers{*known, a.ProwlarrIndexers}
	}
	if known := app(Jackett().Name); known != nil {
		known.User = "" // it asks for a password alone
		out.Jackett = &wireIndexers{*known, a.JackettIndexers}
	}
	if known := app(QBittorrent().Name); known != nil {
		out.QBittorrent = &wireTorrents{*known, complete, incomplete, vpn.Interface, a.ListenPort, categories}
	}
	return out
}
