package settings

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"homelab/components/internal/offer"
	"homelab/components/internal/qualityprofile"
	"homelab/components/internal/vpnserver"
)

// vpn checks the VPN; nil means that there is none.
func (k *checker) vpn(r rawVPN, networks Networks) *vpnserver.VPN {
	const path = namespace + "vpn"
	provider := vpnserver.Provider(r.Provider)
	if !k.optional(path+".provider", r.Provider) {
		return nil
	}
	if !provider.Valid() {
		names := []string{string(vpnserver.Off)}
		for _, p := range vpnserver.Providers() {
			names = append(names, string(p))
		}
		remedy := oneOf(names) + "; custom is any other with WireGuard"
		if near := nearest(r.Provider, names); near != "" {
			remedy = "did you mean " + near + "?"
		}
		k.add(path+".provider", quote(r.Provider)+" is no provider that this program knows", remedy)
		return nil
	}
	if provider == vpnserver.Off {
		return nil
	}
	v := &vpnserver.VPN{Provider: provider, PortForwarding: r.PortForwarding, ForwardedPort: r.ForwardedPort}
	wanted, other := "wireguard", "openvpn"
	if provider.Type() == vpnserver.OpenVPN {
		wanted, other = other, wanted
	}
	if k.hasObject("vpn." + other) {
		k.add(path+"."+other, fmt.Sprintf("is set, but %s is used with %s", provider, wanted), "remove it, and configure "+path+"."+wanted)
	}
	var address string
	if provider.Type() == vpnserver.OpenVPN {
		address, v.Port, v.Protocol, v.Username = r.OpenVPN.Address, r.OpenVPN.Port, r.OpenVPN.Protocol, r.OpenVPN.Username
	} else {
		address, v.Port, v.Protocol, v.PublicKey = r.WireGuard.Address, r.WireGuard.Port, vpnserver.UDP, r.WireGuard.PublicKey
		v.Addresses = k.vpnAddresses(path+".wireguard.addresses", r.WireGuard.Addresses, networks)
		k.presharedKey(path+".presharedKey", provider, r.PresharedKey)
	}
	v.Address, _ = netip.ParseAddr(address)
	for _, p := range v.Check() {
		if k.ok(path + "." + p.Field) {
			k.add(path+"."+p.Field, p.What, p.Remedy)
		}
	}
	return v
}

// remote checks that the provider's OpenVPN file leads to the server of the settings: Gluetun goes
// where the file says, and the packet filter lets it go nowhere else. Nothing of the file is shown.
func (k *checker) remote(s *Settings) {
	file := s.Credentials.VPNConfiguration
	if s.VPN == nil || !file.Given() || s.VPN.Provider.Type() != vpnserver.OpenVPN {
		return
	}
	address, port, protocol := "", "", ""
	for line := range strings.Lines(*file.value) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 2 && words[0] == "proto":
			protocol = words[1]
		case len(words) >= 2 && words[0] == "remote" && address == "":
			address = words[1]
			if len(words) >= 3 {
				port = words[2]
			}
			if len(words) >= 4 {
				protocol = words[3]
			}
		}
	}
	const remedy = "write into the file's first remote line what the setting says, or the other way round"
	if s.VPN.Address.IsValid() && address != s.VPN.Address.String() {
		k.add(vpnConfigurationKey, "does not lead to the address in "+namespace+"vpn.openvpn.address", remedy)
	}
	if port != "" && port != strconv.Itoa(s.VPN.Port) {
		k.add(vpnConfigurationKey, "does not lead to the port in "+namespace+"vpn.openvpn.port", remedy)
	}
	if protocol != "" && !strings.HasPrefix(protocol, s.VPN.Protocol) {
		k.add(vpnConfigurationKey, "has another protocol than "+namespace+"vpn.openvpn.protocol", remedy)
	}
}

func (k *checker) presharedKey(path string, provider vpnserver.Provider, given bool) {
	switch {
	case given && !provider.MayHavePresharedKey():
		k.add(path, fmt.Sprintf("is true, but %s has no preshared keys", provider), "remove it")
	case !given && provider.NeedsPresharedKey():
		k.add(path, fmt.Sprintf("must be true: %s gives a preshared key to everybody", provider),
			"set it, and the key: pulumi config set --secret "+vpnPresharedKeyKey)
	}
}

// vpnAddresses are the machine's own in the tunnel. One that lies in a network of the containers
// would take that network's packets into the tunnel.
func (k *checker) vpnAddresses(path string, given []string, networks Networks) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range given {
		at := fmt.Sprintf("%s[%d]", path, i)
		p, err := netip.ParsePrefix(text)
		if a, plain := netip.ParseAddr(text); plain == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			k.add(at, quote(text)+" is not an address", "write such as 10.67.12.34/32")
			continue
		}
		for _, n := range []netip.Prefix{networks.CaddyProxy, networks.GrafanaMonitoring, networks.Gluetun, networks.AutheliaSession} {
			if n.IsValid() && n.Overlaps(p) {
				k.add(at, fmt.Sprintf("%s overlaps %s, a network of containers", p, n), "give that network another range in "+namespace+"networks")
			}
		}
		out = append(out, p)
	}
	return out
}

// leastDownloadsGB holds a film with its parts, and the systems' own files.
const leastDownloadsGB = 5

// downloads checks how much of the server's disk is set aside. The mount of the media has a quarter
// of the disk for its cache (host.MediaArgs), the system and the images the rest.
func (k *checker) downloads(r rawDownloads, s *Settings) {
	const path = namespace + "storage.downloads.sizeGB"
	s.Storage.Downloads = Downloads(r)
	disk := s.Server.DiskGB
	most := disk / 2
	switch {
	case r.SizeGB < leastDownloadsGB:
		k.add(path, fmt.Sprintf("must be at least %d, is %d", leastDownloadsGB, r.SizeGB), "give downloads more of the disk")
	case disk > 0 && r.SizeGB > most:
		k.add(path, fmt.Sprintf("is %d, more than half of the %d GB of server type %s", r.SizeGB, disk, s.Server.Type),
			fmt.Sprintf("lower it to %d, or use a larger server type: the system, its images and the cache of the library need the rest", most))
	}
}

var indexerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// wiring checks how the services are connected.
func (k *checker) wiring(r rawWiring, s *Settings) Wiring {
	const path = namespace + "wiring"
	for i, name := range r.Enforce {
		at := fmt.Sprintf("%s.enforce[%d]", path, i)
		if !slices.ContainsFunc(k.offers, func(o offer.Offer) bool { return o.Name == name && o.Wired }) {
			var names []string
			for _, o := range k.offers {
				if o.Wired {
					names = append(names, o.Name)
				}
			}
			k.add(at, quote(name)+" is no service whose settings this program writes", oneOf(names))
		}
	}
	for _, list := range []struct {
		key, service string
		names        []string
	}{{"jackettIndexers", "jackett", r.JackettIndexers}, {"prowlarrIndexers", "prowlarr", r.ProwlarrIndexers}} {
		for i, name := range list.names {
			at := fmt.Sprintf("%s.%s[%d]", path, list.key, i)
			switch {
			case !indexerName.MatchString(name):
				k.add(at, quote(name)+" is not the name of an indexer", "write it as "+list.service+" does, such as 1337x")
			case list.service == "jackett" && name == "all":
				k.add(at, "all is every indexer at once, which no other program can tell apart", "list them one by one")
			case slices.Index(list.names, name) < i:
				k.add(at, quote(name)+" is listed twice", "remove one")
			}
		}
		if len(list.names) > 0 && !slices.ContainsFunc(s.Services, func(on Service) bool { return on.Name == list.service }) {
			k.add(path+"."+list.key, "is for "+list.service+", which is off", "enable "+namespace+"services."+list.service+", or remove the list")
		}
	}
	return Wiring{
		Enforce: slices.Sorted(slices.Values(r.Enforce)), JackettIndexers: r.JackettIndexers, ProwlarrIndexers: r.ProwlarrIndexers,
		QualityProfiles: k.qualityProfiles(path+".qualityProfiles", r.QualityProfiles, s),
	}
}

// qualityProfiles checks what Radarr and Sonarr get of the TRaSH guides.
func (k *checker) qualityProfiles(path string, r rawQualityProfiles, s *Settings) map[string][]qualityprofile.Profile {
	var out map[string][]qualityprofile.Profile
	for _, list := range []struct {
		service   string
		templates []string
	}{{qualityprofile.Radarr, r.Radarr}, {qualityprofile.Sonarr, r.Sonarr}} {
		if len(list.templates) > 0 && out == nil {
			out = map[string][]qualityprofile.Profile{}
		}
		for i, template := range list.templates {
			at := fmt.Sprintf("%s.%s[%d]", path, list.service, i)
			profile, known := qualityprofile.Find(list.service, template)
			switch {
			case !known:
				k.add(at, quote(template)+" is no quality profile for "+list.service, oneOf(qualityprofile.Templates(list.service)))
			case slices.Index(list.templates, template) < i:
				k.add(at, quote(template)+" is listed twice", "remove one")
			}
			out[list.service] = append(out[list.service], profile)
		}
		if len(list.templates) > 0 && !slices.ContainsFunc(s.Services, func(on Service) bool { return on.Name == list.service }) {
			k.add(path+"."+list.service, "is for "+list.service+", which is off", "enable "+namespace+"services."+list.service+", or remove the list")
		}
	}
	return out
}
