package gateway

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/gateway/internal/authelia"
	"homelab/components/host"
	"homelab/components/internal/apply"
	"homelab/components/workload"
)

// endSessionsScript is the script that ends a person's sessions, run inside the session store's
// container.
//
//go:embed scripts/end-sessions.sh
var endSessionsScript string

// endSessions ends a person's sessions whenever the person has a new password, once the portal
// knows it: whoever has the old one, or a session that was made with it, is out.
func (i *Identity) endSessions(ctx *pulumi.Context, args *IdentityArgs, s *store) error {
	// The script asks the portal from inside the store's container.
	way, err := s.container.AllowLater(ctx, []workload.Endpoint{i.container.Endpoint(authelia.PortalPort)}, pulumi.Parent(i))
	if err != nil {
		return err
	}
	for _, person := range slices.Sorted(maps.Keys(i.hashes)) {
		ended, err := args.Host.Run(ctx, "sessions-of-"+person+"-ended", host.Action{
			Command: []string{
				"docker", "exec", "-i", storeName, "sh", "-s", "--",
				person, autheliaName, fmt.Sprint(authelia.PortalPort), args.Hostname, authelia.SessionCookie,
			},
			Stdin:    pulumi.String(endSessionsScript),
			Triggers: []pulumi.StringOutput{apply.String(i.hashes[person], fingerprint)},
		}, pulumi.Parent(i), pulumi.DependsOn([]pulumi.Resource{way, i.container.Resource(), s.container.Resource()}))
		if err != nil {
			return err
		}
		i.ended = append(i.ended, ended)
	}
	return nil
}

// fingerprint changes with a password's digest, and says nothing about it.
func fingerprint(hash string) (string, error) {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:]), nil
}
