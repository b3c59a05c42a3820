package settings

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"homelab/components/internal/containerrules"
	"homelab/components/internal/imageref"
	"homelab/components/internal/offer"
	"homelab/components/internal/vpnserver"
)

// What a service of the operator's own may see of the media library.
const (
	libraryNone = "none"
	libraryRead = "read-only"
)

// customLibrary is where such a service finds the library.
const customLibrary = "/media"

// What a service of the operator's own may reach beside the services that it uses.
const (
	reachesNone     = "none"
	reachesInternet = "internet"
)

// firstCustomSlot is the first number, in the range of a network, of the operator's own services;
// the numbers before it belong to this program's.
const firstCustomSlot = 64

// smallestPort is the first port that a program can listen on without a privilege.
const smallestPort = 1024

var (
	customUser   = regexp.MustCompile(`^[1-9][0-9]{0,8}:[1-9][0-9]{0,8}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	healthPath   = regexp.MustCompile(`^/[A-Za-z0-9._~/?=&%-]*$`)
)

// custom checks one service of the operator's own.
func (k *checker) custom(at, name string, r rawCustomService, all raw, s *Settings) CustomService {
	out := CustomService{
		Service: k.service(at, name, rawService{
			Enabled: true, Hostname: r.Hostname, Visibility: r.Visibility, Access: r.Access, Bypass: r.Bypass, Uploads: r.Uploads, MemoryMiB: r.MemoryMiB,
		}, s),
		Port: r.Port, User: r.User, Command: slices.Clone(r.Command), Uses: slices.Clone(r.Uses),
	}
	if k.required(at+".image", r.Image, "name the image with its tag and digest, such as docker.io/library/nginx:1.29@sha256:…") {
		image, err := imageref.Parse(r.Image)
		if err != nil {
			k.add(at+".image", quote(r.Image)+" cannot be used: "+err.Error(), "write REPOSITORY:TAG@sha256:DIGEST, as your registry shows it")
		}
		out.Image = image
	}
	if r.Port < smallestPort || r.Port > 65535 {
		k.add(at+".port", fmt.Sprintf("must be between %d and 65535, is %d", smallestPort, r.Port),
			"give the port on which the service answers in its container; below 1024 a program would have to be root")
	}
	if k.required(at+".user", r.User, "write UID:GID in numbers, such as 2002:2002; the image's documentation says which it can run as") && !customUser.MatchString(r.User) {
		k.add(at+".user", quote(r.User)+" is not UID:GID in numbers without root", "write such as 2002:2002")
	}
	k.customHealth(at+".health", r.Health, &out)
	k.customEnvironment(at+".environment", r.Environment, &out)
	k.customFolders(at, r, &out)
	k.customUses(at+".uses", name, r.Uses, all)
	switch r.Reaches {
	case reachesNone:
	case reachesInternet:
		out.Internet = true
	default:
		k.add(at+".reaches", quote(r.Reaches)+" is nothing that a service can reach", "write none or internet; other services go into uses")
	}
	switch r.Library {
	case libraryNone:
	case libraryRead:
		out.Library = customLibrary
	default:
		k.add(at+".library", quote(r.Library)+" is no way to use the library", "write none or read-only (at "+customLibrary+")")
	}
	out.Slot = k.customSlot(at+".slot", name, r.Slot, s.Networks.CaddyProxy)
	return out
}

func (k *checker) customHealth(at string, r rawHealth, out *CustomService) {
	out.HealthPath, out.HealthCommand = r.Path, slices.Clone(r.Command)
	switch {
	case !k.ok(at):
	case r.Path == "" && len(r.Command) == 0:
		k.add(at, "is missing: nobody could tell whether the service works",
			"give path, such as /health, or command, a program in the container that fails when the service does")
	case r.Path != "" && len(r.Command) > 0:
		k.add(at, "has both path and command", "remove one")
	case r.Path != "" && !healthPath.MatchString(r.Path):
		k.add(at+".path", quote(r.Path)+" is not the path of a URL", "write a plain one that begins with /, such as /health")
	case len(r.Command) > 0 && strings.TrimSpace(r.Command[0]) == "":
		k.add(at+".command[0]", "is empty", "name the program")
	}
}

func (k *checker) customEnvironment(at string, variables []rawVariable, out *CustomService) {
	for i, v := range variables {
		path := fmt.Sprintf("%s[%d]", at, i)
		switch _, twice := out.Environment[v.Name]; {
		case !variableName.MatchString(v.Name):
			k.add(path+".name", quote(v.Name)+" is not the name of an environment variable", "use letters, digits and _")
		case containerrules.SecretVariable.MatchString(v.Name):
			k.add(path+".name", quote(v.Name)+" would show a secret to whoever can inspect containers",
				"remove it; a service of your own can have secrets only in a file in one of its folders")
		case twice:
			k.add(path+".name", quote(v.Name)+" is set twice", "remove one")
		default:
			if out.Environment == nil {
				out.Environment = map[string]string{}
			}
			out.Environment[v.Name] = v.Value
		}
	}
}

// customFolders checks where the service keeps things. No two paths may cover each other.
func (k *checker) customFolders(at string, r rawCustomService, out *CustomService) {
	seen := map[string]string{customLibrary: at + ".library"}
	if r.Library == libraryNone {
		clear(seen)
	}
	add := func(where, target string) {
		switch {
		case !path.IsAbs(target) || path.Clean(target) != target || target == "/":
			k.add(where, quote(target)+" is not an absolute path of a folder", "write the folder in the container, such as /data")
			return
		case !pathInContainer.MatchString(target):
			k.add(where, quote(target)+" has characters that a path here cannot have", "use letters, digits, dots, hyphens and underscores")
			return
		}
		for _, other := range sortedKeys(seen) {
			if target == other || strings.HasPrefix(target, other+"/") || strings.HasPrefix(other, target+"/") {
				k.add(where, quote(target)+" and "+quote(other)+" ("+seen[other]+") cover each other", "give each a folder of its own")
				return
			}
		}
		seen[target] = where
	}
	for i, f := range r.Folders {
		where := fmt.Sprintf("%s.folders[%d]", at, i)
		if k.required(where+".path", f.Path, "write the folder in the container, such as /data") {
			add(where+".path", f.Path)
		}
		for n, d := range f.Databases {
			if !containerrules.DatabasePath(d) {
				k.add(fmt.Sprintf("%s.databases[%d]", where, n), quote(d)+" is not a relative path of a database", "write such as db/app.sqlite3 or *.db")
			}
		}
		if f.Disposable != "" && len(f.Databases) > 0 {
			k.add(where+".disposable", "says that nothing need be kept, but there are databases", "remove one of the two")
		}
		out.Folders = append(out.Folders, CustomFolder(f))
	}
	for i, target := range r.Scratch {
		add(fmt.Sprintf("%s.scratch[%d]", at, i), target)
		out.Scratch = append(out.Scratch, target)
	}
}

var pathInContainer = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

func (k *checker) customUses(at, name string, uses []string, all raw) {
	for i, used := range uses {
		where := fmt.Sprintf("%s[%d]", at, i)
		service, known := all.Services[used]
		_, own := all.CustomServices[used]
		switch {
		case used == name:
			k.add(where, "is the service itself", "remove it")
		case slices.Index(uses, used) < i:
			k.add(where, quote(used)+" is listed twice", "remove one")
		case known && all.VPN.Provider == string(vpnserver.Off) && k.behindTunnel(used):
			k.add(where, quote(used)+" runs only behind a VPN, and there is none", "configure "+namespace+"vpn, or remove it")
		case k.monitored(used):
			k.add(where, quote(used)+" belongs to the monitoring, which believes who reaches it", "remove it")
		case known && !service.Enabled:
			k.add(where, quote(used)+" is off", "enable "+namespace+"services."+used+", or remove it")
		case !known && !own:
			k.add(where, quote(used)+" is not a service", "use the name of one in "+namespace+"services or "+namespace+"customServices")
		}
	}
}

// monitored reports whether a service of the catalogue belongs to the monitoring.
func (k *checker) monitored(name string) bool {
	return slices.ContainsFunc(k.offers, func(o offer.Offer) bool { return o.Name == name && o.Monitored })
}

// behindTunnel reports whether a service of the catalogue runs only where there is a VPN.
func (k *checker) behindTunnel(name string) bool {
	return slices.ContainsFunc(k.offers, func(o offer.Offer) bool { return o.Name == name && o.BehindTunnel })
}

// customSlot returns the service's number in the range of a network: the one given, or one that
// follows from its name, so that it stays when other services come and go.
func (k *checker) customSlot(at, name string, given int, network netip.Prefix) int {
	if !network.IsValid() {
		return firstCustomSlot
	}
	end := 1<<(32-network.Bits()) - 1 // the last address is for broadcasts
	if given != 0 {
		if given < firstCustomSlot || given >= end {
			k.add(at, fmt.Sprintf("must be between %d and %d, is %d", firstCustomSlot, end-1, given), "choose one of them, or remove it")
		}
		return given
	}
	if end <= firstCustomSlot {
		return firstCustomSlot // the network's own check says so
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return firstCustomSlot + int(sum.Sum32()%uint32(end-firstCustomSlot))
}

// slotsDiffer reports two services with one number.
func (k *checker) slotsDiffer(services []CustomService) {
	seen := map[int]string{}
	for _, service := range services {
		at := namespace + "customServices." + service.Name + ".slot"
		if !k.ok(at) {
			continue
		}
		if other, used := seen[service.Slot]; used {
			k.add(at, fmt.Sprintf("is %d, as that of %s: both would have one address", service.Slot, other),
				fmt.Sprintf("set %s to another number from %d", at, firstCustomSlot))
			continue
		}
		seen[service.Slot] = service.Name
	}
}

// usesEnd reports services that use each other in a circle: none of them could start first.
func (k *checker) usesEnd(services map[string]rawCustomService) {
	var follow func(name string, way []string) []string
	follow = func(name string, way []string) []string {
		if at := slices.Index(way, name); at >= 0 {
			return append(way[at:], name)
		}
		for _, used := range services[name].Uses {
			if circle := follow(used, append(slices.Clone(way), name)); circle != nil {
				return circle
			}
		}
		return nil
	}
	for _, name := range sortedKeys(services) {
		at := namespace + "customServices." + name + ".uses"
		if circle := follow(name, nil); k.ok(at) && len(circle) > 2 && circle[0] == name {
			k.add(at, "goes in a circle: "+strings.Join(circle, " uses "), "remove one of these uses")
		}
	}
}
