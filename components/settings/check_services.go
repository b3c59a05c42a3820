package settings

import (
	"fmt"
	"slices"
	"strings"

	"homelab/components/internal/access"
	"homelab/components/internal/memory"
	"homelab/components/internal/offer"
)

// leastMemoryMiB is the smallest memory limit of a service: less than any of them starts with.
const leastMemoryMiB = 64

// site is a hostname with the place in the configuration that gives it.
type site struct {
	path, label, hostname string
	guarded               bool
}

// checkNames reports the keys of homelab:services and homelab:customServices that can be no
// service's name, and takes them out.
func checkNames(c *collector, given object, offers []offer.Offer) {
	names := make([]string, 0, len(offers))
	for _, o := range offers {
		if !o.Internal {
			names = append(names, o.Name)
		}
	}
	services, _ := given["services"].(object)
	for _, name := range sortedKeys(services) {
		if slices.Contains(names, name) {
			continue
		}
		remedy := "use one of " + strings.Join(names, ", ") + ", or declare a service of your own in " + namespace + "customServices"
		if near := nearest(name, names); near != "" {
			remedy = "did you mean " + namespace + "services." + near + "?"
		}
		c.reject(namespace+"services."+printable(name), "is no service of this program", remedy)
		delete(services, name)
	}
	custom, _ := given["customServices"].(object)
	for _, name := range sortedKeys(custom) {
		path := namespace + "customServices." + printable(name)
		switch {
		case slices.Contains(names, name):
			c.reject(path, "is the name of a service of this program", "configure that one in "+namespace+"services."+name+", or choose another name")
		case !offer.Pattern.MatchString(name):
			c.reject(path, "is not the name of a service", "use 1 to 32 lower-case letters, digits and inner hyphens, beginning with a letter")
		default:
			continue
		}
		delete(custom, name)
	}
}

// services checks all services and puts those that are on into the settings. It returns everything
// that has a hostname, the portal first.
func (k *checker) services(r raw, s *Settings) []site {
	sites := []site{{namespace + "auth.hostname", r.Auth.Hostname, s.Auth.Hostname, true}}
	sum, limits := 0, []string{}
	keep := func(path, label string, service Service) {
		sites = append(sites, site{path + ".hostname", label, service.Hostname, service.Access.Policy != access.Native})
		sum += service.MemoryMiB
		limits = append(limits, path+".memoryMiB")
	}
	for _, o := range k.offers {
		if o.Internal {
			continue
		}
		path, given := namespace+"services."+o.Name, r.Services[o.Name]
		if !given.Enabled && !k.has("services."+o.Name) {
			continue
		}
		service := k.service(path, o.Name, given, s)
		if o.BehindTunnel && s.VPN == nil && k.ok(namespace+"vpn.provider") {
			if k.has("services."+o.Name+".enabled") && given.Enabled {
				k.add(path+".enabled", "is true, but "+o.Name+" runs only behind a VPN, and there is none",
					"configure "+namespace+"vpn, or remove enabled: without a VPN the service is off")
			}
			continue
		}
		if !given.Enabled {
			continue
		}
		if policy := service.Access.Policy; o.TwoFactorOnly && policy.Valid() && policy != access.TwoFactor {
			k.add(path+".access.policy", "is "+string(policy)+", but "+o.Name+" shows all there is to know of the server", "use "+string(access.TwoFactor))
		}
		if o.TwoFactorOnly && len(service.Bypass) > 0 {
			k.add(path+".bypass", "lets somebody in without the portal, but "+o.Name+" shows all there is to know of the server", "remove bypass")
		}
		if o.Monitored && s.Monitoring == nil {
			if k.has("services." + o.Name + ".enabled") {
				k.add(path+".enabled", "is true, but "+o.Name+" belongs to the monitoring, and there is none",
					"enable "+namespace+"monitoring, or remove enabled: without monitoring the service is off")
			}
			continue
		}
		for _, used := range o.Uses {
			if k.offersService(used) && !r.Services[used].Enabled && k.ok(path, namespace+"services."+used) {
				k.add(path, "uses "+used+", which is off", "enable "+namespace+"services."+used+", or set "+path+".enabled to false")
			}
		}
		s.Services = append(s.Services, service)
		keep(path, given.Hostname, service)
	}
	for _, name := range sortedKeys(r.CustomServices) {
		path := namespace + "customServices." + name
		service := k.custom(path, name, r.CustomServices[name], r, s)
		s.CustomServices = append(s.CustomServices, service)
		keep(path, r.CustomServices[name].Hostname, service.Service)
	}
	k.slotsDiffer(s.CustomServices)
	k.usesEnd(r.CustomServices)
	if k.ok(limits...) {
		k.memoryFits(sum, r, s)
	}
	return sites
}

// memoryFits reports services that may use more memory than the server has. What connects them, what
// writes their quality profiles and the VPN's tunnel count with the security chain: they are there,
// or not, by the settings alone.
func (k *checker) memoryFits(services int, r raw, s *Settings) {
	server, known := serverTypes[s.Server.Type]
	own := memory.Chain
	if s.VPN != nil {
		own += memory.VPN
	}
	if slices.ContainsFunc(k.offers, func(o offer.Offer) bool {
		return o.Wired && slices.ContainsFunc(s.Services, func(on Service) bool { return on.Name == o.Name })
	}) {
		own += memory.Wiring
	}
	if profiles := r.Wiring.QualityProfiles; len(profiles.Radarr)+len(profiles.Sonarr) > 0 {
		own += memory.Recyclarr
	}
	own += k.monitoringMiB(s)
	if sum := services + own + systemMiB; known && sum > server.memoryMiB {
		remedy := "lower a memoryMiB, or use a larger server type"
		if s.Monitoring != nil {
			remedy += ", or switch homelab:monitoring off"
		}
		k.add(namespace+"services", fmt.Sprintf("may use %d MiB in all, what guards, connects and measures them %d and the system %d: %d MiB, but server type %s has %d",
			services, own, systemMiB, sum, s.Server.Type, server.memoryMiB), remedy)
	}
}

// monitoringMiB is what the programs of the monitoring may use that the configuration says nothing
// of, in MiB.
func (k *checker) monitoringMiB(s *Settings) int {
	if s.Monitoring == nil {
		return 0
	}
	sum := 0
	for _, o := range k.offers {
		if o.Internal && o.Monitored && !o.Off {
			sum += o.MemoryMiB
		}
	}
	return sum
}

// offersService reports whether the configuration can say something of a service.
func (k *checker) offersService(name string) bool {
	return slices.ContainsFunc(k.offers, func(o offer.Offer) bool { return o.Name == name && !o.Internal })
}

func (k *checker) service(path, name string, r rawService, s *Settings) Service {
	v := access.Visibility(r.Visibility)
	if k.optional(path+".visibility", r.Visibility) && !v.Valid() {
		k.add(path+".visibility", quote(r.Visibility)+" is not a visibility", oneOf(access.Visibilities()))
	}
	out := Service{
		Name:       name,
		Hostname:   k.hostname(path+".hostname", r.Hostname, s, v == access.Public),
		Visibility: v,
		Access:     access.Access{Policy: access.Policy(r.Access.Policy), Groups: r.Access.Groups, Reason: r.Access.Reason},
		MemoryMiB:  r.MemoryMiB,
	}
	k.access(path+".access", &out, s.Users)
	for i, b := range r.Bypass {
		at := fmt.Sprintf("%s.bypass[%d]", path, i)
		bypass := access.Bypass(b)
		for _, p := range bypass.Check() {
			k.add(at+"."+p.Field, p.What, p.Remedy)
		}
		if first := slices.IndexFunc(r.Bypass, func(o rawBypass) bool { return o.Path == b.Path }); first < i && b.Path != "" {
			k.add(at+".path", fmt.Sprintf("%s is that of %s.bypass[%d] too", quote(b.Path), path, first), "remove one")
		}
		out.Bypass = append(out.Bypass, bypass)
	}
	if len(r.Bypass) > 0 && out.Access.Policy == access.Native {
		k.add(path+".bypass", "has nothing to skip: with policy native the portal is not asked", "remove bypass, or use two-factor or one-factor")
	}
	out.Uploads = k.uploads(path+".uploads", r.Uploads, v, s)
	if r.MemoryMiB < leastMemoryMiB {
		k.add(path+".memoryMiB", fmt.Sprintf("must be at least %d, is %d", leastMemoryMiB, r.MemoryMiB), "give the service more memory")
	}
	return out
}

// uploads checks where a service takes large files.
func (k *checker) uploads(path string, given []rawUpload, v access.Visibility, s *Settings) []access.Upload {
	var out []access.Upload
	for i, u := range given {
		at := fmt.Sprintf("%s[%d]", path, i)
		upload := access.Upload(u)
		for _, p := range upload.Check() {
			k.add(at+"."+p.Field, p.What, p.Remedy)
		}
		limit := s.Cloudflare.Plan.Limits().MaxUploadMB
		if v == access.Public && s.Cloudflare.Plan.Valid() && k.ok(at+".maxMB") && u.MaxMB > limit {
			k.add(at+".maxMB", fmt.Sprintf("is %d, but Cloudflare's plan %s lets no more than %d MB through", u.MaxMB, s.Cloudflare.Plan, limit),
				fmt.Sprintf("lower it to %d, make the service's visibility tailnet, or use a larger plan", limit))
		}
		first := slices.IndexFunc(out, func(o access.Upload) bool { return o.Path != "" && upload.Covers(o) })
		if first >= 0 && k.ok(at+".path") {
			k.add(at+".path", fmt.Sprintf("%s and %s of %s[%d] cover each other", quote(u.Path), quote(out[first].Path), path, first), "remove one")
		}
		out = append(out, upload)
	}
	return out
}

// access checks who may use a service, and that there is such a person.
func (k *checker) access(path string, s *Service, users []User) {
	for _, p := range s.Access.Check(s.Visibility) {
		k.add(path+"."+p.Field, p.What, p.Remedy)
	}
	for i, g := range s.Access.Groups {
		held := slices.ContainsFunc(users, func(u User) bool { return slices.Contains(u.Groups, g) })
		at := fmt.Sprintf("%s.groups[%d]", path, i)
		if !held && len(users) > 0 && k.ok(at) && k.wasRead(namespace+"users") {
			k.add(at, "no user is in group "+quote(g), "add a user to the group in "+namespace+"users, or name another group")
		}
	}
	slices.Sort(s.Access.Groups)
}

// hostname checks the part of a host name before the domain and returns the full name.
func (k *checker) hostname(path, name string, s *Settings, public bool) string {
	domain := s.Domain
	if !k.optional(path, name) {
		return ""
	}
	if domain != "" && (name == domain || strings.HasSuffix(name, "."+domain)) {
		rest := strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
		remedy := "write only the part before the domain"
		if rest != "" {
			remedy = "write only " + rest
		}
		k.add(path, quote(name)+" includes the domain", remedy)
		return ""
	}
	if what, remedy := nameProblem(name, 1); what != "" {
		k.add(path, what, k.plainName(name, remedy, 1))
		return ""
	}
	// Cloudflare's Universal SSL certificate covers the domain and one level below it.
	if _, parent, deep := strings.Cut(name, "."); public && deep && !slices.Contains(s.Cloudflare.Certificates, parent) {
		k.add(path, quote(name)+" has more than one label, but Cloudflare's certificate covers one level below the domain only",
			"use one label, such as "+strings.ReplaceAll(name, ".", "-")+", or order a certificate for *."+parent+"."+domain+
				" and list "+parent+" in "+namespace+"cloudflare.certificates")
		return ""
	}
	full := name + "." + domain
	if len(full) > 253 {
		k.add(path, quote(full)+" is longer than 253 characters", "shorten it")
		return ""
	}
	return full
}

// sessionsReach reports host names that are the portal's to guard, and out of a session's reach.
func (k *checker) sessionsReach(sites []site, s *Settings) {
	const path = namespace + "auth.sessionDomain"
	if !k.ok(path) || s.Auth.SessionDomain == s.Domain {
		return
	}
	for _, n := range sites {
		if !n.guarded || !k.ok(n.path) || strings.HasSuffix(n.hostname, "."+s.Auth.SessionDomain) {
			continue
		}
		first, _, _ := strings.Cut(n.hostname, ".")
		below := strings.TrimSuffix(s.Auth.SessionDomain, "."+s.Domain)
		k.add(n.path, fmt.Sprintf("%s is not below the session domain %s, so no login would hold there", n.hostname, s.Auth.SessionDomain),
			fmt.Sprintf("write %s.%s, or change %s", first, below, path))
	}
}

// hostnamesDiffer reports host names used for more than one thing.
func (k *checker) hostnamesDiffer(sites []site) {
	seen := map[string]string{}
	for _, n := range sites {
		if !k.ok(n.path) {
			continue
		}
		if other, used := seen[n.label]; used {
			k.add(n.path, quote(n.label)+" is the host name of "+other+" too", "give each its own host name")
			continue
		}
		seen[n.label] = n.path
	}
}
