package portal

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/config"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
	"homelab/tests/chain/standin/internal/users"
)

const nobody = "<anonymous>"

// authz answers the proxy: may this request pass?
func (r *request) authz() {
	object, err := r.object()
	if err != nil {
		r.log(logs.Error, err, "Error getting Target URL and Request Method")
		plain(r.RequestCtx, fasthttp.StatusBadRequest)
		return
	}
	if !secure(object.URL) {
		r.log(logs.Error, nil, "Target URL '%s' has an insecure scheme '%s', only the 'https' and 'wss' schemes are supported so session cookies can be transmitted securely",
			object.URL, object.URL.Scheme)
		plain(r.RequestCtx, fasthttp.StatusBadRequest)
		return
	}
	cookie, ok := r.cookieOf(object.URL)
	if !ok {
		r.log(logs.Error, nil, "Target URL does not appear to have a relevant session cookies configuration: %s", object.URL)
		plain(r.RequestCtx, fasthttp.StatusBadRequest)
		return
	}
	portal, err := r.portalURL(cookie)
	if err != nil {
		r.log(logs.Error, err, "Error occurred trying to determine the external Authelia URL for Target URL")
		plain(r.RequestCtx, fasthttp.StatusBadRequest)
		return
	}
	user, err := r.recognise(cookie)
	// Whoever cannot be recognised is nobody.
	if err != nil {
		user = session.User{}
	}
	hasSubjects, required := r.portal.rules.Required(access.Subject{User: user.Username, Groups: user.Groups, Addr: r.addr}, object)
	if err != nil {
		r.log(logs.Debug, err, "Error occurred while attempting to authenticate a request")
	}
	level := user.Level()
	switch {
	case required == access.Bypass,
		required == access.OneFactor && level >= access.OneFactor,
		required == access.TwoFactor && level >= access.TwoFactor:
		r.pass(user)
	case required == access.Denied && (level != access.NotAuthenticated || !hasSubjects):
		r.log(logs.Info, nil, "Access to '%s' is forbidden to user '%s'", object.URL, name(user))
		plain(r.RequestCtx, fasthttp.StatusForbidden)
	default:
		r.unauthorized(user, object, portal)
	}
}

func name(u session.User) string {
	if u.Username == "" {
		return nobody
	}
	return u.Username
}

var methodPattern = regexp.MustCompile(`^[A-Z]+$`)

// object reads what the visitor asks for from what the proxy says.
func (r *request) object() (access.Object, error) {
	host, method := r.header("X-Forwarded-Host"), r.header("X-Forwarded-Method")
	if host == "" {
		return access.Object{}, errors.New("failed to get target URL: missing host value")
	}
	u, err := url.ParseRequestURI(r.proto() + "://" + host + r.header("X-Forwarded-Uri"))
	if err != nil {
		return access.Object{}, fmt.Errorf("failed to get target URL: failed to parse forwarded headers: %w", err)
	}
	switch {
	case method == "":
		return access.Object{}, errors.New("header 'X-Forwarded-Method' is empty")
	case !methodPattern.MatchString(method):
		return access.Object{}, fmt.Errorf("header 'X-Forwarded-Method' with value '%s' has invalid characters", method)
	}
	return access.Object{URL: u, Method: method}, nil
}

// portalURL is where visitors log in; the proxy may name another place within the cookie's domain.
func (r *request) portalURL(c config.Cookie) (*url.URL, error) {
	text := r.QueryArgs().Peek("authelia_url")
	if text == nil {
		return c.Portal, nil
	}
	u, err := url.ParseRequestURI(string(text))
	if err != nil {
		return nil, err
	}
	if !config.HasDomainSuffix(u.Hostname(), c.Domain) {
		return nil, fmt.Errorf("authelia url '%s' is not valid for detected domain '%s' as the url does not have the domain as a suffix", u, c.Domain)
	}
	return u, nil
}

// recognise returns the visitor of the request's session. It ends sessions too long unused, takes
// changes of the users' database over, and notes the visit.
func (r *request) recognise(c config.Cookie) (session.User, error) {
	s := r.portal.sessions.Of(r.RequestCtx, c.Domain)
	user, err := s.Get()
	if err != nil {
		return session.User{}, fmt.Errorf("failed to retrieve user session: %w", err)
	}
	if user.CookieDomain != c.Domain {
		r.log(logs.Warn, nil, "Destroying session cookie as the cookie domain '%s' does not match the requests detected cookie domain '%s' which may be a sign a user tried to move this cookie from one domain to another",
			user.CookieDomain, c.Domain)
		return r.discard(s), nil
	}
	if reason := r.invalid(&user); reason != "" {
		r.portal.log.Log(logs.Info, logs.Fields{
			"method": r.fields["method"], "path": r.fields["path"], "remote_ip": r.fields["remote_ip"], "username": user.Username,
		}, nil, "%s", reason)
		return r.discard(s), nil
	}
	if !user.KeepMeLoggedIn {
		user.LastActivity = r.now().Unix()
	}
	if err := s.Save(user); err != nil {
		r.log(logs.Error, err, "Unable to save updated user session")
	}
	return user, nil
}

// discard ends the session and begins an anonymous one.
func (r *request) discard(s *session.Session) session.User {
	if err := s.Destroy(); err != nil {
		r.log(logs.Error, err, "Unable to destroy user session")
	}
	user := s.Default()
	user.LastActivity = r.now().Unix()
	if err := s.Save(user); err != nil {
		r.log(logs.Error, err, "Unable to save updated user session")
	}
	return user
}

// invalid says why a session may not go on, and otherwise refreshes it.
func (r *request) invalid(u *session.User) string {
	if u.Username == "" {
		return ""
	}
	inactivity := r.portal.config.Session.Inactivity.Std()
	if !u.KeepMeLoggedIn && time.Unix(u.LastActivity, 0).Add(inactivity).Before(r.now()) {
		return "Session for user not marked as remembered has exceeded configured session inactivity"
	}
	if !u.RefreshAt.After(r.now()) {
		known, err := r.portal.users.Get(u.Username)
		if errors.Is(err, users.ErrNotFound) {
			return "Error occurred while attempting to update user details for user: the user was not found indicating they were deleted, disabled, or otherwise no longer authorized to login"
		}
		u.DisplayName, u.Email, u.Groups = known.DisplayName, known.Email, known.Groups
		u.RefreshAt = r.now().Add(r.portal.config.Backend.RefreshInterval.Std())
	}
	if given := r.Request.Header.Peek("Session-Username"); given != nil && !strings.EqualFold(string(given), u.Username) {
		return "Session for user does not match the Session-Username header which could be a sign of a cookie hijack"
	}
	return ""
}

// pass lets the request through, and tells the service who it is from.
func (r *request) pass(u session.User) {
	plain(r.RequestCtx, fasthttp.StatusOK)
	if u.Username == "" {
		return
	}
	r.Response.Header.Set("Remote-User", u.Username)
	r.Response.Header.Set("Remote-Groups", strings.Join(u.Groups, ","))
	r.Response.Header.Set("Remote-Name", u.DisplayName)
	r.Response.Header.Set("Remote-Email", u.Email)
}

// unauthorized sends the visitor to the portal; a program gets a 401 with the same place.
func (r *request) unauthorized(u session.User, o access.Object, portal *url.URL) {
	to := *portal
	if to.Path == "" {
		to.Path = "/"
	}
	query := to.Query()
	query.Set("rd", o.URL.String())
	query.Set("rm", o.Method)
	to.RawQuery = query.Encode()
	status := fasthttp.StatusSeeOther
	switch {
	case strings.EqualFold(r.header("X-Requested-With"), "XMLHttpRequest") || !r.acceptsHTML():
		status = fasthttp.StatusUnauthorized
	case slices.Contains([]string{"GET", "OPTIONS", "HEAD"}, o.Method):
		status = fasthttp.StatusFound
	}
	r.log(logs.Info, nil, "Access to %s (method %s) is not authorized to user %s, responding with status code %d with location redirect to %s",
		o.URL, o.Method, name(u), status, &to)
	r.redirect(to.String(), status)
	if o.Method == fasthttp.MethodHead {
		r.Response.ResetBody()
	}
}

// acceptsHTML reports whether the visitor is a browser.
func (r *request) acceptsHTML() bool {
	for i, item := range strings.Split(r.header("Accept"), ",") {
		kind, _, _ := strings.Cut(item, ";")
		kind = strings.Trim(kind, " ")
		if kind == "text/html" || i == 0 && kind == "*/*" {
			return true
		}
	}
	return false
}
