package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"gopkg.in/yaml.v3"

	"homelab/internal/standins/document"
)

// grafanaVersion is the version that it says it has.
const grafanaVersion = "13.2.3"

// Cookies of Grafana's.
const (
	grafanaSession = "grafana_session"
	grafanaState   = "oauth_state"
	grafanaProof   = "oauth_code_verifier"
)

// drawer is Grafana without a page: its logins at the portal are real ones.
type drawer struct {
	login   oauth2.Config
	userURL string
	// allowed are the groups whose members get in, and roles what they become, in order.
	allowed []string
	roles   [][2]string // group and role
	// sources are the URLs of the data sources by UID.
	sources map[string]string

	log   *lines
	kept  *document.File
	mutex sync.Mutex
	// users are who is logged in, by session.
	users map[string]grafanaUser
}

// grafanaUser is what Grafana knows of who is logged in.
type grafanaUser struct {
	Login string    `json:"login"`
	Name  string    `json:"name"`
	Email string    `json:"email"`
	Role  string    `json:"role"`
	Until time.Time `json:"until"`
}

// grafana is Grafana.
func grafana(ctx context.Context, p process) (err error) {
	if len(p.args) > 0 {
		return fmt.Errorf("grafana: unknown arguments %q", p.args)
	}
	set, err := p.readINI(p.env("GF_PATHS_CONFIG"))
	if err != nil {
		return err
	}
	d := &drawer{log: &lines{out: p.out}, users: map[string]grafanaUser{}}
	if err := d.configure(set); err != nil {
		return err
	}
	places, err := set.want("paths", "data", "provisioning")
	if err != nil {
		return err
	}
	if err := d.provision(p, places[1]); err != nil {
		return err
	}
	if d.kept, err = document.Open(filepath.Join(p.path(places[0]), set["database"]["path"])); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.kept.Close()) }()
	if err := decodeIfThere(d.kept.Content(), &d.users); err != nil {
		return err
	}
	if err := d.keep(); err != nil {
		return err
	}
	d.say("info", "Starting Grafana (a stand-in) version="+grafanaVersion)
	return p.serve(ctx, ":"+set["server"]["http_port"], d.routes())
}

func (d *drawer) say(level, message string) {
	line, err := json.Marshal(map[string]string{"level": level, "logger": "standin", "msg": message, "t": time.Now().UTC().Format(time.RFC3339Nano)})
	if err == nil {
		d.log.printf("%s", line)
	}
}

var roleOfGroup = regexp.MustCompile(`contains\(groups, '([^']+)'\) && '(Admin|Editor|Viewer)'`)

// configure reads what the login needs. The secrets must be there, and every other way in be off.
func (d *drawer) configure(set ini) error {
	const oauth = "auth.generic_oauth"
	values, err := set.want(oauth, "client_id", "client_secret", "auth_url", "token_url", "api_url", "scopes", "allowed_groups", "role_attribute_path")
	_, secretErr := set.want("security", "secret_key")
	_, otherErr := set.want("database", "path")
	server, serverErr := set.want("server", "root_url", "http_port")
	if err := errors.Join(err, secretErr, otherErr, serverErr); err != nil {
		return fmt.Errorf("grafana: %w", err)
	}
	for key, want := range map[string]string{
		"enabled": "true", "auto_login": "true", "use_pkce": "true", "auth_style": "InHeader", "role_attribute_strict": "true",
	} {
		if set[oauth][key] != want {
			return fmt.Errorf("grafana: the stand-in needs %s of %s to be %s", key, oauth, want)
		}
	}
	for _, section := range []string{"auth.anonymous", "auth.basic", "auth.proxy", "auth.jwt", "auth.ldap"} {
		if set[section]["enabled"] != "false" {
			return fmt.Errorf("grafana: the stand-in has no %s", section)
		}
	}
	d.login = oauth2.Config{
		ClientID: values[0], ClientSecret: values[1], RedirectURL: server[0] + "login/generic_oauth", Scopes: strings.Fields(values[5]),
		Endpoint: oauth2.Endpoint{AuthURL: values[2], TokenURL: values[3], AuthStyle: oauth2.AuthStyleInHeader},
	}
	d.userURL, d.allowed = values[4], strings.Fields(values[6])
	for _, found := range roleOfGroup.FindAllStringSubmatch(values[7], -1) {
		d.roles = append(d.roles, [2]string{found[1], found[2]})
	}
	if len(d.roles) == 0 {
		return fmt.Errorf("grafana: the stand-in reads no role from %q", values[7])
	}
	return nil
}

// provision reads the data sources and the dashboards.
func (d *drawer) provision(p process, folder string) error {
	var sources struct {
		Datasources []struct{ UID, URL, Access string }
	}
	if err := readAll(p.path(folder+"/datasources"), ".yaml", func(content []byte) error { return yaml.Unmarshal(content, &sources) }); err != nil {
		return err
	}
	d.sources = map[string]string{}
	for _, source := range sources.Datasources {
		d.sources[source.UID] = source.URL
	}
	var boards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := readAll(p.path(folder+"/dashboards"), ".yaml", func(content []byte) error { return yaml.Unmarshal(content, &boards) }); err != nil {
		return err
	}
	for _, provider := range boards.Providers {
		if err := readAll(p.path(provider.Options.Path), ".json", func(content []byte) error {
			var board struct{ UID, Title string }
			if err := json.Unmarshal(content, &board); err != nil || board.UID == "" || board.Title == "" {
				return errors.Join(errors.New("it is no dashboard"), err)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads the files of a folder, of which there must be one.
func readAll(folder, ending string, read func([]byte) error) error {
	names, err := filepath.Glob(filepath.Join(folder, "*"+ending))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("there is no %s file in %s", ending, folder)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err == nil {
			err = read(content)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (d *drawer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]string{"database": "ok", "version": grafanaVersion, "commit": "standin"})
	})
	mux.Handle("GET /metrics", metrics(newRegistry()))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/login/generic_oauth", http.StatusFound)
	})
	mux.HandleFunc("GET /login/generic_oauth", d.logIn)
	mux.HandleFunc("GET /{$}", d.page)
	mux.HandleFunc("GET /api/user", d.known(func(w http.ResponseWriter, _ *http.Request, user grafanaUser) {
		respond(w, http.StatusOK, map[string]string{"login": user.Login, "name": user.Name, "email": user.Email})
	}))
	mux.HandleFunc("GET /api/user/orgs", d.known(func(w http.ResponseWriter, _ *http.Request, user grafanaUser) {
		respond(w, http.StatusOK, []map[string]any{{"orgId": 1, "name": "Main Org.", "role": user.Role}})
	}))
	mux.HandleFunc("GET /api/datasources/uid/{uid}/health", d.known(d.sourceHealth))
	return mux
}

// user returns who sends a request.
func (d *drawer) user(r *http.Request) (grafanaUser, bool) {
	cookie, err := r.Cookie(grafanaSession)
	if err != nil {
		return grafanaUser{}, false
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	user, ok := d.users[cookie.Value]
	return user, ok && time.Now().Before(user.Until)
}

// known answers who is logged in.
func (d *drawer) known(handler func(http.ResponseWriter, *http.Request, grafanaUser)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := d.user(r)
		if !ok {
			respond(w, http.StatusUnauthorized, map[string]string{"message": "Unauthorized", "messageId": "auth.unauthorized"})
			return
		}
		handler(w, r, user)
	}
}

func (d *drawer) page(w http.ResponseWriter, r *http.Request) {
	user, ok := d.user(r)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "This is a stand-in for Grafana. You are %s, %s.\n", user.Login, user.Role)
}

// sourceHealth reports whether a data source can be reached.
func (d *drawer) sourceHealth(w http.ResponseWriter, r *http.Request, _ grafanaUser) {
	address, ok := d.sources[r.PathValue("uid")]
	if !ok {
		respond(w, http.StatusNotFound, map[string]string{"message": "Data source not found"})
		return
	}
	path := "/-/ready"
	if r.PathValue("uid") == "loki" {
		path = "/ready"
	}
	if err := succeeds(r.Context(), http.MethodGet, address+path); err != nil {
		respond(w, http.StatusBadRequest, map[string]string{"status": "ERROR", "message": err.Error()})
		return
	}
	respond(w, http.StatusOK, map[string]string{"status": "OK"})
}

// logIn sends people to the portal, and takes them when they come back.
func (d *drawer) logIn(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("code") && !query.Has("error") {
		state, proof := rand.Text(), oauth2.GenerateVerifier()
		for name, value := range map[string]string{grafanaState: state, grafanaProof: proof} {
			d.cookie(w, name, value, 10*time.Minute)
		}
		http.Redirect(w, r, d.login.AuthCodeURL(state, oauth2.S256ChallengeOption(proof)), http.StatusFound)
		return
	}
	user, err := d.arrived(r)
	if err != nil {
		d.say("error", "login: "+err.Error())
		respond(w, http.StatusUnauthorized, map[string]string{"message": "login failed"})
		return
	}
	session := rand.Text()
	d.mutex.Lock()
	d.users[session] = user
	d.mutex.Unlock()
	if err := d.keep(); err != nil {
		d.say("error", err.Error())
		respond(w, http.StatusInternalServerError, map[string]string{"message": "database"})
		return
	}
	d.say("info", "Successful Login User="+user.Email)
	d.cookie(w, grafanaSession, session, time.Until(user.Until))
	http.Redirect(w, r, "/", http.StatusFound)
}

func (d *drawer) cookie(w http.ResponseWriter, name, value string, lasts time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(lasts.Seconds()), HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode,
	})
}

// keep writes who is logged in.
func (d *drawer) keep() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	content, err := encode(d.users)
	if err != nil {
		return err
	}
	return d.kept.Write(content)
}

// arrived asks the portal who comes back from there.
func (d *drawer) arrived(r *http.Request) (grafanaUser, error) {
	query := r.URL.Query()
	state, err := r.Cookie(grafanaState)
	proof, proofErr := r.Cookie(grafanaProof)
	switch {
	case query.Has("error"):
		return grafanaUser{}, fmt.Errorf("the portal says %s", query.Get("error"))
	case err != nil || proofErr != nil || state.Value != query.Get("state"):
		return grafanaUser{}, errors.New("the state is not the one that was sent")
	}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	token, err := d.login.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(proof.Value))
	if err != nil {
		return grafanaUser{}, err
	}
	response, err := d.login.Client(ctx, token).Get(d.userURL)
	if err != nil {
		return grafanaUser{}, err
	}
	defer response.Body.Close()
	var said struct {
		Login  string `json:"preferred_username"`
		Name   string
		Email  string
		Groups []string
	}
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil || response.StatusCode != http.StatusOK || said.Login == "" {
		return grafanaUser{}, errors.Join(fmt.Errorf("the portal answers %s", response.Status), err)
	}
	role := d.role(said.Groups)
	if role == "" {
		return grafanaUser{}, fmt.Errorf("%s is in no group that may use it", said.Login)
	}
	return grafanaUser{said.Login, said.Name, said.Email, role, time.Now().Add(24 * time.Hour)}, nil
}

// role is what who is in these groups becomes; empty for nobody.
func (d *drawer) role(groups []string) string {
	if !slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(d.allowed, g) }) {
		return ""
	}
	for _, pair := range d.roles {
		if slices.Contains(groups, pair[0]) {
			return pair[1]
		}
	}
	return ""
}
