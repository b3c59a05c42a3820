package portal

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"

	"homelab/tests/chain/standin/internal/access"
	"homelab/tests/chain/standin/internal/logs"
	"homelab/tests/chain/standin/internal/session"
	"homelab/tests/chain/standin/internal/storage"
	"homelab/tests/chain/standin/internal/totp"
)

// enrolmentLifetime is for how long a device waits for its first code.
const enrolmentLifetime = 10 * time.Minute

type deviceView struct {
	Created   time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used_at,omitempty"`
	Issuer    string     `json:"issuer"`
	Algorithm string     `json:"algorithm"`
	Digits    int        `json:"digits"`
	Period    int        `json:"period"`
}

// totpDevice shows the visitor's device, without its secret.
func (r *request) totpDevice() {
	user, ok := r.known("retrieving TOTP configuration", messageSecondFactor)
	if !ok {
		return
	}
	d, err := r.portal.storage.Device(user.Username)
	if err != nil {
		r.log(logs.Debug, err, "Error occurred retrieving TOTP configuration for user '%s'", user.Username)
		r.refuse(fasthttp.StatusNotFound, "Could not find TOTP Configuration for user.")
		return
	}
	view := deviceView{Created: d.Created, Issuer: d.Issuer, Algorithm: d.Algorithm, Digits: d.Digits, Period: d.Period}
	if !d.LastUsed.IsZero() {
		view.LastUsed = &d.LastUsed
	}
	r.data(view)
}

// known returns the visitor, or refuses one who is not logged in.
func (r *request) known(doing, message string) (session.User, bool) {
	user, err := r.visitor()
	if err == nil && user.Anonymous() {
		err = errors.New("user is anonymous")
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred %s", doing)
		r.refuse(fasthttp.StatusForbidden, message)
		return session.User{}, false
	}
	return user, true
}

// totpSignIn takes the visitor's code as second factor.
func (r *request) totpSignIn() {
	user, ok := r.known("validating a TOTP authentication", messageSecondFactor)
	if !ok {
		return
	}
	var body struct {
		Token     string `json:"token"`
		TargetURL string `json:"targetURL"`
		Flow      string `json:"flow"`
		FlowID    string `json:"flowID"`
	}
	status, err := fasthttp.StatusForbidden, r.body(&body, &body.Token)
	if n := len(body.Token); err == nil && n != 6 && n != 8 {
		status, err = fasthttp.StatusBadRequest, fmt.Errorf("expected code length is 6 or 8 but the user provided code was %d characters in length", n)
	}
	if err == nil {
		err = r.checkCode(user.Username, body.Token)
	}
	if err == nil {
		err = r.raise(user)
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred validating a TOTP authentication for user '%s'", user.Username)
		r.refuse(status, messageSecondFactor)
		return
	}
	if body.Flow != "" {
		r.afterFlow(body.Flow, body.FlowID, access.Subject{User: user.Username, Groups: user.Groups, Addr: r.addr}, access.TwoFactor)
		return
	}
	r.afterSecond(body.TargetURL)
}

// checkCode accepts a code that is right and was not used before.
func (r *request) checkCode(user, code string) error {
	d, err := r.portal.storage.Device(user)
	if err != nil {
		return fmt.Errorf("error occurred retrieving the configuration from the storage backend: %w", err)
	}
	right, step, err := d.Validate(code, r.now(), *r.portal.config.TOTP.Skew)
	if err != nil {
		return err
	}
	if !right {
		r.attemptLine("TOTP", false, user, storage.Ban{}, false, nil)
		return errors.New("the user input wasn't valid")
	}
	again, err := r.portal.storage.Use(user, step)
	if err != nil {
		return err
	}
	if again {
		return errors.New("the user has already used this code recently and will not be permitted to reuse it")
	}
	d.LastUsed = r.now()
	return r.portal.storage.SaveDevice(user, d)
}

// raise gives the session its second factor, and a fresh number.
func (r *request) raise(user session.User) error {
	s, err := r.session()
	if err != nil {
		return err
	}
	if err := s.Regenerate(); err != nil {
		return err
	}
	user.TOTP = true
	user.LastActivity = r.now().Unix()
	r.attemptLine("TOTP", true, user.Username, storage.Ban{}, false, nil)
	return s.Save(user)
}

// afterSecond tells the browser where to go.
func (r *request) afterSecond(target string) {
	if target == "" {
		if to := r.defaultURL(); to != nil {
			r.data(redirection{to.String()})
			return
		}
		r.ok()
		return
	}
	u, err := url.ParseRequestURI(target)
	switch {
	case err != nil:
		r.log(logs.Error, err, "unable to determine if URI is safe to redirect to")
		r.refuse(fasthttp.StatusOK, messageSecondFactor)
	case r.safe(u):
		r.data(redirection{target})
	default:
		r.ok()
	}
}

// totpDelete removes the visitor's device. As with the real program this asks for no elevation.
func (r *request) totpDelete() {
	const message = "Unable to delete one-time password."
	user, ok := r.known("deleting a TOTP configuration", message)
	if !ok {
		return
	}
	_, err := r.portal.storage.Device(user.Username)
	if err == nil {
		err = r.portal.storage.DeleteDevice(user.Username)
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred deleting a TOTP configuration for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, message)
		return
	}
	r.notifyEvent(user, "Second Factor Method Removed")
	r.ok()
}

// enrolOptions says what a new device may be like: as configured.
func (r *request) enrolOptions() {
	c := r.portal.config.TOTP
	r.data(map[string]any{
		"algorithm": c.Algorithm, "algorithms": []string{c.Algorithm},
		"length": c.Digits, "lengths": []int{c.Digits},
		"period": c.Period, "periods": []int{c.Period},
	})
}

// enrolStart makes a device's secret, which the session keeps until the device has shown a code.
func (r *request) enrolStart() {
	user, ok := r.known("generating a TOTP registration session", messageEnrol)
	if !ok {
		return
	}
	var body struct {
		Algorithm string `json:"algorithm"`
		Length    int    `json:"length"`
		Period    int    `json:"period"`
	}
	c := r.portal.config.TOTP
	err := r.body(&body)
	if err == nil && (body.Algorithm != c.Algorithm || body.Length != c.Digits || body.Period != c.Period) {
		err = fmt.Errorf("the algorithm '%s', period '%d', or length '%d' was not permitted by configured policy", body.Algorithm, body.Period, body.Length)
	}
	if err != nil {
		r.log(logs.Error, err, "Error occurred generating a TOTP registration session for user '%s'", user.Username)
		r.refuse(fasthttp.StatusBadRequest, messageEnrol)
		return
	}
	user.Enrolment = &session.Enrolment{
		Algorithm: c.Algorithm, Digits: c.Digits, Period: c.Period, Secret: totp.NewSecret(c.SecretSize), Expires: r.now().Add(enrolmentLifetime),
	}
	if err := r.save(user); err != nil {
		r.log(logs.Error, err, "Error occurred generating a TOTP registration session for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, messageEnrol)
		return
	}
	d := r.enrolling(user)
	r.data(map[string]string{"base32_secret": d.Secret, "otpauth_url": d.URI()})
}

func (r *request) enrolling(u session.User) totp.Device {
	e := u.Enrolment
	return totp.Device{
		Issuer: r.portal.config.TOTP.Issuer, User: u.Username, Algorithm: e.Algorithm, Digits: e.Digits, Period: e.Period, Secret: e.Secret,
	}
}

// enrolFinish takes the device's first code, which cannot be used for a login any more.
func (r *request) enrolFinish() {
	user, ok := r.known("validating a TOTP registration session", messageEnrol)
	if !ok {
		return
	}
	var body struct {
		Token string `json:"token"`
	}
	if err := r.body(&body); err != nil {
		r.log(logs.Error, err, "Error occurred validating a TOTP registration session for user '%s'", user.Username)
		r.refuse(fasthttp.StatusBadRequest, messageEnrol)
		return
	}
	if err := r.enrol(user, body.Token); err != nil {
		r.log(logs.Error, err, "Error occurred validating a TOTP registration session for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, messageEnrol)
		return
	}
	r.notifyEvent(user, "Second Factor Method Added")
	r.ok()
}

func (r *request) enrol(user session.User, code string) error {
	if user.Enrolment == nil {
		return errors.New("the user did not initiate a registration session on their current session")
	}
	if r.now().After(user.Enrolment.Expires) {
		return errors.New("the registration session is expired")
	}
	d := r.enrolling(user)
	right, step, err := d.Validate(code, r.now(), *r.portal.config.TOTP.Skew)
	if err != nil {
		return err
	}
	if !right {
		return errors.New("user input did not match any expected value")
	}
	if _, err := r.portal.storage.Use(user.Username, step); err != nil {
		return err
	}
	if err := r.portal.storage.SaveDevice(user.Username, storage.Device{Device: d, Created: r.now()}); err != nil {
		return err
	}
	user.Enrolment = nil
	return r.save(user)
}

// enrolCancel forgets a device being enrolled.
func (r *request) enrolCancel() {
	const message = "Unable to delete one-time password registration session."
	user, ok := r.known("deleting a TOTP registration session", message)
	if !ok {
		return
	}
	user.Enrolment = nil
	if err := r.save(user); err != nil {
		r.log(logs.Error, err, "Error occurred deleting a TOTP registration session for user '%s'", user.Username)
		r.refuse(fasthttp.StatusForbidden, message)
		return
	}
	r.ok()
}
