package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Prober looks at a machine from everywhere, all the time that something else is done with it. It is
// a part of Service.
type Prober interface {
	// StartProbe begins to look at a machine. There is one probe at a time.
	StartProbe(ctx context.Context, options ProbeOptions) error
	// AwaitProbe waits until everybody who probes has looked at everything once since it was called:
	// what is so now, the report then says.
	AwaitProbe(ctx context.Context) error
	// StopProbe ends the probe and returns what it has seen.
	StopProbe(ctx context.Context) (ProbeReport, error)
}

// StartProbe implements Prober.
func (c *Client) StartProbe(ctx context.Context, options ProbeOptions) error {
	return c.call(ctx, "start-probe", options, nil)
}

// AwaitProbe implements Prober.
func (c *Client) AwaitProbe(ctx context.Context) error {
	return c.call(ctx, "await-probe", struct{}{}, nil)
}

// StopProbe implements Prober.
func (c *Client) StopProbe(ctx context.Context) (ProbeReport, error) {
	var out ProbeReport
	err := c.call(ctx, "stop-probe", struct{}{}, &out)
	return out, err
}

// ProbeOptions say what is looked at, and what may be there. Hetzner's firewall, the packet filter
// and the tailnet's policy are known to the program: it was given them.
type ProbeOptions struct {
	// Machine is the server's ID.
	Machine string `json:"machine"`
	// Declared is what the deployment declares of its hostnames and containers.
	Declared Declared `json:"declared"`
	// FirstBoot: the machine may be in its first boot, which brings the packet filter, and until
	// then a port that nobody listens at refuses.
	FirstBoot bool `json:"firstBoot"`
	// Longest is after what time the probe ends by itself, so that one whose owner is gone does not
	// go on for ever. Default a day.
	Longest time.Duration `json:"longest,omitempty"`
}

// Declared is what a deployment says of itself: names, containers, and who may reach whom.
type Declared struct {
	// Hostnames are the names under which something answers.
	Hostnames []DeclaredHost `json:"hostnames"`
	// Portal is the hostname of the login portal; empty if there is none.
	Portal string `json:"portal,omitempty"`
	// PublicPort and TailnetPort are where the machine serves hostnames, to Cloudflare and in the
	// tailnet; 0 where it serves none.
	PublicPort  uint16 `json:"publicPort,omitempty"`
	TailnetPort uint16 `json:"tailnetPort,omitempty"` // see PublicPort
	// Containers are what runs.
	Containers []DeclaredContainer `json:"containers"`
	// Edges are who may connect to whom.
	Edges []DeclaredEdge `json:"edges"`
}

// DeclaredHost is a hostname.
type DeclaredHost struct {
	// Name is the full name.
	Name string `json:"name"`
	// Public and Tailnet say on which listeners it is served.
	Public  bool `json:"public"`
	Tailnet bool `json:"tailnet"` // see Public
	// Guarded: nobody passes whom the portal does not know. Else the service asks for its own login,
	// or it is the portal.
	Guarded bool `json:"guarded"`
	// Open are regular expressions of the paths for which nobody is asked to log in.
	Open []string `json:"open,omitempty"`
}

// DeclaredContainer is a container.
type DeclaredContainer struct {
	// Name is Docker's name of it.
	Name string `json:"name"`
	// Internet is whether it may reach the internet.
	Internet bool `json:"internet,omitempty"`
	// Engine is whether it has the container engine's socket.
	Engine bool `json:"engine,omitempty"`
	// Behind is the container whose network it has; empty where it has its own.
	Behind string `json:"behind,omitempty"`
}

// DeclaredEdge is a TCP port that one container may connect to at another.
type DeclaredEdge struct {
	// From and To are the containers' names.
	From string `json:"from"`
	To   string `json:"to"` // see From
	// Port is the TCP port.
	Port uint16 `json:"port"`
}

// ProbeAnswer is what a probe met with.
type ProbeAnswer string

// The answers to a probe.
const (
	// ProbeOpen is a connection, an answer to a datagram or a request, or the reply to a ping.
	ProbeOpen ProbeAnswer = "open"
	// ProbeRefused is a reset, or an ICMP error that says that nobody is at the port.
	ProbeRefused ProbeAnswer = "refused"
	// ProbeUnreachable is another ICMP error about the probe.
	ProbeUnreachable ProbeAnswer = "unreachable"
)

// ProbeFinding is something that answered.
type ProbeFinding struct {
	// Where says who probed, such as "a stranger, IPv4".
	Where string `json:"where"`
	// Protocol is tcp, udp, icmp or https; unix for a socket, network for one that a container has and
	// that is not its own, container for one that nobody declares.
	Protocol string `json:"protocol"`
	// Port is the port that was asked; 0 where the protocol has none.
	Port uint16 `json:"port,omitempty"`
	// Answer is what it answered.
	Answer ProbeAnswer `json:"answer"`
	// What says more; empty where the port says all.
	What string `json:"what,omitempty"`
	// First and Last are when it was seen first and last, and Times how often.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`  // see First
	Times int       `json:"times"` // see First
}

// String is a line of a report.
func (f ProbeFinding) String() string {
	what := f.Protocol
	if f.Port != 0 {
		what = fmt.Sprintf("%s %d", f.Protocol, f.Port)
	}
	if f.What != "" {
		what += " (" + f.What + ")"
	}
	const clock = "15:04:05.000"
	return fmt.Sprintf("%s: %s %s, %d times from %s to %s", f.Where, what, f.Answer, f.Times, f.First.Format(clock), f.Last.Format(clock))
}

// ProbeLooks is how often somebody looked.
type ProbeLooks struct {
	// Where is the name of who probed.
	Where string `json:"where"`
	// Passes counts the passes that were made, and Sweeps how often everything was tried in them.
	Passes int `json:"passes"`
	Sweeps int `json:"sweeps"` // see Passes
	// Tries counts what was sent or tried; 0 for who does not count.
	Tries int `json:"tries,omitempty"`
	// Absent counts the passes that could not be made because the machine had only begun to boot, was
	// off, or went off before the next one: nothing was looked at then. Why is the last reason.
	Absent int    `json:"absent,omitempty"`
	Why    string `json:"why,omitempty"` // see Absent
	// LongestGap is the longest time from the end of one pass that was made to the end of the next.
	LongestGap time.Duration `json:"longestGap"`
}

// ProbeReport is what a probe has seen.
type ProbeReport struct {
	// Forbidden is what answered though nothing declares it.
	Forbidden []ProbeFinding `json:"forbidden"`
	// Seen is what answered and may.
	Seen []ProbeFinding `json:"seen"`
	// Looks says for each who probed how often that was.
	Looks []ProbeLooks `json:"looks"`
	// Problems are the passes that could not be made though the machine was there.
	Problems []string `json:"problems"`
	// Took is how long the probe ran.
	Took time.Duration `json:"took"`
}

// Err is nil if nothing was found that is not declared, and everything was looked at.
func (r ProbeReport) Err() error {
	var all []error
	for _, f := range r.Forbidden {
		all = append(all, fmt.Errorf("not declared: %s", f))
	}
	for _, p := range r.Problems {
		all = append(all, fmt.Errorf("not probed: %s", p))
	}
	return errors.Join(all...)
}

// Saw reports whether a port answered that way to somebody, allowed or not.
func (r ProbeReport) Saw(where, protocol string, port uint16, answer ProbeAnswer) bool {
	return slices.ContainsFunc(slices.Concat(r.Seen, r.Forbidden), func(f ProbeFinding) bool {
		return f.Where == where && f.Protocol == protocol && f.Port == port && f.Answer == answer
	})
}

// String is all of it, for somebody to read.
func (r ProbeReport) String() string {
	lines := []string{fmt.Sprintf("probed for %s", r.Took.Round(time.Second))}
	for _, l := range r.Looks {
		line := fmt.Sprintf("%s: %d passes, everything %d times, %d tries, longest gap %s", l.Where, l.Passes, l.Sweeps, l.Tries, l.LongestGap.Round(100*time.Millisecond))
		if l.Absent > 0 {
			line += fmt.Sprintf("; %d passes could not be made, the machine was not there (%s)", l.Absent, l.Why)
		}
		lines = append(lines, line)
	}
	for _, f := range r.Seen {
		lines = append(lines, "allowed: "+f.String())
	}
	for _, f := range r.Forbidden {
		lines = append(lines, "NOT DECLARED: "+f.String())
	}
	for _, p := range r.Problems {
		lines = append(lines, "NOT PROBED: "+p)
	}
	return strings.Join(lines, "\n")
}
