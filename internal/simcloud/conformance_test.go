package simcloud

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded is one line of testdata/conformance: what an official plugin answered. The README there
// says what each field means.
type recorded struct {
	Type         string         `json:"type"`
	Base         string         `json:"base"`
	Case         string         `json:"case"`
	Inputs       map[string]any `json:"inputs"`
	SecretInputs []string       `json:"secret_inputs"`
	ID           string         `json:"id"`
	OldState     map[string]any `json:"old_state"`
	Set          map[string]any `json:"set"`
	Unset        []string       `json:"unset"`
	Check        *struct {
		Failures []string `json:"failures"`
	} `json:"check"`
	Diff *struct {
		Changes             string   `json:"changes"`
		Replaces            []string `json:"replaces"`
		DeleteBeforeReplace bool     `json:"delete_before_replace"`
	} `json:"diff"`
	UnknownOutputs []string `json:"unknown_outputs"`
	Warnings       []string `json:"warnings"`
	Result         string   `json:"result"`
	Requests       []string `json:"requests"`
}

func (r recorded) key() string {
	return r.Type[strings.LastIndex(r.Type, ":")+1:] + "/" + r.Base + "/" + r.Case
}

// readRecordings returns the cases of one plugin; the first line of a file describes the plugin.
func readRecordings(t *testing.T, pkg string) []recorded {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "conformance", pkg+".jsonl"))
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	require.True(t, lines.Scan())
	var header struct{ Plugin, Version string }
	require.NoError(t, json.Unmarshal(lines.Bytes(), &header))
	require.Equal(t, pkg, header.Plugin)
	require.Equal(t, versions[pkg], header.Version, "the recordings are of another version than the one simulated")
	var out []recorded
	for lines.Scan() {
		var r recorded
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		out = append(out, r)
	}
	require.NoError(t, lines.Err())
	return out
}

// baseline is a resource of the recordings as simcloud sees it after its create.
type baseline struct {
	recorded
	checked, state resource.PropertyMap
}

type conformance struct {
	t *testing.T
	// warned is what was logged since the last look, in the recordings' words.
	warned []string
	p      *provider
	ctx    context.Context
	bases  map[string]*baseline
}

func newConformance(t *testing.T, pkg string) *conformance {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "build"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "build", "Dockerfile"), []byte("FROM scratch\n"), 0o600))
	w := New(Options{ZoneID: "0123456789abcdef0123456789abcdef", ZoneName: "example.com", ProjectDir: dir})
	w.boot("1", "host", "")
	w.state.Devices = append(w.state.Devices, &device{
		ID: "1", Name: "host." + w.opts.Tailnet, Addresses: []string{"100.64.0.1"}, Online: true, Authorized: true, Server: "1",
	})
	s := newSession(t.Context())
	s.config, s.ready = map[string]any{"host": "ssh://root@100.64.0.1"}, true
	c := &conformance{t: t, p: &provider{world: w, pkg: pkg}, ctx: context.WithValue(t.Context(), sessionKey{}, s), bases: map[string]*baseline{}}
	s.log = func(_ context.Context, _, message string) {
		c.warned = append(c.warned, strings.Replace(message, "[WARNING] Attribute Deprecated: ", "deprecated: ", 1))
	}
	return c
}

// requireWarnings compares what was logged with what the plugin logged. That a value has the wrong
// type only a program can be warned of that is not compiled.
func (c *conformance) requireWarnings(r recorded) {
	c.t.Helper()
	want := slices.DeleteFunc(slices.Clone(r.Warnings), func(w string) bool { return strings.HasPrefix(w, "wrong type: ") })
	got := slices.Compact(slices.Sorted(slices.Values(c.warned)))
	slices.Sort(want)
	assert.ElementsMatch(c.t, want, got, r.key())
}

// properties turns recorded JSON into properties: "<unknown>" is unknown.
func properties(in map[string]any, secret []string) resource.PropertyMap {
	var value func(v any) resource.PropertyValue
	value = func(v any) resource.PropertyValue {
		switch x := v.(type) {
		case []any:
			out := make([]resource.PropertyValue, len(x))
			for i := range x {
				out[i] = value(x[i])
			}
			return resource.NewArrayProperty(out)
		case map[string]any:
			return resource.NewObjectProperty(properties(x, nil))
		case string:
			if x == "<unknown>" {
				return resource.MakeComputed(resource.NewStringProperty(""))
			}
		}
		return resource.NewPropertyValue(v)
	}
	out := resource.PropertyMap{}
	for k, v := range in {
		p := value(v)
		if slices.Contains(secret, k) {
			p = resource.MakeSecret(p)
		}
		out[resource.PropertyKey(k)] = p
	}
	return out
}

func (c *conformance) urn(r recorded) string { return urnOf(r.Type, r.Base) }

func (c *conformance) check(r recorded, olds, news resource.PropertyMap) (resource.PropertyMap, []string) {
	c.t.Helper()
	in, err := marshal(news)
	require.NoError(c.t, err)
	old, err := marshal(olds)
	require.NoError(c.t, err)
	resp, err := c.p.Check(c.ctx, &pulumirpc.CheckRequest{Urn: c.urn(r), Olds: old, News: in, RandomSeed: []byte("0123456789abcdef0123456789abcdef")})
	require.NoError(c.t, err, r.key())
	out, err := unmarshal(resp.GetInputs())
	require.NoError(c.t, err)
	var failures []string
	for _, f := range resp.GetFailures() {
		failures = append(failures, f.GetProperty()+": "+f.GetReason())
	}
	return out, failures
}

// start makes the simulated state of a base: the preview of its create, with what is unknown there
// taken from the recorded state.
func (c *conformance) start(r recorded) *baseline {
	c.t.Helper()
	for k, v := range r.Inputs {
		// A certificate was made for the recording: what the state has is what the plugin was
		// given.
		if s, ok := v.(string); ok && strings.HasPrefix(s, "<") {
			r.Inputs[k] = r.OldState[k]
		}
	}
	checked, failures := c.check(r, nil, properties(r.Inputs, r.SecretInputs))
	require.Empty(c.t, failures, "%s: the inputs of the base are refused", r.key())
	props, err := marshal(checked)
	require.NoError(c.t, err)
	resp, err := c.p.Create(c.ctx, &pulumirpc.CreateRequest{Urn: c.urn(r), Properties: props, Preview: true})
	require.NoError(c.t, err)
	state, err := unmarshal(resp.GetProperties())
	require.NoError(c.t, err)
	for k, v := range state {
		if !v.ContainsUnknowns() {
			continue
		}
		if known, ok := r.OldState[string(k)]; ok {
			state[k] = resource.NewPropertyValue(known)
		} else {
			delete(state, k)
		}
	}
	b := &baseline{r, checked, state}
	c.bases[r.Type+"/"+r.Base] = b
	return b
}

// answer is what is compared of one case.
func (c *conformance) answer(r recorded) string {
	c.t.Helper()
	b := c.bases[r.Type+"/"+r.Base]
	news := b.Inputs
	if r.Set != nil || r.Unset != nil {
		news = map[string]any{}
		for k, v := range b.Inputs {
			news[k] = v
		}
		for k, v := range r.Set {
			news[k] = v
		}
		for _, k := range r.Unset {
			delete(news, k)
		}
	}
	checked, failures := c.check(r, b.checked, properties(news, b.SecretInputs))
	if len(failures) > 0 {
		return "refused"
	}
	olds, err := marshal(b.state)
	require.NoError(c.t, err)
	oldInputs, err := marshal(b.checked)
	require.NoError(c.t, err)
	in, err := marshal(checked)
	require.NoError(c.t, err)
	resp, err := c.p.Diff(c.ctx, &pulumirpc.DiffRequest{Id: b.ID, Urn: c.urn(r), Olds: olds, OldInputs: oldInputs, News: in})
	if err != nil {
		return "error"
	}
	changes := "none"
	if resp.GetChanges() == pulumirpc.DiffResponse_DIFF_SOME {
		changes = "some"
	}
	return answerText(changes, resp.GetReplaces(), resp.GetDeleteBeforeReplace())
}

func answerText(changes string, replaces []string, deleteFirst bool) string {
	if len(replaces) > 0 {
		slices.Sort(replaces)
		changes += " replaces " + strings.Join(replaces, ",")
	}
	if deleteFirst {
		changes += ", delete first"
	}
	return changes
}

func (r recorded) official() string {
	switch {
	case len(r.Check.Failures) > 0:
		return "refused"
	case r.Diff.Changes == "error":
		return "error"
	}
	return answerText(r.Diff.Changes, r.Diff.Replaces, r.Diff.DeleteBeforeReplace)
}

// outcome runs a recorded delete or read in a world that has the resource or not, and writes the
// result as the recordings do.
func (c *conformance) outcome(r recorded) string {
	c.t.Helper()
	b := c.bases[r.Type+"/"+r.Base]
	state, err := marshal(b.state)
	require.NoError(c.t, err)
	inputs, err := marshal(b.checked)
	require.NoError(c.t, err)
	w := c.p.world
	if !strings.HasSuffix(r.Case, "that is gone") {
		there := &object{Type: r.Type, ID: b.ID, Name: r.Base, URN: c.urn(r), Inputs: toGoValues(b.checked), Outputs: map[string]any{}, Machine: "1"}
		there.Stopped = strings.Contains(r.Case, "stopped")
		w.put(there)
		defer w.drop(there)
	}
	if strings.HasPrefix(r.Case, "delete") {
		_, err := c.p.Delete(c.ctx, &pulumirpc.DeleteRequest{Id: b.ID, Urn: c.urn(r), Properties: state, OldInputs: inputs})
		if err != nil {
			return "error"
		}
		return "ok"
	}
	resp, err := c.p.Read(c.ctx, &pulumirpc.ReadRequest{Id: b.ID, Urn: c.urn(r), Properties: state, Inputs: inputs})
	switch {
	case err != nil:
		return "error"
	case resp.GetId() == "":
		if w.get(r.Type, "1", b.ID) == nil && strings.Contains(r.Case, "stopped") {
			return "forgotten and deleted"
		}
		return "forgotten"
	}
	return "kept"
}

func (r recorded) officialOutcome() string {
	deletes := slices.ContainsFunc(r.Requests, func(request string) bool { return strings.HasPrefix(request, "DELETE ") })
	switch {
	case strings.HasPrefix(r.Result, "error"), strings.Contains(r.Result, "panic"):
		return "error"
	case strings.HasPrefix(r.Result, "forgotten") && deletes:
		return "forgotten and deleted"
	case strings.HasPrefix(r.Result, "forgotten"):
		return "forgotten"
	}
	return r.Result
}

// readExceptions returns the reason of every case that simcloud answers differently on purpose.
func readExceptions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "conformance", "exceptions.json"))
	require.NoError(t, err)
	var list []struct {
		Reason string   `json:"reason"`
		Cases  []string `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(text, &list))
	out := map[string]string{}
	for _, e := range list {
		require.NotEmpty(t, e.Reason)
		for _, c := range e.Cases {
			require.NotContains(t, out, c, "listed twice")
			out[c] = e.Reason
		}
	}
	return out
}

// leastAgreement is the share of the cases, in percent, that simcloud must answer as the plugin
// does.
const leastAgreement = 98

// Simcloud refuses, changes, replaces, deletes and reads as the official plugins do. What differs
// is listed with its reason; an entry that no longer differs must go.
func TestSimcloudAnswersAsTheOfficialPlugins(t *testing.T) {
	exceptions := readExceptions(t)
	seen := map[string]bool{}
	for _, pkg := range Packages() {
		t.Run(pkg, func(t *testing.T) {
			c := newConformance(t, pkg)
			all := readRecordings(t, pkg)
			for _, r := range all {
				if r.Case == "create" {
					c.warned = nil
					c.start(r)
					c.requireWarnings(r)
				}
			}
			cases, refusals, diffs, outcomes, outcomesAlike := 0, 0, 0, 0, 0
			for _, r := range all {
				if r.Case == "create" {
					continue
				}
				var want, got string
				if r.Check == nil {
					want, got = r.officialOutcome(), c.outcome(r)
					outcomes++
				} else {
					c.warned = nil
					want, got = r.official(), c.answer(r)
					if want == got && want != "refused" {
						c.requireWarnings(r)
					}
					cases++
					if (want == "refused") == (got == "refused") {
						refusals++
					}
				}
				switch {
				case want == got && r.Check == nil:
					outcomesAlike++
				case want == got:
					diffs++
				}
				seen[r.key()] = true
				if want == got {
					assert.NotContains(t, exceptions, r.key(), "it no longer differs: take it out of exceptions.json")
				} else {
					assert.Contains(t, exceptions, r.key(), "the plugin: %s; simcloud: %s", want, got)
				}
			}
			t.Logf("%s: of %d cases %d are refused or accepted alike, %d have the same changes and replacements; of %d deletes and reads %d end alike",
				pkg, cases, refusals, diffs, outcomes, outcomesAlike)
			assert.GreaterOrEqual(t, 100*refusals, leastAgreement*cases, "refusals")
			assert.GreaterOrEqual(t, 100*diffs, leastAgreement*cases, "changes and replacements")
		})
	}
	for name := range exceptions {
		assert.True(t, seen[name], "exceptions.json names %s, which was never recorded", name)
	}
}
