package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/apply"
	"homelab/components/internal/memory"
	"homelab/components/workload"
)

// storeOwner is the image's own user.
const (
	storeOwner = "999:1000"
	storePort  = 6379
)

// store keeps the portal's sessions. It is on a network of its own: a service that was taken over
// on the proxy's network cannot even knock at it.
type store struct {
	container *workload.Container
	network   *workload.Network
	password  pulumi.StringOutput
}

func newStore(ctx *pulumi.Context, parent pulumi.Resource, h *host.Host, subnet netip.Prefix) (*store, error) {
	child := pulumi.Parent(parent)
	network, err := workload.NewNetwork(ctx, "authelia-session", &workload.NetworkArgs{Host: h, Subnet: subnet, Internal: true}, child)
	if err != nil {
		return nil, err
	}
	password, err := newSecret(ctx, parent, storeName+"-password")
	if err != nil {
		return nil, err
	}
	placed, err := workload.Place(ctx, h, storeName, storeOwner, []workload.Folder{
		{Base: "secrets", Target: "/run/secrets", Files: []workload.File{
			{Base: "valkey.conf", Content: apply.String(password, renderStore)},
			{Base: "probe", Content: apply.String(password, renderProbe)},
		}},
		// The image declares a volume there. A folder in memory would do, but older runtimes give
		// it the owner and mode of what it covers.
		{Base: "data", Target: "/data", Keeps: workload.Disposable("sessions live in memory only: the store writes nothing here")},
	}, child)
	if err != nil {
		return nil, err
	}
	container, err := workload.New(ctx, storeName, &workload.Spec{
		Host:      h,
		Image:     images.Valkey,
		User:      storeOwner,
		Networks:  []*workload.Network{network},
		Slot:      storeSlot,
		Mounts:    placed.Mounts,
		Command:   []string{"valkey-server", "/run/secrets/valkey.conf"},
		MemoryMiB: memory.AutheliaStore,
		Stage:     host.StageGuards,
		// The password reaches the client on standard input: a command line or an environment would
		// show it.
		Health:    workload.Health{Command: []string{"sh", "-c", "valkey-cli < /run/secrets/probe | grep -qx PONG"}},
		Metrics:   storeMetrics,
		RestartOn: placed.Files(),
	}, child)
	if err != nil {
		return nil, err
	}
	return &store{container: container, network: network, password: password}, nil
}

// renderStore writes the store's configuration. Sessions live in memory only: after a restart
// everybody logs in again, and no backup holds a session.
func renderStore(password string) (string, error) {
	if err := plainSecret(password); err != nil {
		return "", err
	}
	return strings.Join([]string{
		"port " + fmt.Sprint(storePort),
		"requirepass " + password,
		"save \"\"",
		"appendonly no",
		"maxmemory 64mb",
		"maxmemory-policy volatile-lru",
		"rename-command CONFIG \"\"",
		"rename-command DEBUG \"\"",
		"",
	}, "\n"), nil
}

// renderProbe writes what the health check says to the store.
func renderProbe(password string) (string, error) {
	if err := plainSecret(password); err != nil {
		return "", err
	}
	return "AUTH " + password + "\nPING\n", nil
}

// plainSecret holds a secret to letters and digits: in both files a space, a quote or a line end
// would mean something.
func plainSecret(secret string) error {
	if secret == "" || strings.ContainsFunc(secret, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return fmt.Errorf("the session store's password must be letters and digits only")
	}
	return nil
}
