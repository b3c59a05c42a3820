package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"homelab/internal/rehearsal"
)

// Listener is one of the two places where a machine serves hostnames.
type Listener string

// The listeners.
const (
	// PublicListener serves whoever has Cloudflare's client certificate, which no probe has.
	PublicListener Listener = "public"
	// TailnetListener serves the computers of the tailnet.
	TailnetListener Listener = "tailnet"
)

// Visitor asks for hostnames without logging in.
type Visitor struct {
	// Name says who it is. Required, and another one for each.
	Name string
	// Listener is whose port is asked. Required.
	Listener Listener
	// Dial connects from where the visitor is. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Addresses are the machine's, as the visitor reaches it; an error says that it cannot be there
	// now. Required.
	Addresses func(ctx context.Context) ([]netip.Addr, error)
	// Connects: the port may answer the visitor. Else a connection alone is one too many.
	Connects bool
}

// Hostnames say who asks for which names.
type Hostnames struct {
	// Declared is what the deployment serves, where and to whom. Its containers are not used here.
	Declared rehearsal.Declared
	// Visitors ask.
	Visitors []Visitor
}

const (
	// unknownLabel begins a name that nobody declares, and a path that no service has.
	unknownLabel = "homelab-probe"
	// requestPatience is for one request with its handshake, on an emulated machine.
	requestPatience = 20 * time.Second
	// requestsAtOnce is how many one visitor makes at the same time.
	requestsAtOnce = 4
	// passesForAll is how many passes it takes until a visitor has asked for each path at each of two
	// addresses.
	passesForAll = 4
)

// question is one request: the name of the handshake, the one of the request, and the path.
type question struct {
	sni, host, path string
}

func (q question) String() string {
	name := q.host
	if q.sni == "" {
		name += " without a name in the handshake"
	} else if q.sni != q.host {
		name += " in a handshake for " + q.sni
	}
	return "GET " + q.path + " of " + name
}

// reply is what a visitor got; status is 0 where nothing was answered.
type reply struct {
	connected bool
	status    int
	location  string
}

// questions are those of one pass at one listener, for a machine at an address. The paths are tried
// in turns.
func (h Hostnames) questions(listener Listener, address netip.Addr, number int) []question {
	path := []string{"/", "/" + unknownLabel}[number%2]
	names := []string{}
	for _, d := range h.Declared.Hostnames {
		names = append(names, d.Name)
	}
	if len(names) > 0 {
		_, domain, _ := strings.Cut(names[0], ".")
		names = append(names, unknownLabel+"."+domain)
	}
	var out []question
	front := ""
	for _, d := range h.Declared.Hostnames {
		if front == "" && (declaredHost{d}).serves(listener) {
			front = d.Name
		}
	}
	for _, name := range names {
		out = append(out, question{name, name, path})
		if at, served := h.host(name); front != "" && (!served || !at.serves(listener)) {
			out = append(out, question{front, name, path})
		}
	}
	host := address.String()
	if address.Is6() {
		host = "[" + host + "]"
	}
	return append(out, question{"", host, path})
}

// declaredHost is a hostname with what a probe asks of it.
type declaredHost struct{ rehearsal.DeclaredHost }

func (d declaredHost) serves(listener Listener) bool {
	return listener == PublicListener && d.Public || listener == TailnetListener && d.Tailnet
}

func (h Hostnames) host(name string) (declaredHost, bool) {
	for _, d := range h.Declared.Hostnames {
		if d.Name == name {
			return declaredHost{d}, true
		}
	}
	return declaredHost{}, false
}

func (h Hostnames) port(listener Listener) uint16 {
	port := h.Declared.PublicPort
	if listener == TailnetListener {
		port = h.Declared.TailnetPort
	}
	if port == 0 {
		port = 443 // nothing is declared there, and nothing may answer
	}
	return port
}

// lookAtHostnames is one pass: by one visitor after the other.
func (r *Running) lookAtHostnames(ctx context.Context, number int) {
	within, cancel := context.WithTimeout(ctx, hostnamesDeadline)
	defer cancel()
	for _, v := range r.options.Hostnames.Visitors {
		power := r.record.power()
		addresses, err := v.Addresses(within)
		if err == nil && len(addresses) == 0 {
			err = ErrAbsent
		}
		tries := 0
		if err == nil {
			// Both versions of IP lead to the same program: one after the other, for both paths.
			tries = r.visit(within, v, addresses[number/2%len(addresses)], number)
			if within.Err() != nil {
				err = fmt.Errorf("it took longer than %s", hostnamesDeadline)
			}
		}
		switch {
		case ctx.Err() != nil:
			return // the end; this pass does not count
		case err != nil:
			r.record.missed(v.Name, err)
		default:
			r.record.passed(v.Name, power, tries, number%(2*len(addresses)) == 2*len(addresses)-1)
		}
	}
}

// visit asks for every name at one address.
func (r *Running) visit(ctx context.Context, v Visitor, address netip.Addr, number int) (tries int) {
	h := r.options.Hostnames
	at := netip.AddrPortFrom(address, h.port(v.Listener))
	asked := h.questions(v.Listener, address, number)
	if !v.Connects {
		asked = asked[:1] // who gets no connection gets it for no name
	}
	slots := make(chan struct{}, requestsAtOnce)
	var all sync.WaitGroup
	for _, q := range asked {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			r.judgeReply(v, at, q, request(ctx, v, at, q))
		})
	}
	all.Wait()
	return len(asked)
}

// request asks once, without following where it leads.
func request(ctx context.Context, v Visitor, at netip.AddrPort, q question) (out reply) {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	if !v.Connects {
		var soon context.CancelFunc // what a firewall drops takes all the time there is
		ctx, soon = context.WithTimeout(ctx, dialPatience)
		defer soon()
	}
	conn, err := v.Dial(ctx, "tcp", at.String())
	if err != nil {
		return out
	}
	out.connected = true
	defer func() { _ = conn.Close() }() // all was said
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	// Which certificate it shows is not the question here.
	secure := tls.Client(conn, &tls.Config{ServerName: q.sni, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // as the comment says
	req := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: q.path}, Host: q.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {unknownLabel}, "Accept": {"text/html"}}, Close: true,
	}
	// With TLS 1.3 a server refuses a client without a certificate after the client's last word: the
	// answer says whether it did.
	if err := req.Write(secure); err != nil {
		return out
	}
	resp, err := http.ReadResponse(bufio.NewReader(secure), req)
	if err != nil {
		return out
	}
	_ = resp.Body.Close() // what it says is not the question
	out.status, out.location = resp.StatusCode, resp.Header.Get("Location")
	return out
}

// judgeReply notes what a visitor got.
func (r *Running) judgeReply(v Visitor, at netip.AddrPort, q question, got reply) {
	h := r.options.Hostnames
	f := Finding{Where: v.Name, Protocol: "https", Port: at.Port(), Answer: Open}
	host, known := h.host(q.host)
	served := known && host.serves(v.Listener) && q.sni == q.host
	if got.connected && v.Listener == TailnetListener && served {
		r.names.mayAnswer.Store(true)
	}
	switch {
	case !got.connected:
		return // silence, or a refusal: the ports are other probes' business
	case !v.Connects:
		f.Protocol, f.What = "tcp", "a connection, and with it "+q.String()
		r.record.saw(f, false)
		return
	case got.status == 0:
		f.Answer, f.What = Refused, "handshakes and requests without an answer"
		r.record.saw(f, true)
		return
	}
	if v.Listener == TailnetListener && served {
		r.names.answered.Store(true)
	}
	f.What = fmt.Sprintf("%s: %d", q, got.status)
	if got.location != "" {
		f.What += " to " + where(got.location)
	}
	r.record.saw(f, h.may(v.Listener, host, served, q, got))
}

// misdirected is what the proxy answers to a request in a handshake for another name.
const misdirected = http.StatusMisdirectedRequest

// unavailable are answers of the proxy itself that give nothing away: refused, or nobody is behind it.
var unavailable = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
	http.StatusGatewayTimeout, misdirected,
}

// may reports whether an answer is one that a visitor without a login may get.
func (h Hostnames) may(listener Listener, host declaredHost, served bool, q question, got reply) bool {
	switch {
	case listener == PublicListener:
		return false // nobody gets past the handshake without Cloudflare's certificate
	case !served:
		return got.status == misdirected
	case !host.Guarded, slices.Contains(unavailable, got.status):
		return true
	case slices.ContainsFunc(host.Open, func(pattern string) bool { return matches(pattern, q.path) }):
		return true
	case got.status >= 300 && got.status < 400:
		to, err := url.Parse(got.location)
		return err == nil && to.Scheme == "https" && to.Hostname() == h.Declared.Portal && to.User == nil && h.Declared.Portal != ""
	}
	return false
}

func matches(pattern, path string) bool {
	found, err := regexp.MatchString(pattern, path)
	return err == nil && found
}

// where is an address without what it carries.
func where(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return strconv.Quote(location)
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}

func (h Hostnames) validate(name func(string)) error {
	var problems []error
	for _, v := range h.Visitors {
		name(v.Name)
		if v.Dial == nil || v.Addresses == nil || v.Listener != PublicListener && v.Listener != TailnetListener {
			problems = append(problems, fmt.Errorf("%s: no way to dial, no addresses, or no listener", v.Name))
		}
	}
	for _, d := range h.Declared.Hostnames {
		for _, pattern := range d.Open {
			if _, err := regexp.Compile(pattern); err != nil {
				problems = append(problems, fmt.Errorf("the open path of %s: %w", d.Name, err))
			}
		}
	}
	if len(h.Visitors) == 0 {
		problems = append(problems, errors.New("nobody asks for the hostnames"))
	}
	return errors.Join(problems...)
}
