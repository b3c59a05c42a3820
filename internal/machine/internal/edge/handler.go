package edge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"time"

	"homelab/internal/rehearsal"
)

// Cloudflare's own errors, by its numbers.
// https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors
const (
	errorBanned   = 1006 // the visitor's address is blocked
	errorLimited  = 1015 // by a rate limit
	errorNoOrigin = 1016 // the name has no address
	errorBlocked  = 1020 // by a rule
)

// statusNoOrigin is Cloudflare's own status for its numbered errors about origins.
const statusNoOrigin = 530

// ServeHTTP implements http.Handler: it is what Cloudflare does with a request, in its order.
// https://developers.cloudflare.com/waf/concepts/#rule-execution-order
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ray := newRay()
	w.Header().Set("CF-RAY", ray)
	w.Header().Set("Server", "cloudflare")
	z := e.now.Load()
	visitor, err := netip.ParseAddrPort(r.RemoteAddr)
	if z == nil || err != nil {
		refuse(w, statusNoOrigin, errorNoOrigin)
		return
	}
	v := &visit{request: r, visitor: visitor.Addr().Unmap(), secure: r.TLS != nil}
	v.country, v.path = rehearsal.CountryOf(v.visitor), z.normalize(writtenPath(r))
	if v.secure {
		maps.Copy(w.Header(), z.answers)
	}
	switch {
	case len(z.origins[v.host()]) == 0:
		refuse(w, statusNoOrigin, errorNoOrigin)
	case !v.secure && z.secureOnly:
		http.Redirect(w, r, "https://"+v.host()+writtenURI(r), http.StatusMovedPermanently)
	case e.bans(w, v):
	case z.stops(w, v, e.options.Now):
	case r.ContentLength > z.maxUpload:
		refuse(w, http.StatusRequestEntityTooLarge, 0)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, z.maxUpload)
		e.cache.serve(w, z.zone, v, e.options.Now, func(w http.ResponseWriter) {
			z.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, &passing{v, ray})))
		})
	}
}

// visitKey is where a request's context has what is known of it.
type visitKey struct{}

// passing is a visit on its way to the origin.
type passing struct {
	*visit

	ray string
}

// bans answers a visitor about whom the zone has an IP access rule.
func (e *Edge) bans(w http.ResponseWriter, v *visit) bool {
	rule := e.told.Load().blockedBy(v.visitor)
	switch {
	case rule == nil:
		return false
	case rule.Mode == "block":
		refuse(w, http.StatusForbidden, errorBanned)
	default:
		challenge(w)
	}
	return true
}

// challenge answers with the page that only a browser passes.
func challenge(w http.ResponseWriter) {
	w.Header().Set("Cf-Mitigated", "challenge")
	refuse(w, http.StatusForbidden, 0)
}

// stops answers a request that a rule of the zone keeps from the origin.
func (z *zone) stops(w http.ResponseWriter, v *visit, now func() time.Time) bool {
	for _, r := range z.custom {
		if !r.holds(v) {
			continue
		}
		switch r.Action {
		case "block":
			refuse(w, http.StatusForbidden, errorBlocked)
			return true
		case "challenge", "js_challenge", "managed_challenge":
			challenge(w)
			return true
		}
	}
	for _, l := range z.limits {
		if l.holds(v) && l.exceeded(v.visitor, now()) {
			w.Header().Set("Retry-After", fmt.Sprint(int(l.block.Seconds())))
			refuse(w, http.StatusTooManyRequests, errorLimited)
			return true
		}
	}
	return false
}

// refuse answers in Cloudflare's name; number is one of its own, or 0.
func refuse(w http.ResponseWriter, status, number int) {
	text := http.StatusText(status)
	if number != 0 {
		text = fmt.Sprintf("error code: %d", number)
	}
	w.Header().Set("Cache-Control", "private, no-store")
	http.Error(w, text, status)
}

// writtenURI is a request's path and query as the visitor wrote them.
func writtenURI(r *http.Request) string {
	if q := r.URL.RawQuery; q != "" || r.URL.ForceQuery {
		return writtenPath(r) + "?" + q
	}
	return writtenPath(r)
}

// port is the one at which the visitor has connected.
func port(r *http.Request) uint16 {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return SecurePorts[0]
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return SecurePorts[0]
	}
	return at.Port()
}

// newRay is the ID of a request: 16 digits, and the data centre.
func newRay() string { return newID()[:16] + "-FRA" }

// newID is an ID of the API.
func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}
