package host

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/apply"
)

// rangesFile fills the packet filter's sets. It is not part of the first boot because Cloudflare's
// ranges change.
const (
	rangesFile  = firewallFolder + "/cloudflare.nft"
	rangesFiles = firewallFolder + "/*.nft"
)

// packetFilter is what the filter of the first boot depends on.
type packetFilter struct {
	HTTPSPort, SSHPort, TailscalePort int
	// Metadata is the address of the metadata service.
	Metadata string
	// Base is the file that lets in who administers the machine, and nobody else.
	Base string
	// Include is the pattern of the files that let in more.
	Include string
}

// baseFile stands alone where the packet filter cannot be loaded as a whole.
const baseFile = "/etc/homelab/base.nft"

var templateFunctions = template.FuncMap{"join": strings.Join}

var filterTemplates = template.Must(template.New("").Funcs(templateFunctions).
	ParseFS(files, "files/*.nft.tmpl"))

// renderRanges writes the sets' elements. What is not a range is an error: a word more in this file
// would be a rule.
func renderRanges(ranges []string) (string, error) {
	var sets struct{ IPv4, IPv6 []string }
	for _, text := range ranges {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return "", fmt.Errorf("reading Cloudflare's range %q: %w", text, err)
		}
		if prefix.Addr().Is4() {
			sets.IPv4 = append(sets.IPv4, prefix.Masked().String())
		} else {
			sets.IPv6 = append(sets.IPv6, prefix.Masked().String())
		}
	}
	slices.Sort(sets.IPv4)
	slices.Sort(sets.IPv6)
	return renderFilter("ranges.nft.tmpl", sets)
}

// fillPacketFilter lets Cloudflare's ranges, and nothing else, reach the proxy's port.
func (h *Host) fillPacketFilter(ctx *pulumi.Context, name string, ranges pulumi.StringArrayOutput) error {
	folder, err := h.NewFolder(ctx, name+"-firewall-folder", Directory{Path: path.Dir(rangesFile), Mode: 0o700, Owner: "root:root"}, pulumi.Parent(h))
	if err != nil {
		return err
	}
	written, err := folder.Write(ctx, name+"-cloudflare-ranges", path.Base(rangesFile), 0o400, apply.String(ranges, renderRanges), pulumi.Parent(h))
	if err != nil {
		return err
	}
	loaded, err := h.Run(ctx, name+"-firewall-loaded", Action{
		Command:  []string{"sudo", "-n", "/usr/local/sbin/homelab-unit", "firewall"},
		Triggers: []pulumi.StringOutput{written.Digest},
	}, pulumi.Parent(h), pulumi.DependsOn([]pulumi.Resource{written.Resource}))
	if err != nil {
		return err
	}
	h.guards = append(h.guards, loaded)
	return h.closeContainers(ctx, name, folder)
}
