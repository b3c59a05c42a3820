package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"homelab/images/wire/internal/plan"
)

// indexerResource is Prowlarr's resource of indexers.
const indexerResource = "indexer"

// syncJob is remembered until Prowlarr was told to give its indexers to Radarr and Sonarr.
const syncJob = "prowlarr/sync"

// givenKey names in the state the API key of Prowlarr that Radarr and Sonarr were last given.
const givenKey = "prowlarr/given"

// genericTorznab is the indexer of Prowlarr's schema that any source of Torznab is added as.
const genericTorznab = "Generic Torznab"

// prowlarrState is what Prowlarr has before we write.
type prowlarrState struct {
	host                    map[string]any
	applications, appSchema []map[string]any
	indexers, indexerSchema []map[string]any
	profiles                []map[string]any
	wantedApplications      []object
	wantedIndexers          []object
}

func (a *app) prowlarr(ctx context.Context) error {
	p := a.plan.Prowlarr
	c := a.newArr("v1", p.APIKey)
	c.beforeWrite = c.noteSync
	if err := c.identify(ctx); err != nil {
		return err
	}
	user := userFields(p.User, p.Password)
	have, err := c.readProwlarr(ctx)
	if err != nil {
		return err
	}
	if err := c.needs(have.host, "config/host", user); err != nil {
		return err
	}
	if err := c.wantApplications(have); err != nil {
		return err
	}
	if err := c.wantIndexers(ctx, have); err != nil {
		return err
	}
	if err := c.forgetIfReset(have.host); err != nil {
		return err
	}
	// The user comes first: until there is one, the app counts as set up anew.
	if err := c.config(ctx, hostResource, "host", have.host, user); err != nil {
		return err
	}
	problems := c.keepAll(ctx, "applications", "application", have.applications, have.wantedApplications)
	problems = append(problems, c.keepAll(ctx, indexerResource, "indexer", have.indexers, have.wantedIndexers)...)
	problems = append(problems, c.sync(ctx))
	return errors.Join(problems...)
}

func (c *arr) readProwlarr(ctx context.Context) (*prowlarrState, error) {
	have := &prowlarrState{}
	return have, c.getAll(ctx,
		read{"config/host", &have.host},
		read{"applications", &have.applications}, read{"applications/schema", &have.appSchema},
		read{"indexer", &have.indexers}, read{"appprofile", &have.profiles},
	)
}

// wantApplications lists Radarr and Sonarr as far as they run.
func (c *arr) wantApplications(have *prowlarrState) error {
	for _, target := range []struct {
		app            plan.App
		implementation string
		plan           *plan.ServarrPlan
	}{{plan.Radarr, "Radarr", c.plan.Radarr}, {plan.Sonarr, "Sonarr", c.plan.Sonarr}} {
		if target.plan == nil {
			continue
		}
		o := object{
			key:    "prowlarr/applications/" + target.implementation,
			label:  "application " + target.implementation,
			actual: named(have.applications, "name", target.implementation),
			fields: []field{
				{name: "syncLevel", want: "fullSync"},
				{name: "fields.prowlarrUrl", want: string(c.plan.Prowlarr.URL)},
				{name: "fields.baseUrl", want: string(target.plan.URL)},
				{name: "fields.apiKey", want: string(target.plan.APIKey), secret: true},
			},
		}
		template, err := c.template(have.appSchema, "application", target.implementation)
		if err != nil {
			return err
		}
		if err := c.needs(template, target.implementation, o.fields); err != nil {
			return err
		}
		template["name"] = target.implementation
		o.template = template
		have.wantedApplications = append(have.wantedApplications, o)
	}
	return nil
}

// wantIndexers lists Prowlarr's own indexers and those of Jackett. The schema, which is large, is
// read only if one of them is missing.
func (c *arr) wantIndexers(ctx context.Context, have *prowlarrState) error {
	for _, definition := range c.plan.Prowlarr.Indexers {
		o := object{
			key: "prowlarr/indexer/" + definition, label: "indexer " + definition,
			actual: named(have.indexers, "definitionName", definition),
			fields: []field{{name: "enable", want: true}},
		}
		if o.actual == nil {
			template, err := c.indexerTemplate(ctx, have, func(entry map[string]any) bool {
				name, _ := entry["definitionName"].(string)
				return strings.EqualFold(name, definition)
			})
			if err != nil {
				return err
			}
			if template == nil {
				c.warning("there is no indexer %s; correct homelab:wiring.prowlarrIndexers", definition)
				continue
			}
			o.template = template
		}
		have.wantedIndexers = append(have.wantedIndexers, o)
	}
	jackett := c.plan.Jackett
	if jackett == nil {
		return nil
	}
	for _, id := range jackett.Indexers {
		if c.left[id] {
			continue
		}
		o := object{
			key: "prowlarr/indexer/" + torznabName(id), label: "indexer " + torznabName(id),
			actual: named(have.indexers, "name", torznabName(id)),
			fields: []field{
				{name: "enable", want: true},
				{name: "fields.baseUrl", want: fmt.Sprintf("%s/api/v2.0/indexers/%s/results/torznab", jackett.URL, id)},
				{name: "fields.apiPath", want: "/api"},
				{name: "fields.apiKey", want: string(jackett.APIKey), secret: true},
			},
		}
		base := o.actual
		if base == nil {
			template, err := c.indexerTemplate(ctx, have, func(entry map[string]any) bool {
				return entry["implementation"] == "Torznab" && entry["name"] == genericTorznab
			})
			if err != nil {
				return err
			}
			if template == nil {
				return fmt.Errorf("%s has no indexer %s any more: this version of homelab cannot connect it",
					c.title, genericTorznab)
			}
			template["name"] = torznabName(id)
			base, o.template = template, template
		}
		if err := c.needs(base, genericTorznab, o.fields); err != nil {
			return err
		}
		have.wantedIndexers = append(have.wantedIndexers, o)
	}
	return nil
}

// torznabName is the name in Prowlarr of an indexer of Jackett.
func torznabName(id string) string { return id + " (Jackett)" }

// indexerTemplate returns what a new indexer starts from, nil if Prowlarr does not have it.
func (c *arr) indexerTemplate(ctx context.Context, have *prowlarrState,
	is func(map[string]any) bool) (map[string]any, error) {
	if have.indexerSchema == nil {
		if err := c.get(ctx, "indexer/schema", &have.indexerSchema); err != nil {
			return nil, err
		}
	}
	if len(have.profiles) == 0 {
		return nil, fmt.Errorf("%s has no sync profile", c.title)
	}
	for _, entry := range have.indexerSchema {
		if is(entry) {
			template := clone(entry)
			delete(template, "presets")
			template["appProfileId"] = have.profiles[0]["id"]
			return template, nil
		}
	}
	return nil, nil
}

// needed returns the app that an object of Prowlarr needs, if it needs one.
func needed(o object) (plan.App, bool) {
	switch {
	case o.key == "prowlarr/applications/Radarr":
		return plan.Radarr, true
	case o.key == "prowlarr/applications/Sonarr":
		return plan.Sonarr, true
	case strings.HasSuffix(o.key, torznabName("")):
		return plan.Jackett, true
	}
	return "", false
}

// keepAll keeps the objects of a resource, and removes ours that the plan no longer has.
func (c *arr) keepAll(ctx context.Context, resource, label string, have []map[string]any, wanted []object) []error {
	var problems []error
	prefix := "prowlarr/" + resource + "/"
	var keep []string
	for _, o := range wanted {
		keep = append(keep, strings.TrimPrefix(o.key, prefix))
		if app, needs := needed(o); needs && !c.usable(app) {
			c.blocked(o.label, app)
			continue
		}
		keepOne := c.provider
		if resource == indexerResource {
			keepOne = c.indexer
		}
		problems = append(problems, keepOne(ctx, resource, o))
	}
	// Also one that Prowlarr or Jackett does not have at present.
	keep = append(keep, c.plan.Prowlarr.Indexers...)
	if c.plan.Jackett != nil {
		for _, id := range c.plan.Jackett.Indexers {
			keep = append(keep, torznabName(id))
		}
	}
	err := c.prune(ctx, prefix, label, keep, func(name string) map[string]any {
		if o := named(have, "name", name); o != nil {
			return o
		}
		return named(have, "definitionName", name)
	}, c.remove(resource))
	return append(problems, err)
}

// indexer keeps an indexer. One whose site does not answer is saved disabled, and enabled by the
// first pass that finds it answering. One that is enabled stays so, unless something else about it
// is to be written: Prowlarr saves an enabled one only if its site answers.
func (c *arr) indexer(ctx context.Context, resource string, o object) error {
	err := c.provider(ctx, resource, o)
	if !ofSite(err) {
		return err
	}
	c.warning("the %s does not answer: %s", o.label, why(err))
	if o.actual != nil && len(c.compare(o).written) == 0 {
		return nil
	}
	disabled := o
	disabled.fields = slices.Clone(o.fields)
	i := slices.IndexFunc(o.fields, func(f field) bool { return f.name == "enable" })
	if o.actual == nil {
		disabled.label += ", disabled,"
	}
	if o.actual != nil && o.actual["enable"] == false {
		disabled.fields = slices.Delete(disabled.fields, i, i+1)
	} else {
		disabled.fields[i].want = false
	}
	d := c.compare(disabled)
	if len(d.written) == 0 {
		return nil
	}
	if err := c.write(ctx, disabled, d, c.save(resource, o)); !ofSite(err) {
		return err
	}
	return nil // it is left out
}

// ofSite reports whether an error is what an app says of an indexer's site, and not of what we sent.
func ofSite(err error) bool {
	var answer *statusError
	if !errors.As(err, &answer) {
		return errors.Is(err, errTimeout)
	}
	ours := []string{"Name", "AppProfileId", "Implementation", "ConfigContract", "Priority"}
	return answer.code == http.StatusBadRequest && answer.message != "" && !slices.Contains(ours, answer.property)
}

// noteSync remembers, before an application or an indexer is written, that Radarr and Sonarr are to
// be told.
func (c *arr) noteSync(resource string) error {
	if resource == "command" || strings.HasPrefix(resource, "config/") {
		return nil
	}
	return c.state.SetPending(syncJob, true)
}

// sync tells Prowlarr to give its indexers to Radarr and Sonarr, if there is news: they also hold
// Prowlarr's own key.
func (c *arr) sync(ctx context.Context) error {
	key := map[string]json.RawMessage{"apiKey": encode(c.state.Digest(string(c.plan.Prowlarr.APIKey)))}
	given := c.state.Object(givenKey)
	if given == nil || string(given.Fields["apiKey"]) != string(key["apiKey"]) {
		if len(c.plan.Prowlarr.Indexers) > 0 || c.plan.Jackett != nil {
			if err := c.state.SetPending(syncJob, true); err != nil {
				return err
			}
		}
	}
	if c.options.Check || !c.state.Pending(syncJob) {
		return nil
	}
	for _, app := range []plan.App{plan.Radarr, plan.Sonarr} {
		if c.failed[app] {
			return nil // it stays pending
		}
	}
	command := map[string]any{"name": "ApplicationIndexerSync", "forceSync": true}
	if err := c.send(ctx, http.MethodPost, "command", command); err != nil {
		return fmt.Errorf("giving the indexers to Radarr and Sonarr: %w", err)
	}
	return errors.Join(c.state.Record(givenKey, key), c.state.SetPending(syncJob, false))
}
