package settings

import (
	"fmt"
	"slices"
	"strings"

	"homelab/components/internal/access"
	"homelab/components/internal/memory"
)

// leastMemoryMiB is the smallest memory limit of a service: less than any of them starts with.
const leastMemoryMiB = 64

func (k *checker) services(r rawServices, s *Settings) Services {
	const path = namespace + "services"
	out := Services{
		Jellyseerr: k.service(path+".jellyseerr", r.Jellyseerr, s),
		Jellyfin:   k.service(path+".jellyfin", r.Jellyfin, s),
	}
	sum := r.Jellyseerr.MemoryMiB + r.Jellyfin.MemoryMiB
	server, known := serverTypes[s.Server.Type]
	if known && k.ok(path+".jellyseerr.memoryMiB", path+".jellyfin.memoryMiB") && sum+memory.Chain+systemMiB > server.memoryMiB {
		k.add(path, fmt.Sprintf("may use %d MiB in all, the security chain %d and the system %d: %d MiB, but server type %s has %d",
			sum, memory.Chain, systemMiB, sum+memory.Chain+systemMiB, s.Server.Type, server.memoryMiB), "lower a memoryMiB, or use a larger server type")
	}
	return out
}

func (k *checker) service(path string, r rawService, s *Settings) Service {
	v := access.Visibility(r.Visibility)
	if k.optional(path+".visibility", r.Visibility) && !v.Valid() {
		k.add(path+".visibility", quote(r.Visibility)+" is not a visibility", oneOf(access.Visibilities()))
	}
	out := Service{
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
	if r.MemoryMiB < leastMemoryMiB {
		k.add(path+".memoryMiB", fmt.Sprintf("must be at least %d, is %d", leastMemoryMiB, r.MemoryMiB), "give the service more memory")
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
func (k *checker) sessionsReach(s *Settings) {
	const path = namespace + "auth.sessionDomain"
	if !k.ok(path) || s.Auth.SessionDomain == s.Domain {
		return
	}
	for _, n := range []struct {
		path, hostname string
		guarded        bool
	}{
		{namespace + "auth.hostname", s.Auth.Hostname, true},
		{namespace + "services.jellyfin.hostname", s.Services.Jellyfin.Hostname, s.Services.Jellyfin.Access.Policy != access.Native},
		{namespace + "services.jellyseerr.hostname", s.Services.Jellyseerr.Hostname, s.Services.Jellyseerr.Access.Policy != access.Native},
	} {
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
func (k *checker) hostnamesDiffer(r raw) {
	seen := map[string]string{}
	for _, n := range []struct{ path, name string }{
		{namespace + "auth.hostname", r.Auth.Hostname},
		{namespace + "services.jellyfin.hostname", r.Services.Jellyfin.Hostname},
		{namespace + "services.jellyseerr.hostname", r.Services.Jellyseerr.Hostname},
	} {
		if !k.ok(n.path) {
			continue
		}
		if other, used := seen[n.name]; used {
			k.add(n.path, quote(n.name)+" is the host name of "+other+" too", "give each its own host name")
			continue
		}
		seen[n.name] = n.path
	}
}
