package portal

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
	"homelab/tests/chain/standin/internal/storage"
	"homelab/tests/chain/standin/internal/users"
)

type passwordBody struct {
	Username       string `json:"username"`
	Password       string `json:"password"`
	TargetURL      string `json:"targetURL"`
	RequestMethod  string `json:"requestMethod"`
	KeepMeLoggedIn *bool  `json:"keepMeLoggedIn"`
	Flow           string `json:"flow"`
	FlowID         string `json:"flowID"`
}

// firstFactor logs a visitor in with name and password.
func (r *request) firstFactor() {
	started, success := time.Now(), false
	defer func() { r.portal.passwordDelay(started, success) }()
	var body passwordBody
	if err := r.body(&body, &body.Username, &body.Password); err != nil {
		r.log(logs.Error, err, "Failed to parse 1FA request body")
		r.refuse(fasthttp.StatusUnauthorized, messageCredentials)
		return
	}
	user, err := r.checkPassword(body.Username, body.Password)
	if err != nil {
		r.refuse(fasthttp.StatusUnauthorized, messageCredentials)
		return
	}
	if err := r.begin(user, body.KeepMeLoggedIn != nil && *body.KeepMeLoggedIn); err != nil {
		r.log(logs.Error, err, "Could not save session with the updated profile during 1FA authentication for user '%s'", user.Name)
		r.refuse(fasthttp.StatusUnauthorized, messageCredentials)
		return
	}
	success = true
	r.afterFirst(body, user)
}

// errRefused says only that the login failed; why is in the log.
var errRefused = fmt.Errorf("refused")

// checkPassword returns the user when the password is right and nobody is banned, and counts the
// attempt.
func (r *request) checkPassword(username, password string) (users.User, error) {
	user, err := r.portal.users.Get(username)
	if err != nil {
		// The same work as for a user that exists.
		_, _ = r.portal.users.Check(username, password)
		ban, banned := r.banned("")
		r.attempt(false, "", ban, banned, err)
		r.log(logs.Error, err, "Error occurred getting details for user with username input '%s' which usually indicates they do not exist", username)
		return users.User{}, errRefused
	}
	if ban, banned := r.banned(user.Name); banned {
		r.attempt(false, user.Name, ban, true, nil)
		return users.User{}, errRefused
	}
	right, err := r.portal.users.Check(user.Name, password)
	if err != nil || !right {
		r.attempt(false, user.Name, storage.Ban{}, false, err)
		return users.User{}, errRefused
	}
	r.attempt(true, user.Name, storage.Ban{}, false, nil)
	return user, nil
}

// begin gives the user a session with a fresh number, whatever the visitor had before.
func (r *request) begin(user users.User, remember bool) error {
	s, err := r.session()
	if err != nil {
		return err
	}
	if err := s.Destroy(); err != nil {
		r.log(logs.Trace, err, "Failed to destroy session during 1FA attempt")
	}
	fresh := s.Default()
	if err := s.Save(fresh); err != nil {
		return err
	}
	if err := s.Regenerate(); err != nil {
		return err
	}
	lifetime := r.portal.config.Session.RememberMe.Std()
	remember = remember && lifetime > 0
	if remember {
		if err := s.SetExpiration(lifetime); err != nil {
			return err
		}
	}
	fresh.Username, fresh.KeepMeLoggedIn, fresh.Password = user.Name, remember, true
	r.describe(&fresh, user)
	return s.Save(fresh)
}

// describe takes the user's details into the session.
func (r *request) describe(u *session.User, user users.User) {
	u.DisplayName, u.Email, u.Groups = user.DisplayName, user.Email, user.Groups
	u.LastActivity = r.now().Unix()
	u.RefreshAt = r.now().Add(r.portal.config.Backend.RefreshInterval.Std())
}

// reauthenticate asks a visitor for the password again.
func (r *request) reauthenticate() {
	started, success := time.Now(), false
	defer func() { r.portal.passwordDelay(started, success) }()
	var body passwordBody
	refuse := func(err error, what string) {
		if err != nil {
			r.log(logs.Error, err, "%s", what)
		}
		r.refuse(fasthttp.StatusUnauthorized, messageCredentials)
	}
	if err := r.body(&body, &body.Password); err != nil {
		refuse(err, "Failed to parse 1FA request body")
		return
	}
	visitor, err := r.visitor()
	if err != nil {
		refuse(err, "Error occurred attempting to load session.")
		return
	}
	user, err := r.checkPassword(visitor.Username, body.Password)
	if err != nil {
		refuse(nil, "")
		return
	}
	s, err := r.session()
	if err == nil {
		err = s.Regenerate()
	}
	if err == nil {
		r.describe(&visitor, user)
		err = s.Save(visitor)
	}
	if err != nil {
		refuse(err, "Could not regenerate session during 1FA authentication")
		return
	}
	success = true
	r.afterFirst(body, user)
}

// afterFirst tells the browser where to go after the first factor, if it may go there already.
func (r *request) afterFirst(body passwordBody, user users.User) {
	subject, target, method := access.Subject{User: user.Name, Groups: user.Groups, Addr: r.addr}, body.TargetURL, body.RequestMethod
	if body.Flow != "" {
		r.afterFlow(body.Flow, body.FlowID, subject, access.OneFactor)
		return
	}
	if target == "" {
		r.defaultRedirect()
		return
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		r.log(logs.Error, err, "unable to parse target URL")
		r.refuse(fasthttp.StatusOK, messageCredentials)
		return
	}
	_, required := r.portal.rules.Required(subject, access.Object{URL: u, Method: method})
	switch {
	case required == access.TwoFactor:
		r.log(logs.Warn, nil, "%s requires 2FA, cannot be redirected yet", target)
		r.ok()
	case !r.safe(u):
		r.defaultRedirect()
	default:
		r.data(redirection{target})
	}
}

type redirection struct {
	Redirect string `json:"redirect"`
}

// defaultRedirect sends to the default place, but only where no second factor could be wanted
// still.
func (r *request) defaultRedirect() {
	if to := r.defaultURL(); to != nil && !r.portal.secondFactor() {
		r.data(redirection{to.String()})
		return
	}
	r.ok()
}

func (r *request) defaultURL() *url.URL {
	own, err := r.ownURL()
	if err != nil {
		return nil
	}
	c, _ := r.cookieOf(own)
	return c.Redirect
}

func (p *Portal) regulates(mode string) bool {
	return *p.config.Regulation.MaxRetries > 0 && slices.Contains(p.config.Regulation.Modes, mode)
}

// banned returns the ban on the visitor's address, or else on the user.
func (r *request) banned(user string) (storage.Ban, bool) {
	if ban, ok := r.portal.storage.Banned(func(b storage.Ban) bool { return b.Addr.IsValid() && b.Addr == r.addr }); ok {
		return ban, true
	}
	if user == "" {
		return storage.Ban{}, false
	}
	return r.portal.storage.Banned(func(b storage.Ban) bool { return b.User == user })
}

// attempt counts a login, bans whom the regulation says, and writes the line that Fail2ban and
// CrowdSec read.
func (r *request) attempt(success bool, user string, ban storage.Ban, banned bool, cause error) {
	a := storage.Attempt{Time: r.now(), Successful: success, Banned: banned, User: user, Addr: r.addr}
	if err := r.portal.storage.Append(a); err != nil {
		r.log(logs.Error, err, "Failed to record 1FA authentication attempt")
	}
	if !success && !banned {
		if r.portal.regulates("ip") {
			r.regulate(storage.Ban{Addr: r.addr}, func(a storage.Attempt) bool { return a.Addr == r.addr })
		}
		if r.portal.regulates("user") && user != "" {
			r.regulate(storage.Ban{User: user}, func(a storage.Attempt) bool { return a.User == user })
		}
	}
	r.attemptLine("1FA", success, user, ban, banned, cause)
}

func (r *request) attemptLine(kind string, success bool, user string, ban storage.Ban, banned bool, cause error) {
	switch {
	case success:
		r.log(logs.Debug, nil, "Successful %s authentication attempt made by user '%s'", kind, user)
	case cause == nil && banned:
		r.log(logs.Error, nil, "Unsuccessful %s authentication attempt by user '%s' and they are banned until %s",
			kind, user, ban.Expires.Format("3:04:05PM on January 2 2006 (-07:00)"))
	default:
		r.log(logs.Error, cause, "Unsuccessful %s authentication attempt by user '%s'", kind, user)
	}
}

// regulate bans when too many attempts failed lately with none right in between.
func (r *request) regulate(ban storage.Ban, match func(storage.Attempt) bool) {
	c := r.portal.config.Regulation
	failures := 0
	recent := r.portal.storage.Attempts(r.now().Add(-c.FindTime.Std()), match)
	for _, a := range recent {
		if a.Successful {
			break
		}
		failures++
	}
	if failures < *c.MaxRetries {
		return
	}
	ban.Expires = recent[0].Time.Add(c.BanTime.Std())
	if err := r.portal.storage.SaveBan(ban); err != nil {
		r.log(logs.Error, err, "Failed to save ban")
	}
}
