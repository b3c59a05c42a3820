package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// NameServers are Hetzner's recursive name servers, which every server there is given.
// https://docs.hetzner.com/dns-console/dns/general/recursive-name-servers
var NameServers = []netip.Addr{
	netip.MustParseAddr("185.12.64.1"), netip.MustParseAddr("185.12.64.2"),
	netip.MustParseAddr("2a01:4ff:ff00::add:1"), netip.MustParseAddr("2a01:4ff:ff00::add:2"),
}

// OpenResolver answers whoever asks, as Cloudflare's does: somebody behind a VPN asks no name server
// of Hetzner's.
var OpenResolver = netip.MustParseAddr("1.1.1.1")

const (
	// ttlSeconds is short, so that a test need not wait until a change is seen.
	ttlSeconds = 5
	// maxUnknown bounds the names that are remembered because nobody has them.
	maxUnknown = 256
	// lookupTimeout is for a name of the real internet.
	lookupTimeout = 5 * time.Second
)

type recordKey struct {
	name string // lower case, with the dot at the end
	kind uint16
}

// names are the records of the whole DNS.
type names struct {
	mu      sync.RWMutex
	records map[recordKey][]dns.RR
	exists  map[string]int // by name: its kinds of records
	unknown map[string]bool
}

func newNames() *names {
	return &names{records: map[recordKey][]dns.RR{}, exists: map[string]int{}, unknown: map[string]bool{}}
}

// Name gives a host its addresses, of both versions of IP, in place of those that it had; without
// any, its name is unknown again.
func (n *Network) Name(host string, addrs ...netip.Addr) {
	name := dns.CanonicalName(host)
	var four, six []dns.RR
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			four = append(four, &dns.A{Hdr: rrHeader(name, dns.TypeA), A: net.IP(a.AsSlice())})
		} else {
			six = append(six, &dns.AAAA{Hdr: rrHeader(name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())})
		}
	}
	n.names.set(recordKey{name, dns.TypeA}, four)
	n.names.set(recordKey{name, dns.TypeAAAA}, six)
}

// Records sets all records of one name and one type, from lines as in a zone's file, such as
// `www.example.com. 60 IN TXT "text"`. RemoveRecords deletes them.
func (n *Network) Records(lines ...string) error {
	var all []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			return fmt.Errorf("DNS record %q: %w", line, err)
		}
		if rr == nil {
			return fmt.Errorf("DNS record %q is empty", line)
		}
		rr.Header().Name = dns.CanonicalName(rr.Header().Name)
		if h, first := rr.Header(), all; len(first) > 0 && (h.Name != first[0].Header().Name || h.Rrtype != first[0].Header().Rrtype) {
			return fmt.Errorf("DNS record %q has not the name and type of %q", line, lines[0])
		}
		all = append(all, rr)
	}
	if len(all) == 0 {
		return errors.New("no DNS records")
	}
	n.names.set(recordKey{all[0].Header().Name, all[0].Header().Rrtype}, all)
	return nil
}

// RemoveRecords deletes the records of a name of one type, such as TXT.
func (n *Network) RemoveRecords(host, kind string) error {
	k, ok := dns.StringToType[kind]
	if !ok {
		return fmt.Errorf("%q is not a type of DNS records", kind)
	}
	n.names.set(recordKey{dns.CanonicalName(host), k}, nil)
	return nil
}

// UnknownNames returns what machines asked for though nobody has the name, sorted, at most 256.
func (n *Network) UnknownNames() []string {
	n.names.mu.RLock()
	defer n.names.mu.RUnlock()
	return slices.Sorted(maps.Keys(n.names.unknown))
}

func rrHeader(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttlSeconds}
}

func (n *names) set(key recordKey, records []dns.RR) {
	n.mu.Lock()
	defer n.mu.Unlock()
	had := len(n.records[key]) > 0
	switch {
	case len(records) > 0:
		n.records[key] = records
		delete(n.unknown, key.name)
		if !had {
			n.exists[key.name]++
		}
	case had:
		delete(n.records, key)
		if n.exists[key.name]--; n.exists[key.name] == 0 {
			delete(n.exists, key.name)
		}
	}
}

// serveNames answers DNS at the name servers' addresses, over UDP and TCP.
func (n *Network) serveNames() error {
	for _, a := range append(slices.Clone(NameServers), OpenResolver) {
		at := netip.AddrPortFrom(a, 53)
		packets, err := n.ListenPacket(at)
		if err != nil {
			return err
		}
		streams, err := n.Listen(at)
		if err != nil {
			return err
		}
		for _, server := range []*dns.Server{{PacketConn: packets, Handler: dns.HandlerFunc(n.serveDNS)}, {Listener: streams, Handler: dns.HandlerFunc(n.serveDNS)}} {
			// It ends with an error when its socket is closed, which is how it ends.
			n.work(func() { _ = server.ActivateAndServe() })
		}
	}
	return nil
}

// serveDNS answers one question.
func (n *Network) serveDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	if question.Opcode != dns.OpcodeQuery || len(question.Question) != 1 || question.Question[0].Qclass != dns.ClassINET {
		answer.SetRcode(question, dns.RcodeNotImplemented)
	} else {
		answer.SetReply(question)
		answer.RecursionAvailable = true
		n.answer(answer, question.Question[0])
	}
	size := dns.MinMsgSize
	if options := question.IsEdns0(); options != nil {
		size = max(size, int(options.UDPSize()))
		answer.SetEdns0(options.UDPSize(), false)
	}
	if _, stream := w.RemoteAddr().(*net.TCPAddr); !stream {
		answer.Truncate(size)
	}
	// The client asks again.
	_ = w.WriteMsg(answer)
}

// answer follows aliases, at most 8.
func (n *Network) answer(m *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	for range 8 {
		records, alias, exists := n.names.find(name, q.Qtype)
		m.Answer = append(m.Answer, records...)
		switch {
		case alias != "":
			name = alias
			continue
		case len(records) > 0:
			return
		case !exists && n.outbound.allows(name):
			n.answerOutbound(m, name, q.Qtype)
			return
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
			n.names.miss(name)
		}
		m.Ns = []dns.RR{negative(name)}
		return
	}
	m.Rcode = dns.RcodeServerFailure
}

// find returns the records of a name, or the alias that has them.
func (n *names) find(name string, kind uint16) (records []dns.RR, alias string, exists bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if records := n.records[recordKey{name, kind}]; len(records) > 0 {
		return slices.Clone(records), "", true
	}
	if aliases := n.records[recordKey{name, dns.TypeCNAME}]; len(aliases) > 0 {
		return slices.Clone(aliases), dns.CanonicalName(aliases[0].(*dns.CNAME).Target), true
	}
	if n.exists[name] > 0 {
		return nil, "", true
	}
	// A name with others below it exists as well (RFC 8020).
	for other := range n.exists {
		if strings.HasSuffix(other, "."+name) {
			return nil, "", true
		}
	}
	return nil, "", false
}

func (n *names) miss(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.unknown) < maxUnknown {
		n.unknown[strings.TrimSuffix(name, ".")] = true
	}
}

// negative is the record that lets clients keep an answer without records, for a short time only.
func negative(name string) dns.RR {
	parent := "."
	if labels := dns.SplitDomainName(name); len(labels) > 1 {
		parent = dns.Fqdn(strings.Join(labels[len(labels)-2:], "."))
	}
	return &dns.SOA{
		Hdr: rrHeader(parent, dns.TypeSOA), Ns: "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttlSeconds,
	}
}

// answerOutbound looks a name of the real internet up.
func (n *Network) answerOutbound(m *dns.Msg, name string, kind uint16) {
	if kind != dns.TypeA && kind != dns.TypeAAAA {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	addrs, err := n.outbound.lookup(ctx, name, kind == dns.TypeA)
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	for _, a := range addrs {
		if a.Is4() {
			m.Answer = append(m.Answer, &dns.A{Hdr: rrHeader(name, dns.TypeA), A: a.AsSlice()})
		} else {
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: rrHeader(name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
}
