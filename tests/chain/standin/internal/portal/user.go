package portal

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/logs"
)

// state says who is logged in, and how far.
func (r *request) state() {
	user, err := r.visitor()
	if err != nil {
		r.log(logs.Error, err, "Error occurred retrieving user session")
		plain(r.RequestCtx, fasthttp.StatusForbidden)
		return
	}
	var state struct {
		Username string `json:"username"`
		Level    int    `json:"authentication_level"`
		Password bool   `json:"factor_knowledge"`
		Redirect string `json:"default_redirection_url,omitempty"`
	}
	state.Username, state.Level, state.Password = user.Username, int(user.Level()), user.Password
	if to := r.defaultURL(); to != nil {
		state.Redirect = to.String()
	}
	r.data(state)
}

func (r *request) methods() []string {
	var out []string
	if !r.portal.config.TOTP.Disable {
		out = append(out, "totp")
	}
	if !r.portal.config.WebAuthn.Disable {
		out = append(out, "webauthn")
	}
	return out
}

// secondFactor reports whether any rule or client could ask for a second factor.
func (p *Portal) secondFactor() bool { return p.rules.SecondFactor() || p.openID.secondFactor() }

// configuration says what the portal offers.
func (r *request) configuration() {
	methods := []string{}
	if r.portal.secondFactor() {
		methods = r.methods()
	}
	r.data(map[string]any{"available_methods": methods, "password_change_disabled": true, "password_reset_disabled": true})
}

// passwordPolicy says that there is none.
func (r *request) passwordPolicy() {
	r.data(map[string]any{
		"mode": "disabled", "min_length": 0, "max_length": 0, "min_score": 0,
		"require_uppercase": false, "require_lowercase": false, "require_number": false, "require_special": false,
	})
}

// safeRedirection says whether the portal would send a visitor to a URL.
func (r *request) safeRedirection() {
	user, err := r.visitor()
	if err != nil || user.Anonymous() {
		plain(r.RequestCtx, fasthttp.StatusUnauthorized)
		return
	}
	var body struct {
		URI string `json:"uri"`
	}
	err = r.body(&body)
	var u *url.URL
	if err == nil {
		u, err = url.ParseRequestURI(body.URI)
	}
	if err != nil {
		r.log(logs.Error, err, "unable to determine if the uri is safe to redirect to")
		r.refuse(fasthttp.StatusOK, messageFailed)
		return
	}
	r.data(map[string]bool{"ok": r.safe(u)})
}

// logout ends the session.
func (r *request) logout() {
	var body struct {
		TargetURL string `json:"targetURL"`
	}
	if err := r.body(&body); err != nil {
		r.log(logs.Error, err, "unable to parse body during logout")
	}
	s, err := r.session()
	if err == nil {
		err = s.Destroy()
	}
	if err != nil {
		r.log(logs.Error, err, "unable to destroy session during logout")
	}
	u, err := url.ParseRequestURI(body.TargetURL)
	r.data(map[string]bool{"safeTargetURL": err == nil && r.safe(u)})
}

type info struct {
	DisplayName string   `json:"display_name"`
	Emails      []string `json:"emails"`
	Method      string   `json:"method"`
	TOTP        bool     `json:"has_totp"`
	WebAuthn    bool     `json:"has_webauthn"`
	Duo         bool     `json:"has_duo"`
}

// userInfo describes the visitor.
func (r *request) userInfo() {
	user, ok := r.known("retrieving user session", messageFailed)
	if !ok {
		return
	}
	r.data(info{
		DisplayName: user.DisplayName, Emails: []string{redact(user.Email)},
		Method: r.portal.storage.Method(user.Username), TOTP: r.enrolled(user.Username),
	})
}

// userInfoPOST does so too, and chooses a second factor for who has chosen none.
func (r *request) userInfoPOST() {
	user, ok := r.known("retrieving user session", messageFailed)
	if !ok {
		return
	}
	method, first := r.portal.storage.Method(user.Username), !r.portal.storage.HasPreferences(user.Username)
	if available := r.methods(); first || method == "" && len(available) > 0 {
		if method == "" && len(available) > 0 {
			method = available[0]
		}
		if err := r.portal.storage.SaveMethod(user.Username, method); err != nil {
			r.log(logs.Error, err, "unable to save user two factor method")
			r.refuse(fasthttp.StatusOK, messageFailed)
			return
		}
	}
	r.data(info{DisplayName: user.DisplayName, Method: method, TOTP: r.enrolled(user.Username)})
}

// setMethod keeps the visitor's preferred second factor.
func (r *request) setMethod() {
	user, ok := r.known("retrieving user session", messageFailed)
	if !ok {
		return
	}
	var body struct {
		Method string `json:"method"`
	}
	err := r.body(&body, &body.Method)
	if err == nil && !slices.Contains(r.methods(), body.Method) {
		err = fmt.Errorf("unknown or unavailable method '%s', it should be one of %s", body.Method, strings.Join(r.methods(), ", "))
	}
	if err == nil {
		err = r.portal.storage.SaveMethod(user.Username, body.Method)
	}
	if err != nil {
		r.log(logs.Error, err, "unable to save new preferred 2FA method")
		r.refuse(fasthttp.StatusOK, messageFailed)
		return
	}
	r.ok()
}

// redact hides the middle of an address before the @.
func redact(email string) string {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || strings.Contains(domain, "@") {
		return ""
	}
	letters := []rune(local)
	for i := range letters {
		if len(letters) <= 2 || i > 0 && i < len(letters)-1 {
			letters[i] = '*'
		}
	}
	return string(letters) + "@" + domain
}
