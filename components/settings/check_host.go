package settings

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func (k *checker) server(r rawServer) Server {
	const path = namespace + "server"
	out := Server{Name: r.Name, Type: r.Type, Location: r.Location, Image: r.Image, Generation: r.Generation, DiskGB: serverTypes[r.Type].diskGB}
	if k.optional(path+".name", r.Name) {
		what, remedy := nameProblem(r.Name, 1)
		if what == "" && strings.Contains(r.Name, ".") {
			what, remedy = quote(r.Name)+" has more than one label", "use one label, such as homelab"
		}
		if what != "" {
			k.add(path+".name", what, remedy)
		}
	}
	k.offered(path+".location", "location of servers", r.Location, serverLocations)
	k.serverType(path, r.Type, r.Location)
	k.offered(path+".image", "system image this program sets up", r.Image, serverImages)
	if r.Generation < 1 {
		k.add(path+".generation", fmt.Sprintf("%d does not count machines", r.Generation), "use 1 for the first and one more for each new machine")
	}
	if r.BreakGlass != nil {
		out.BreakGlass = k.breakGlass(path+".breakGlass", *r.BreakGlass)
	}
	return out
}

// serverType checks that the location sells the type: Hetzner would say so only when the server is
// made, half way.
func (k *checker) serverType(path, name, location string) {
	at := path + ".type"
	remedy := oneOf(sortedKeys(serverTypes))
	if k.ok(path + ".location") {
		remedy = oneOf(typesAt(location)) + ", which " + location + " sells"
	}
	sold, known := serverTypes[name]
	switch {
	case !k.optional(at, name):
	case strings.HasPrefix(name, armPrefix):
		k.add(at, quote(name)+" has Arm processors, which this program does not support", remedy)
	case !known:
		k.add(at, quote(name)+" is not a known server type", remedy)
	case k.ok(path+".location") && !slices.Contains(sold.at, location):
		k.add(at, fmt.Sprintf("%s is not sold in %s", quote(name), location),
			fmt.Sprintf("%s; or use it in one of %s", remedy, strings.Join(sold.at, ", ")))
	}
}

// offered checks that a value is in a table of what Hetzner offers.
func (k *checker) offered(path, what, value string, table []string) {
	if k.optional(path, value) && !slices.Contains(table, value) {
		k.add(path, quote(value)+" is not a known "+what, oneOf(table))
	}
}

// The widest break-glass networks: what a provider gives to one site.
const (
	widestBreakGlass4 = 16
	widestBreakGlass6 = 48
)

// tailnetRange holds the addresses of tailnet devices.
var tailnetRange = netip.MustParsePrefix("100.64.0.0/10")

func (k *checker) breakGlass(path string, r rawBreakGlass) *BreakGlass {
	k.required(path+".reason", r.Reason, "say why SSH must be open to the internet")
	p, ok := k.prefix(path+".cidr", r.CIDR, "write the network SSH comes from, such as 203.0.113.7/32")
	if !ok {
		return nil
	}
	widest := widestBreakGlass4
	if p.Addr().Is6() {
		widest = widestBreakGlass6
	}
	a := p.Addr()
	switch {
	case p.Bits() < widest:
		k.add(path+".cidr", fmt.Sprintf("%s opens SSH to more than a /%d", p, widest), "name the address you come from, such as 203.0.113.7/32")
	case a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || tailnetRange.Overlaps(p):
		k.add(path+".cidr", fmt.Sprintf("nothing reaches the server from %s over the internet", p), "name the public address you come from")
	}
	return &BreakGlass{CIDR: p, Reason: r.Reason}
}

// prefix parses a CIDR network.
func (k *checker) prefix(path, text, remedy string) (netip.Prefix, bool) {
	if !k.required(path, text, remedy) {
		return netip.Prefix{}, false
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		k.add(path, quote(text)+" is an address, not a network", fmt.Sprintf("write %s for that address alone", netip.PrefixFrom(a, a.BitLen())))
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		k.add(path, quote(text)+" is not a network in CIDR form", remedy)
		return netip.Prefix{}, false
	}
	if p.Masked() != p {
		k.add(path, fmt.Sprintf("%s has bits set outside its mask", quote(text)), fmt.Sprintf("write %s", p.Masked()))
		return netip.Prefix{}, false
	}
	return p, true
}

func (k *checker) storage(r rawStorage) Storage {
	const path = namespace + "storage"
	k.box(path+".media", r.Media.Type, r.Media.Location)
	k.offered(path+".media.protocol", "protocol of the media", r.Media.Protocol, mediaProtocols)
	k.box(path+".backup", r.Backup.Type, r.Backup.Location)
	k.snapshots(path+".media.snapshots", r.Media.Type, r.Media.Snapshots)
	k.snapshots(path+".backup.snapshots", r.Backup.Type, r.Backup.Snapshots)
	return Storage{
		Media: MediaBox{
			Type: r.Media.Type, Location: r.Media.Location, Protocol: MediaProtocol(r.Media.Protocol), Snapshots: Snapshots(r.Media.Snapshots),
		},
		Backup: BackupBox{Type: r.Backup.Type, Location: r.Backup.Location, Snapshots: Snapshots(r.Backup.Snapshots)},
	}
}

func (k *checker) snapshots(at, boxType string, r rawSnapshots) {
	if most, known := boxSnapshots[boxType]; known && (r.Max < 1 || r.Max > most) {
		k.add(at+".max", fmt.Sprintf("%s keeps 1 to %d snapshots, %d configured", boxType, most, r.Max), "use a number in that range, or a larger type")
	}
	if r.Hour < 0 || r.Hour > 23 {
		k.add(at+".hour", fmt.Sprintf("%d is not an hour", r.Hour), "use 0 to 23, in UTC")
	}
	if r.Minute < 0 || r.Minute > 59 {
		k.add(at+".minute", fmt.Sprintf("%d is not a minute", r.Minute), "use 0 to 59")
	}
}

func (k *checker) box(path, boxType, location string) {
	k.offered(path+".type", "Storage Box type", boxType, sortedKeys(boxSnapshots))
	k.offered(path+".location", "location of Storage Boxes", location, boxLocations)
}

// maxJitterMinutes is less than the time between a backup and the restore drill of the same day.
const maxJitterMinutes = 180

func (k *checker) backup(r rawBackup) Backup {
	const path = namespace + "backup"
	for _, n := range []struct {
		key                string
		value, least, most int
		what               string
	}{
		{"drillDay", r.DrillDay, 1, 28, "a day that every month has"},
		{"hour", r.Hour, 0, 23, "an hour"},
		{"jitterMinutes", r.JitterMinutes, 0, maxJitterMinutes, "a jitter in minutes"},
		{"keep.daily", r.Keep.Daily, 1, 366, "a number of archives"},
		{"keep.monthly", r.Keep.Monthly, 0, 120, "a number of archives"},
		{"keep.weekly", r.Keep.Weekly, 0, 520, "a number of archives"},
		{"keep.yearly", r.Keep.Yearly, 0, 100, "a number of archives"},
		{"minute", r.Minute, 0, 59, "a minute"},
	} {
		if n.value < n.least || n.value > n.most {
			k.add(path+"."+n.key, fmt.Sprintf("%d is not %s", n.value, n.what), fmt.Sprintf("use %d to %d", n.least, n.most))
		}
	}
	return Backup{Hour: r.Hour, Minute: r.Minute, JitterMinutes: r.JitterMinutes, DrillDay: r.DrillDay, Keep: Keep(r.Keep)}
}

// dockerBridge is the network Docker takes for itself.
var dockerBridge = netip.MustParsePrefix("172.17.0.0/16")

// narrowestNetwork is the fewest addresses a container network may have, as a prefix length.
const narrowestNetwork = 25

func (k *checker) networks(r rawNetworks) Networks {
	const path = namespace + "networks"
	var out Networks
	named := []struct {
		key, text string
		to        *netip.Prefix
	}{
		{"autheliaSession", r.AutheliaSession, &out.AutheliaSession},
		{"caddyProxy", r.CaddyProxy, &out.CaddyProxy},
		{"gluetun", r.Gluetun, &out.Gluetun},
		{"grafanaMonitoring", r.GrafanaMonitoring, &out.GrafanaMonitoring},
	}
	var earlier []int
	for i, n := range named {
		at := path + "." + n.key
		p, ok := k.prefix(at, n.text, "write a private network, such as 172.30.1.0/24")
		if !ok {
			continue
		}
		*n.to = p
		switch {
		case !private4(p):
			k.add(at, fmt.Sprintf("%s is not a private IPv4 network", p), "use one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
		case p.Bits() > narrowestNetwork:
			k.add(at, fmt.Sprintf("%s is smaller than a /%d", p, narrowestNetwork), fmt.Sprintf("use a /%d or larger network", narrowestNetwork))
		case p.Overlaps(dockerBridge):
			k.add(at, fmt.Sprintf("%s overlaps %s, which Docker takes for itself", p, dockerBridge), "use another network")
		}
		for _, j := range earlier {
			if other := *named[j].to; p.Overlaps(other) {
				k.add(at, fmt.Sprintf("%s overlaps %s of %s.%s", p, other, path, named[j].key), "give each network its own range")
			}
		}
		earlier = append(earlier, i)
	}
	return out
}

// private4 reports whether the whole of p is private IPv4 space. The tailnet's range is not.
func private4(p netip.Prefix) bool {
	for _, text := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} {
		block := netip.MustParsePrefix(text)
		if block.Contains(p.Addr()) && p.Bits() >= block.Bits() {
			return true
		}
	}
	return false
}
