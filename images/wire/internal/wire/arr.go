package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golift.io/starr"

	"homelab/images/wire/internal/plan"
)

// arr calls Radarr, Sonarr or Prowlarr. It uses starr's transport but not its types: they leave out
// false values and every field that they do not know, and a whole object is written back.
type arr struct {
	*app
	starr   *starr.Config
	version string // of the API: v1 or v3
	title   string // the app's own name and version
	// beforeWrite is called before something is written to a resource, if it is set.
	beforeWrite func(resource string) error
}

func (a *app) newArr(version string, key plan.Secret) *arr {
	return &arr{app: a, version: version, starr: &starr.Config{
		Client: a.client(), APIKey: string(key), URL: string(a.common.URL),
	}}
}

// get reads a resource into a value.
func (c *arr) get(ctx context.Context, resource string, into any) error {
	err := c.explain(c.starr.GetInto(ctx, starr.Request{URI: c.version + "/" + resource}, into))
	var refused refusedError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("reading %s: %w", resource, err)
}

// read is a resource, and where it is read to.
type read struct {
	resource string
	into     any
}

// getAll reads resources until one cannot be read.
func (c *arr) getAll(ctx context.Context, reads ...read) error {
	for _, r := range reads {
		if err := c.get(ctx, r.resource, r.into); err != nil {
			return err
		}
	}
	return nil
}

// send sends an object.
func (c *arr) send(ctx context.Context, method, resource string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if c.beforeWrite != nil && !strings.HasSuffix(resource, "/test") {
		if err := c.beforeWrite(resource); err != nil {
			return err
		}
	}
	request := starr.Request{URI: c.version + "/" + resource, Body: bytes.NewReader(data)}
	var answer any
	switch method {
	case http.MethodPost:
		err = c.starr.PostInto(ctx, request, &answer)
	case http.MethodPut:
		err = c.starr.PutInto(ctx, request, &answer)
	default:
		err = c.starr.DeleteAny(ctx, request)
	}
	if errors.Is(err, io.EOF) {
		return nil // a success without a body
	}
	return c.explain(err)
}

// explain returns an error of starr in short words, without what the app repeats of the request.
func (c *arr) explain(err error) error {
	var answer *starr.ReqError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answer):
		return plain(err)
	case answer.Code == http.StatusUnauthorized:
		return c.refusal("its API key", "key", answer.Code, "apiKey")
	case answer.Name != "":
		return &statusError{code: answer.Code, message: short(answer.Name + ": " + answer.Msg), property: answer.Name}
	}
	return &statusError{code: answer.Code, message: short(answer.Msg)}
}

// identify reads the app's name and version, which also shows whether it takes our key.
func (c *arr) identify(ctx context.Context) error {
	var status struct {
		AppName string `json:"appName"`
		Version string `json:"version"`
	}
	if err := c.get(ctx, "system/status", &status); err != nil {
		return err
	}
	c.title = strings.TrimSpace(status.AppName + " " + status.Version)
	return nil
}

// needs returns an error if an object that the app gave us has no such field.
func (c *arr) needs(o map[string]any, label string, fields []field) error {
	for _, f := range fields {
		if _, ok := get(o, f.name); !ok {
			return fmt.Errorf("%s has no field %s in %s any more: this version of homelab cannot connect it",
				c.title, strings.TrimPrefix(f.name, "fields."), label)
		}
	}
	return nil
}

// template returns what a new object of an implementation starts from.
func (c *arr) template(schema []map[string]any, label, implementation string) (map[string]any, error) {
	for _, entry := range schema {
		if entry["implementation"] == implementation {
			entry = clone(entry)
			delete(entry, "presets")
			return entry, nil
		}
	}
	return nil, fmt.Errorf("%s has no %s %s any more: this version of homelab cannot connect it", c.title,
		label, implementation)
}

// config keeps an object of which the app has exactly one, such as config/naming.
func (c *arr) config(ctx context.Context, resource, label string, actual map[string]any, fields []field) error {
	return c.settle(ctx, object{
		key: string(c.name) + "/" + resource, label: label, actual: actual, fields: fields,
	}, func(ctx context.Context, merged map[string]any) error {
		if resource == hostResource {
			merged["passwordConfirmation"] = merged["password"]
		}
		return c.send(ctx, http.MethodPut, fmt.Sprintf("config/%s/%v", resource, merged["id"]), merged)
	})
}

// hostResource is the resource that holds the user.
const hostResource = "host"

// userFields are the login of the app's pages.
func userFields(user string, password plan.Secret) []field {
	return []field{
		{name: "authenticationMethod", want: "forms"},
		{name: "username", want: user, plain: anyCase}, // it is stored in lower case
		{name: "password", want: string(password), secret: true, hidden: true},
	}
}

// forgetIfReset forgets what we wrote to an app that has no user any more: it was set up anew, and
// its defaults are not changes by hand.
func (c *arr) forgetIfReset(host map[string]any) error {
	if user, ok := host["username"].(string); ok && user == "" {
		return c.state.Forget(string(c.name) + "/")
	}
	return nil
}

// testError is that an app says of an object that it does not work.
type testError struct {
	label string
	err   error
}

// Error says which object it is, and what the app says.
func (e *testError) Error() string { return fmt.Sprintf("testing %s: %v", e.label, e.err) }

// Unwrap returns what the app says.
func (e *testError) Unwrap() error { return e.err }

// provider keeps an object that the app can test: a download client, an application, an indexer, a
// notification. The app tests what differs before it is saved. What is unchanged but has a secret
// that we cannot see is tested as it is stored, and written again if that fails.
func (c *arr) provider(ctx context.Context, resource string, o object) error {
	d := c.compare(o)
	c.result.Drift = append(c.result.Drift, d.drift...)
	if len(d.written) == 0 && d.unseen && c.mayTest(d) {
		err := c.send(ctx, http.MethodPost, resource+"/test", o.actual)
		if err == nil {
			return c.state.Record(o.key, d.settled)
		}
		if code(err) != http.StatusBadRequest {
			return &testError{o.label, err}
		}
		for _, f := range o.fields {
			if f.secret {
				d.written = append(d.written, f.name)
			}
		}
		c.sendUnseen(o, d)
	}
	if len(d.written) == 0 {
		return c.state.Record(o.key, d.settled)
	}
	if c.maySend(resource, o) {
		if err := c.send(ctx, http.MethodPost, resource+"/test", d.merged); err != nil {
			return &testError{o.label + " before it is saved", err}
		}
	}
	return c.write(ctx, o, d, c.save(resource, o))
}

// maySend reports whether what is to be saved may be tested. A check tests nothing that is not there
// yet: it can need what the check has not written to other apps either. Of an indexer that is there,
// only the test tells whether it would be enabled.
func (c *arr) maySend(resource string, o object) bool {
	return !c.options.Check || (resource == indexerResource && o.actual != nil)
}

// save returns what saves an object of a resource.
func (c *arr) save(resource string, o object) func(context.Context, map[string]any) error {
	return func(ctx context.Context, merged map[string]any) error {
		if o.actual == nil {
			return c.send(ctx, http.MethodPost, resource, merged)
		}
		return c.send(ctx, http.MethodPut, fmt.Sprintf("%s/%v", resource, merged["id"]), merged)
	}
}

// mayTest reports whether a stored object may be tested. Testing a download client makes Radarr add
// the category that is set in it to qBittorrent, which a check must not lead to.
func (c *arr) mayTest(d decision) bool {
	return !c.options.Check || (len(d.drift) == 0 && len(c.report.App(plan.QBittorrent).Changes) == 0)
}

// remove removes an object of a resource.
func (c *arr) remove(resource string) func(context.Context, map[string]any) error {
	return func(ctx context.Context, o map[string]any) error {
		return c.send(ctx, http.MethodDelete, fmt.Sprintf("%s/%v", resource, o["id"]), map[string]any{})
	}
}
