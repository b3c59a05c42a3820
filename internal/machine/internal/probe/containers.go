package probe

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"homelab/internal/rehearsal"
)

const (
	// containersName is who looks from inside the containers.
	containersName = "the containers, inside"
	// closedPort is one that nothing in a container or on the machine listens at.
	closedPort = 40711
	// containerPatience is how long an answer may take on an emulated machine, in seconds.
	containerPatience = 4
	// containersAtOnce is from how many networks is tried at the same time.
	containersAtOnce = 4
)

var (
	// metadataService gives the user data to whoever asks.
	metadataService = netip.MustParseAddrPort("169.254.169.254:80")
	// machinePorts are tried at each of the machine's addresses beside what is seen to listen there: a
	// port that Docker publishes listens nowhere.
	machinePorts = []uint16{22, 53, 80, 443, 2375, 2376}
)

// containersScript is run as root, and tries what each container could.
//
//go:embed containers.py
var containersScript string

// Outsider is a host of the internet that answers.
type Outsider struct {
	// Protocol is tcp, or udp where a name server answers.
	Protocol string
	// Address is where it answers.
	Address netip.AddrPort
}

// Containers say what is tried from inside the containers.
type Containers struct {
	// Declared is who may reach whom. Its hostnames are not used here.
	Declared rehearsal.Declared
	// Machine are addresses of the machine's beside those of its links, such as a tunnel's end.
	Machine []netip.Addr
	// Internet are hosts that answer whoever reaches them.
	Internet []Outsider

	// on is where the machine keeps what the script reads; the zero value is Debian's.
	on enginePlaces
}

// enginePlaces are files of the machine.
type enginePlaces struct {
	cgroups string // where the kernel keeps the groups of processes
	engine  string // Docker's folder
	sockets []string
}

var debian = enginePlaces{"/sys/fs/cgroup", "/var/lib/docker", []string{"/run/docker.sock", "/run/containerd/containerd.sock"}}

// containersQuestion is what the script is told.
type containersQuestion struct {
	CGroups  string            `json:"cgroups"`
	Engine   string            `json:"engine"`
	Sockets  []string          `json:"sockets"`
	Targets  []containerTarget `json:"targets"`
	Machine  []netip.Addr      `json:"machine"`
	Ports    []uint16          `json:"ports"`
	Closed   uint16            `json:"closed"`
	Question string            `json:"question"` // the datagram, in hexadecimal
	Patience int               `json:"patience"`
	AtOnce   int               `json:"atOnce"`
}

type containerTarget struct {
	Protocol string     `json:"protocol"`
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port"`
}

// containersAnswer is what the script says.
type containersAnswer struct {
	Containers []struct {
		Name      string   `json:"name"`
		OfMachine bool     `json:"ofMachine"`
		Sockets   []string `json:"sockets"`
	} `json:"containers"`
	Spaces  []containerSpace `json:"spaces"`
	Machine struct {
		Addresses []netip.Addr `json:"addresses"`
	} `json:"machine"`
}

// containerSpace is one network of containers, and what was tried from it.
type containerSpace struct {
	Containers []string     `json:"containers"`
	Addresses  []netip.Addr `json:"addresses"`
	Listening  []uint16     `json:"listening"`
	Tried      int          `json:"tried"`
	Gone       bool         `json:"gone"`
	Failed     string       `json:"failed"`
	Answers    []struct {
		containerTarget

		Answer Answer `json:"answer"`
	} `json:"answers"`
}

func (c Containers) question() containersQuestion {
	on := c.on
	if on.cgroups == "" {
		on = debian
	}
	out := containersQuestion{
		CGroups: on.cgroups, Engine: on.engine, Sockets: on.sockets, Machine: append([]netip.Addr{}, c.Machine...), Ports: machinePorts,
		Closed: closedPort, Question: hex.EncodeToString([]byte(dnsQuestion)), Patience: containerPatience, AtOnce: containersAtOnce,
		Targets: []containerTarget{{Protocol: "tcp", Address: metadataService.Addr(), Port: metadataService.Port()}},
	}
	for _, o := range c.Internet {
		out.Targets = append(out.Targets, containerTarget{Protocol: o.Protocol, Address: o.Address.Addr(), Port: o.Address.Port()})
	}
	return out
}

// script is the whole of what runs on the machine.
func (q containersQuestion) script() (string, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", err
	}
	return "exec python3 - '" + strings.ReplaceAll(string(text), "'", `'\''`) + "' <<'END-OF-SCRIPT'\n" + containersScript + "\nEND-OF-SCRIPT\n", nil
}

// lookFromContainers is one pass from inside all containers that run.
func (r *Running) lookFromContainers(ctx context.Context, _ int) {
	within, cancel := context.WithTimeout(ctx, containersDeadline)
	defer cancel()
	power := r.record.power()
	said, err := r.askContainers(within)
	if ctx.Err() != nil {
		return // the end; this pass does not count
	}
	if err == nil {
		var tried int
		if tried, err = r.judgeContainers(said); err == nil {
			r.record.passed(containersName, power, tried, true)
			return
		}
	}
	r.record.missed(containersName, err)
}

func (r *Running) askContainers(ctx context.Context) (containersAnswer, error) {
	var said containersAnswer
	script, err := r.options.Containers.question().script()
	if err != nil {
		return said, err
	}
	text, err := r.options.Root(ctx, script)
	if err != nil {
		return said, err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&said); err != nil {
		return said, fmt.Errorf("the script said %q: %w", text, err)
	}
	return said, nil
}

// declaredSpaces are the containers by name, and the edges between them.
type declaredSpaces struct {
	containers map[string]rehearsal.DeclaredContainer
	edges      map[rehearsal.DeclaredEdge]bool
}

func (c Containers) index() declaredSpaces {
	out := declaredSpaces{map[string]rehearsal.DeclaredContainer{}, map[rehearsal.DeclaredEdge]bool{}}
	for _, d := range c.Declared.Containers {
		out.containers[d.Name] = d
	}
	for _, e := range c.Declared.Edges {
		out.edges[e] = true
	}
	return out
}

// leads reports whether some container of one network may connect to one of another.
func (d declaredSpaces) leads(from, to []string, port uint16) bool {
	return slices.ContainsFunc(from, func(f string) bool {
		return slices.ContainsFunc(to, func(t string) bool { return d.edges[rehearsal.DeclaredEdge{From: f, To: t, Port: port}] })
	})
}

// internet reports whether what shares a network may reach the internet. What nobody declares is the
// build of an image: it may, and nothing else.
func (d declaredSpaces) internet(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		c, known := d.containers[name]
		return c.Internet || !known
	})
}

// judgeContainers notes what was found, and returns how much was tried. An error says what could not
// be looked at.
func (r *Running) judgeContainers(said containersAnswer) (tried int, err error) {
	declared := r.options.Containers.index()
	r.judgeEach(said, declared)
	owners := map[netip.Addr][]string{}
	for _, s := range said.Spaces {
		for _, a := range s.Addresses {
			owners[a] = s.Containers
		}
	}
	machine := map[netip.Addr]bool{}
	for _, a := range said.Machine.Addresses {
		machine[a] = true
	}
	var problems []error
	for _, s := range said.Spaces {
		tried += s.Tried
		if s.Failed != "" {
			problems = append(problems, fmt.Errorf("inside %s: %s", strings.Join(s.Containers, ", "), s.Failed))
		}
		for _, other := range said.Spaces {
			if !s.Gone && !other.Gone && slices.ContainsFunc(other.Listening, func(p uint16) bool { return declared.leads(s.Containers, other.Containers, p) }) {
				r.edges.mayAnswer.Store(true)
			}
		}
		for _, a := range s.Answers {
			f := Finding{Where: "inside " + strings.Join(s.Containers, ", "), Protocol: a.Protocol, Port: a.Port, Answer: a.Answer}
			to, container := owners[a.Address]
			allowed := false
			switch {
			case container:
				allowed = a.Protocol == "tcp" && declared.leads(s.Containers, to, a.Port)
				if allowed && a.Answer == Open {
					r.edges.answered.Store(true)
				}
				f.What = fmt.Sprintf("%s at %s", strings.Join(to, ", "), a.Address)
			case machine[a.Address]:
				f.What = fmt.Sprintf("the machine at %s", a.Address)
			case a.Address == metadataService.Addr():
				f.What = "the metadata service"
			default:
				allowed = declared.internet(s.Containers)
				f.What = fmt.Sprintf("the internet, %s", a.Address)
			}
			r.record.saw(f, allowed)
		}
	}
	return tried, errors.Join(problems...)
}

// judgeEach judges what each container is, whatever it reaches.
func (r *Running) judgeEach(said containersAnswer, declared declaredSpaces) {
	beside := map[string][]string{} // the containers that share a network
	for _, s := range said.Spaces {
		for _, name := range s.Containers {
			beside[name] = s.Containers
		}
	}
	for _, c := range said.Containers {
		d, known := declared.containers[c.Name]
		where := "inside " + c.Name
		if !known {
			r.record.saw(Finding{Where: where, Protocol: "container", Answer: Open, What: "not one of the deployment's"}, true)
		}
		if c.OfMachine {
			r.record.saw(Finding{Where: where, Protocol: "network", Answer: Open, What: "the machine's own"}, false)
		}
		for _, other := range beside[c.Name] {
			o := declared.containers[other]
			if other != c.Name && cmp.Or(o.Behind, other) != cmp.Or(d.Behind, c.Name) {
				r.record.saw(Finding{Where: where, Protocol: "network", Answer: Open, What: "that of " + other}, false)
			}
		}
		for _, path := range c.Sockets {
			r.record.saw(Finding{Where: where, Protocol: "unix", Answer: Open, What: path}, d.Engine && strings.HasSuffix(path, "/docker.sock"))
		}
	}
}
