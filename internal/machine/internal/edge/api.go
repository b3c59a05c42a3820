package edge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"homelab/internal/rehearsal"
)

// APIHost is where Cloudflare's API is.
const APIHost = "api.cloudflare.com"

// Told is what the deployment has told Cloudflare's API: programs on the machine block visitors, and
// answer challenges about their names.
type Told struct {
	// Access are the IP access rules.
	Access []AccessRule `json:"access"`
	// Records are TXT records.
	Records []TXT `json:"records"`
}

// AccessRule blocks an address or a range.
type AccessRule struct {
	ID            string        `json:"id"`            // Cloudflare's
	Mode          string        `json:"mode"`          // block, or one of the challenges
	Notes         string        `json:"notes"`         // whose it is
	Configuration Configuration `json:"configuration"` // whom it is about
}

// Configuration is whom an AccessRule is about.
type Configuration struct {
	// Target is ip, ip6 or ip_range, and Value an address or a range.
	Target string `json:"target"`
	Value  string `json:"value"` // see Target
}

// prefix is the range; of an address, itself alone.
func (c Configuration) prefix() (netip.Prefix, error) {
	if c.Target == "ip_range" {
		p, err := netip.ParsePrefix(c.Value)
		sizes := []int{16, 24}
		if p.Addr().Is6() {
			sizes = []int{32, 48, 64}
		}
		if err == nil && (!slices.Contains(sizes, p.Bits()) || p != p.Masked()) {
			err = fmt.Errorf("%s is no range of %v bits", c.Value, sizes)
		}
		return p, err
	}
	a, err := netip.ParseAddr(c.Value)
	if err == nil && (c.Target != "ip" && c.Target != "ip6" || c.Target == "ip" && !a.Is4() || c.Target == "ip6" && !a.Is6()) {
		err = fmt.Errorf("%s is no address of the target %q", c.Value, c.Target)
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// TXT is a TXT record.
type TXT struct {
	ID      string `json:"id"`      // Cloudflare's
	Type    string `json:"type"`    // TXT
	Name    string `json:"name"`    // the whole one
	Content string `json:"content"` // perhaps in quotes
	TTL     int    `json:"ttl"`     // in seconds; 1 is Cloudflare's choice
}

// modes are what an access rule can do here.
var modes = []string{"block", "challenge", "js_challenge", "managed_challenge"}

// blockedBy is the access rule about a visitor; nil if there is none.
func (t *Told) blockedBy(visitor netip.Addr) *AccessRule {
	for i := range t.Access {
		if p, err := t.Access[i].Configuration.prefix(); err == nil && p.Contains(visitor) {
			return &t.Access[i]
		}
	}
	return nil
}

// TXT are the contents of a name's TXT records, without their quotes.
func (t *Told) TXT(name string) (out []string) {
	for _, r := range t.Records {
		if r.Name == name {
			out = append(out, strings.Trim(r.Content, `"`))
		}
	}
	return out
}

// Told returns what the API was told.
func (e *Edge) Told() *Told { return e.told.Load() }

// Recall puts in force what the API was told before.
func (e *Edge) Recall(told Told) { e.told.Store(&told) }

// tell changes what the API was told, and has it kept.
func (e *Edge) tell(change func(*Told) error) error {
	e.telling.Lock()
	defer e.telling.Unlock()
	old := e.told.Load()
	next := Told{Access: slices.Clone(old.Access), Records: slices.Clone(old.Records)}
	if err := change(&next); err != nil {
		return err
	}
	if e.options.Keep != nil {
		if err := e.options.Keep(next); err != nil {
			return err
		}
	}
	e.told.Store(&next)
	return nil
}

// refusal is an error of the API.
type refusal struct {
	status, code int
	message      string
}

func (r refusal) Error() string { return r.message }

var errNotThere = refusal{http.StatusNotFound, 7003, "could not route to the path, perhaps your object identifier is invalid?"}

// API answers as Cloudflare's API does, as much of it as the machine's programs ask for. What a token
// may do is not checked: the rehearsal does not know its permissions.
func (e *Edge) API() http.Handler {
	mux := http.NewServeMux()
	const zones, zone = "/client/v4/zones", "/client/v4/zones/{zone}"
	handle := func(pattern string, f func(z *apiZone, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { e.answer(w, r, f) })
	}
	handle("GET "+zones, func(z *apiZone, r *http.Request) (any, error) {
		if name := r.URL.Query().Get("name"); z == nil || name != "" && name != z.Name {
			return []apiZone{}, nil
		}
		return []*apiZone{z}, nil
	})
	handle("GET "+zone, func(z *apiZone, _ *http.Request) (any, error) { return z, nil })
	handle("GET "+zone+"/dns_records", e.listRecords)
	handle("POST "+zone+"/dns_records", e.makeRecord)
	handle("DELETE "+zone+"/dns_records/{id}", e.deleteRecord)
	const rules = zone + "/firewall/access_rules/rules"
	handle("GET "+rules, e.listAccess)
	handle("POST "+rules, e.makeAccess)
	handle("PATCH "+rules+"/{id}", e.changeAccess)
	handle("DELETE "+rules+"/{id}", e.deleteAccess)
	handle("/", func(*apiZone, *http.Request) (any, error) { return nil, errNotThere })
	return mux
}

// apiZone is the zone as the API shows it.
type apiZone struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// answer runs a method of the API on the zone that its path names.
func (e *Edge) answer(w http.ResponseWriter, r *http.Request, f func(z *apiZone, r *http.Request) (any, error)) {
	var z *apiZone
	if now := e.now.Load(); now != nil {
		z = &apiZone{now.declared.ID, now.declared.Name, "active"}
	}
	var result any
	var err error
	named := r.PathValue("zone")
	switch token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); {
	case !bearer || token == "":
		err = refusal{http.StatusBadRequest, 6003, "invalid request headers: a token is needed"}
	case named != "" && (z == nil || z.ID != named):
		err = errNotThere
	default:
		result, err = f(z, r)
	}
	status, problems := http.StatusOK, []map[string]any{}
	if err != nil {
		said, ok := err.(refusal)
		if !ok {
			said = refusal{http.StatusInternalServerError, 1000, err.Error()}
		}
		status, result = said.status, nil
		problems = append(problems, map[string]any{"code": said.code, "message": said.message})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // who does not read it has hung up
		"success": err == nil, "errors": problems, "messages": []any{}, "result": result,
	})
}

// read reads a request's body.
func read[T any](r *http.Request, into *T) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(into); err != nil {
		return refusal{http.StatusBadRequest, 6007, "malformed JSON in request body: " + err.Error()}
	}
	return nil
}

func (e *Edge) listRecords(_ *apiZone, r *http.Request) (any, error) {
	q := r.URL.Query()
	out := []TXT{}
	for _, record := range e.told.Load().Records {
		bare := strings.Trim(record.Content, `"`)
		if (q.Get("type") == "" || q.Get("type") == record.Type) && (q.Get("name") == "" || q.Get("name") == record.Name) &&
			(q.Get("content.exact") == "" || q.Get("content.exact") == record.Content) && strings.Contains(bare, strings.Trim(q.Get("content.contains"), `"`)) {
			out = append(out, record)
		}
	}
	return out, nil
}

func (e *Edge) makeRecord(z *apiZone, r *http.Request) (any, error) {
	var record TXT
	if err := read(r, &record); err != nil {
		return nil, err
	}
	record.Name = strings.ToLower(strings.TrimSuffix(record.Name, "."))
	if record.Name != z.Name && !strings.HasSuffix(record.Name, "."+z.Name) {
		record.Name += "." + z.Name
	}
	if record.Type != "TXT" || record.Content == "" {
		return nil, refusal{http.StatusBadRequest, 9005, "only TXT records with content can be made in a rehearsal"}
	}
	record.ID = newID()
	return record, e.tell(func(t *Told) error {
		for _, other := range t.Records {
			if other.Name == record.Name && other.Content == record.Content {
				return refusal{http.StatusBadRequest, 81058, "an identical record already exists"}
			}
		}
		t.Records = append(t.Records, record)
		return nil
	})
}

func (e *Edge) deleteRecord(_ *apiZone, r *http.Request) (any, error) {
	id := r.PathValue("id")
	return map[string]string{"id": id}, e.tell(func(t *Told) error {
		before := len(t.Records)
		t.Records = slices.DeleteFunc(t.Records, func(record TXT) bool { return record.ID == id })
		if len(t.Records) == before {
			return refusal{http.StatusNotFound, 81044, "record does not exist"}
		}
		return nil
	})
}

func (e *Edge) listAccess(_ *apiZone, r *http.Request) (any, error) {
	q := r.URL.Query()
	out := []AccessRule{}
	for _, rule := range e.told.Load().Access {
		if (q.Get("configuration.target") == "" || q.Get("configuration.target") == rule.Configuration.Target) &&
			(q.Get("configuration.value") == "" || q.Get("configuration.value") == rule.Configuration.Value) {
			out = append(out, rule)
		}
	}
	return out, nil
}

func (e *Edge) makeAccess(_ *apiZone, r *http.Request) (any, error) {
	var rule AccessRule
	if err := read(r, &rule); err != nil {
		return nil, err
	}
	if err := rule.valid(); err != nil {
		return nil, err
	}
	rule.ID = newID()
	return rule, e.tell(func(t *Told) error {
		for _, other := range t.Access {
			if other.Configuration == rule.Configuration {
				return refusal{http.StatusBadRequest, 10009, "firewallaccessrules.api.duplicate_of_existing"}
			}
		}
		t.Access = append(t.Access, rule)
		return nil
	})
}

func (a AccessRule) valid() error {
	if _, err := a.Configuration.prefix(); err != nil {
		return refusal{http.StatusBadRequest, 10001, "firewallaccessrules.api.validation_error: " + err.Error()}
	}
	if !slices.Contains(modes, a.Mode) {
		return refusal{http.StatusBadRequest, 10001, fmt.Sprintf("the mode %q is not part of a rehearsal: %v are", a.Mode, modes)}
	}
	return nil
}

func (e *Edge) changeAccess(_ *apiZone, r *http.Request) (any, error) {
	var news struct{ Mode, Notes *string }
	if err := read(r, &news); err != nil {
		return nil, err
	}
	var changed AccessRule
	return &changed, e.tell(func(t *Told) error {
		at := slices.IndexFunc(t.Access, func(a AccessRule) bool { return a.ID == r.PathValue("id") })
		if at < 0 {
			return errNotThere
		}
		changed = t.Access[at]
		if news.Mode != nil {
			changed.Mode = *news.Mode
		}
		if news.Notes != nil {
			changed.Notes = *news.Notes
		}
		t.Access[at] = changed
		return changed.valid()
	})
}

func (e *Edge) deleteAccess(_ *apiZone, r *http.Request) (any, error) {
	id := r.PathValue("id")
	return map[string]string{"id": id}, e.tell(func(t *Told) error {
		before := len(t.Access)
		t.Access = slices.DeleteFunc(t.Access, func(a AccessRule) bool { return a.ID == id })
		if len(t.Access) == before {
			return errNotThere
		}
		return nil
	})
}

// banned are the addresses and ranges of the access rules, sorted.
func (e *Edge) banned(out *rehearsal.Edge) {
	for _, a := range e.told.Load().Access {
		out.Banned = append(out.Banned, a.Configuration.Value)
	}
	slices.Sort(out.Banned)
}
