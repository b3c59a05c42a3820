package simcloud

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

const (
	typeRemoteImage = "docker:index/remoteImage:RemoteImage"
	typeNetwork     = "docker:index/network:Network"
	typeDockerVol   = "docker:index/volume:Volume"
)

var _ = register(typeRemoteImage, &kind{
	replaces: []string{"build", "name", "platform", "pullTriggers", "triggers"}, place: dockerMachine,
	ask: func(c *checking) {
		if s, ok := c.text("name"); ok {
			if _, err := parseImage(s); err != nil {
				c.refuse("name", "%v", err)
			}
		}
	},
	create: func(t *task) (string, error) {
		name := text(t.in, "name")
		ref, err := parseImage(name)
		if err != nil {
			return "", err
		}
		if section(t.in, "build") != nil {
			ref.digest = ""
		}
		t.out["imageId"], t.out["repoDigest"] = imageID(name), ref.repoDigest()
		return imageID(name) + name, nil
	},
	update: func(*task, *object) error { return nil },
	remove: removeImage, instead: docker,
})

var _ = register(typeNetwork, &kind{
	replaces: []string{"*"}, autoname: true, place: dockerMachine,
	computed: []string{"driver", "ipamConfigs", "options", "internal"},
	sets:     []string{"ipamConfigs", "labels"}, defaults: map[string]any{"ipamDriver": "default"}, deprecated: []string{"checkDuplicate"},
	ask: askNetwork, create: createNetwork, remove: removeNetwork, instead: docker,
})

var _ = register(typeDockerVol, &kind{
	replaces: []string{"cluster", "driver", "driverOpts", "labels", "name"}, autoname: true, place: dockerMachine,
	computed: []string{"driver"}, sets: []string{"labels"}, gone: "1 error occurred: * Error response from daemon: no such volume: %s",
	create: func(t *task) (string, error) {
		name := text(t.in, "name")
		if t.w.get(typeDockerVol, t.place.ID, name) != nil {
			return "", fail("volume %s is managed by another resource", name)
		}
		if text(t.in, "driver") == "" {
			t.out["driver"] = "local"
		}
		t.out["mountpoint"] = "/var/lib/docker/volumes/" + name + "/_data"
		return name, nil
	},
	update: func(*task, *object) error { return nil },
	remove: func(t *task, o *object) error {
		for _, c := range t.w.on(t.place.ID, typeContainer) {
			if contains(volumesOf(c.live()), o.ID) {
				return fail("unable to remove volume '%s': volume is in use - [%s]", o.ID, c.ID)
			}
		}
		return nil
	},
	instead: docker,
})

// imageRef is a parsed image name.
type imageRef struct{ repository, tag, digest string }

var imageName = regexp.MustCompile(`^([a-z0-9]+(?:[._:/-]+[a-zA-Z0-9]+)*?)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[a-f0-9]{64}))?$`)

// parseImage reads a name that pins a tag or digest.
func parseImage(s string) (imageRef, error) {
	m := imageName.FindStringSubmatch(s)
	if m == nil {
		return imageRef{}, fail("invalid image name %q: invalid reference format", s)
	}
	if m[2] == "" && m[3] == "" {
		return imageRef{}, fail("image name %q has neither tag nor digest", s)
	}
	return imageRef{m[1], m[2], m[3]}, nil
}

// repoDigest is what a registry would give: the pinned digest, or one made from the name.
func (r imageRef) repoDigest() string {
	digest := r.digest
	if digest == "" {
		digest = "sha256:" + hash("manifest", r.repository+":"+r.tag)
	}
	return r.repository + "@" + digest
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// imageID is the local ID of an image, a function of its name.
func imageID(name string) string { return "sha256:" + hash("config", name) }

// hasImage reports whether a machine has an image by name or ID.
func (w *World) hasImage(machine, ref string) bool {
	for _, o := range w.on(machine, typeRemoteImage) {
		if o.ID == ref || ref == text(o.Inputs, "name") || ref == text(o.Outputs, "imageId") || ref == text(o.Outputs, "repoDigest") {
			return true
		}
	}
	for _, o := range w.on(machine, typeImage) {
		if ref == text(o.Inputs, "imageName") || ref == imageID(text(o.Inputs, "imageName")) {
			return true
		}
	}
	return w.state.Settings[leftImage(machine, ref)] != nil
}

// leftImage is where an image is remembered that its resource left on a machine.
func leftImage(machine, ref string) string { return leftImages + machine + "/" + ref }

const leftImages = "docker-image/"

// leave keeps an image on a machine after its resource is gone.
func (t *task) leave(machine string, refs ...string) {
	for _, ref := range refs {
		t.own(leftImage(machine, ref), ref)
		t.disown(leftImage(machine, ref))
	}
}

// removeImage refuses an image that a container uses, unless it is kept.
func removeImage(t *task, o *object) error {
	if flag(o.live(), "keepLocally") {
		t.leave(t.place.ID, text(o.Inputs, "name"), text(o.Outputs, "imageId"), text(o.Outputs, "repoDigest"))
		return nil
	}
	for _, c := range t.w.on(t.place.ID, typeContainer) {
		if image := text(c.live(), "image"); image == text(o.Outputs, "imageId") || image == text(o.Inputs, "name") || image == text(o.Outputs, "repoDigest") {
			return fail("unable to remove Docker image: conflict: unable to delete %s (must be forced) - image is being used by running container %s", text(o.Outputs, "imageId")[:19], c.ID[:12])
		}
	}
	return nil
}

func askNetwork(c *checking) {
	v := c.news["ipamConfigs"]
	if !v.IsArray() {
		return
	}
	for i, e := range v.ArrayValue() {
		if !e.IsObject() {
			continue
		}
		s := e.ObjectValue()["subnet"]
		if !s.IsString() {
			continue
		}
		if p, err := netip.ParsePrefix(s.StringValue()); err != nil || p.Masked() != p {
			c.refuse(fmt.Sprintf("ipamConfigs[%d].subnet", i), "%q is not a network in CIDR form", s.StringValue())
		}
	}
}

func createNetwork(t *task) (string, error) {
	name := text(t.in, "name")
	if contains([]string{"bridge", "host", "none"}, name) {
		return "", fail("unable to create network: operation is not permitted on predefined %s network", name)
	}
	for _, n := range t.w.on(t.place.ID, typeNetwork) {
		if text(n.live(), "name") == name {
			return "", fail("unable to create network: Error response from daemon: network with name %s already exists", name)
		}
	}
	subnets, err := t.w.networkSubnets(t.place.ID, t.in)
	if err != nil {
		return "", err
	}
	if text(t.in, "driver") == "" {
		t.out["driver"] = "bridge"
	}
	t.out["scope"], t.out["internal"], t.out["options"] = "local", flag(t.in, "internal"), map[string]any{}
	if o := section(t.in, "options"); o != nil {
		t.out["options"] = o
	}
	if len(list(t.in, "ipamConfigs")) == 0 {
		t.out["ipamConfigs"] = []any{map[string]any{"subnet": subnets[0].String(), "gateway": subnets[0].Addr().Next().String()}}
	}
	return hexID(64), nil
}

// networkSubnets takes the given subnets, or the next free one of Docker's pool.
func (w *World) networkSubnets(machine string, in map[string]any) ([]netip.Prefix, error) {
	taken := []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}
	for _, n := range w.on(machine, typeNetwork) {
		taken = append(taken, subnetsOf(n)...)
	}
	overlaps := func(p netip.Prefix) bool {
		for _, t := range taken {
			if t.Overlaps(p) {
				return true
			}
		}
		return false
	}
	var out []netip.Prefix
	for _, c := range objects(in, "ipamConfigs") {
		p, err := netip.ParsePrefix(text(c, "subnet"))
		if err != nil {
			return nil, fail("unable to create network: invalid subnet %q: %v", text(c, "subnet"), err)
		}
		if overlaps(p) {
			return nil, fail("unable to create network: Error response from daemon: invalid pool request: Pool overlaps with other one on this address space")
		}
		if g := text(c, "gateway"); g != "" {
			if a, err := netip.ParseAddr(g); err != nil || !p.Contains(a) {
				return nil, fail("unable to create network: Error response from daemon: no matching subnet for gateway %s", g)
			}
		}
		out = append(out, p)
		taken = append(taken, p)
	}
	if len(out) > 0 {
		return out, nil
	}
	for i := 18; i < 32; i++ {
		if p := netip.MustParsePrefix(fmt.Sprintf("172.%d.0.0/16", i)); !overlaps(p) {
			return []netip.Prefix{p}, nil
		}
	}
	return nil, fail("unable to create network: Error response from daemon: all predefined address pools have been fully subnetted")
}

// subnetsOf lists the subnets of a live network.
func subnetsOf(n *object) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range objects(n.merged(), "ipamConfigs") {
		if p, err := netip.ParsePrefix(text(c, "subnet")); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func removeNetwork(t *task, o *object) error {
	for _, c := range t.w.on(t.place.ID, typeContainer) {
		for _, d := range objects(c.Outputs, "networkDatas") {
			if text(d, "networkName") == text(o.live(), "name") {
				return fail("unable to remove network: Error response from daemon: error while removing network: network %s has active endpoints (name:%q)", text(o.live(), "name"), text(c.live(), "name"))
			}
		}
	}
	return nil
}

// network finds a network of a machine by name or ID.
func (w *World) network(machine, ref string) *object {
	for _, n := range w.on(machine, typeNetwork) {
		if n.ID == ref || text(n.live(), "name") == ref {
			return n
		}
	}
	return nil
}
