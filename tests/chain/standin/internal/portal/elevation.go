package portal

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
)

// codeLetters are those of one-time codes: none that looks like another.
const codeLetters = "ABCDEFGHJKLMNPQRTUVWYXZ2346789"

type missing struct {
	Elevation    bool `json:"elevation"`
	FirstFactor  bool `json:"first_factor"`
	SecondFactor bool `json:"second_factor"`
}

// elevated lets only those pass who confirmed who they are lately, from the same address; and who
// has a second factor must have shown it.
func elevated(next handler) handler {
	return func(r *request) {
		refuse := func(m missing) { r.json(fasthttp.StatusForbidden, envelope{Status: "KO", Data: m}) }
		user, err := r.visitor()
		if err != nil || user.Anonymous() {
			r.log(logs.Warn, err, "An anonymous user attempted to access an elevated protected endpoint.")
			refuse(missing{FirstFactor: true})
			return
		}
		c := r.portal.config.Identity.ElevatedSession
		second := user.Level() == access.TwoFactor
		switch {
		case c.SkipSecondFactor && second:
			next(r)
		case c.RequireSecondFactor && !second && r.enrolled(user.Username):
			refuse(missing{SecondFactor: true})
		case user.Elevation == nil:
			refuse(missing{Elevation: true})
		case r.now().After(user.Elevation.Expires) || r.addr != user.Elevation.Addr:
			r.log(logs.Warn, nil, "The user session elevation is expired or of another address. It will be destroyed and the users access will be forbidden.")
			user.Elevation = nil
			if err := r.save(user); err != nil {
				r.log(logs.Error, err, "Error occurred trying to save the user session after a policy constraint violation occurred.")
			}
			refuse(missing{Elevation: true})
		default:
			next(r)
		}
	}
}

// enrolled reports whether the portal knows of a second factor of the user. The real program asks
// for it together with the user's preferences (storage.LoadUserInfo), and who has none of those yet
// counts as one without: the page makes them, by POST /api/user/info, before it enrols anything.
func (r *request) enrolled(user string) bool {
	if !r.portal.storage.HasPreferences(user) {
		return false
	}
	_, err := r.portal.storage.Device(user)
	return err == nil
}

// elevationState says what the visitor still has to do.
func (r *request) elevationState() {
	user, ok := r.known("retrieving user session elevation state", messageFailed)
	if !ok {
		return
	}
	var state struct {
		RequireSecondFactor bool `json:"require_second_factor"`
		SkipSecondFactor    bool `json:"skip_second_factor"`
		CanSkipSecondFactor bool `json:"can_skip_second_factor"`
		FactorKnowledge     bool `json:"factor_knowledge"`
		Elevated            bool `json:"elevated"`
		Expires             int  `json:"expires"`
	}
	c := r.portal.config.Identity.ElevatedSession
	if user.Level() == access.TwoFactor {
		state.SkipSecondFactor = c.SkipSecondFactor
	} else {
		state.FactorKnowledge = user.Password
		state.RequireSecondFactor = c.RequireSecondFactor && r.enrolled(user.Username)
		state.CanSkipSecondFactor = !c.RequireSecondFactor && c.SkipSecondFactor && r.enrolled(user.Username)
	}
	if e := user.Elevation; e != nil && e.Addr == r.addr && !e.Expires.Before(r.now()) {
		state.Elevated, state.Expires = true, int(e.Expires.Sub(r.now()).Seconds())
	}
	r.data(state)
}

// elevationStart sends the visitor a one-time code.
func (r *request) elevationStart() {
	user, ok := r.known("creating user session elevation One-Time Code challenge", messageFailed)
	if !ok {
		return
	}
	id, err := r.sendCode(user)
	if err != nil {
		r.log(logs.Error, err, "Error occurred creating user session elevation One-Time Code challenge for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, messageFailed)
		return
	}
	r.data(map[string]string{"delete_id": id})
}

func (r *request) sendCode(user session.User) (string, error) {
	link, err := r.issuer()
	if err != nil {
		return "", err
	}
	c := r.portal.config.Identity.ElevatedSession
	code := make([]byte, c.Characters)
	for i := range code {
		// The standard library's reader never fails.
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(codeLetters))))
		code[i] = codeLetters[n.Int64()]
	}
	number := make([]byte, 16)
	_, _ = rand.Read(number)
	id := base64.RawURLEncoding.EncodeToString(number)
	if err := r.portal.storage.SaveCode(id, user.Username, r.addr, string(code), r.now().Add(c.CodeLifespan.Std())); err != nil {
		return "", err
	}
	link.Path, link.RawQuery = "/revoke/one-time-code", url.Values{"id": {id}}.Encode()
	return id, r.notifyCode(user, string(code), link.String())
}

// issuer is the portal's own address as the visitor sees it, which must be the configured one.
func (r *request) issuer() (*url.URL, error) {
	host := r.header("X-Forwarded-Host")
	if host == "" {
		host = string(r.Host())
	}
	if r.proto() != "https" {
		return nil, fmt.Errorf("invalid X-Forwarded-Proto header value '%s'", r.proto())
	}
	for _, c := range r.portal.config.Session.Cookies {
		if c.Portal.Host == host {
			return &url.URL{Scheme: "https", Host: host}, nil
		}
	}
	return nil, fmt.Errorf("error occurred discovering the issuer: no session cookie configuration matches host '%s'", host)
}

// elevationFinish takes the one-time code.
func (r *request) elevationFinish() {
	user, ok := r.known("validating user session elevation One-Time Code challenge", messageFailed)
	if !ok {
		return
	}
	var body struct {
		Code string `json:"otc"`
	}
	err := r.body(&body)
	code := strings.TrimSpace(strings.ToUpper(body.Code))
	if err == nil && len(code) > 20 {
		err = fmt.Errorf("expected maximum code length is 20 but the user provided code was %d characters in length", len(code))
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred validating user session elevation One-Time Code challenge for user '%s'", user.Username)
		r.refuse(fasthttp.StatusBadRequest, messageFailed)
		return
	}
	err = r.portal.storage.ConsumeCode(user.Username, r.addr, code)
	if err == nil {
		lifespan := r.portal.config.Identity.ElevatedSession.ElevationLifespan.Std()
		user.Elevation = &session.Elevation{Addr: r.addr, Expires: r.now().Add(lifespan)}
		err = r.save(user)
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred validating user session elevation One-Time Code challenge for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, messageFailed)
		return
	}
	r.ok()
}

// elevationRevoke makes a code useless; whoever has the link may do it, and a failure has the
// status 200.
func (r *request) elevationRevoke() {
	id, _ := r.UserValue("id").(string)
	if err := r.portal.storage.RevokeCode(id); err != nil {
		r.log(logs.Error, err, "Error occurred revoking user session elevation One-Time Code challenge")
		r.refuse(fasthttp.StatusOK, messageFailed)
		return
	}
	r.ok()
}
