package workspace

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// Result says how an operation ended.
type Result string

const (
	// Succeeded is an operation that did all it set out to do.
	Succeeded Result = "succeeded"
	// Failed is one that did not; what it did before stays done.
	Failed Result = "failed"
	// Unusable is one that changed nothing, because the command line or the configuration cannot be
	// used.
	Unusable Result = "unusable"
)

// SchemaVersion is the version of the Summary as JSON. It changes only when a field is removed or
// gets another meaning; docs/summary.schema.json describes it.
const SchemaVersion = 1

// Summary is what an operation did, or, for a preview, would do.
type Summary struct {
	// SchemaVersion is SchemaVersion.
	SchemaVersion int `json:"schemaVersion"`
	// Command is preview, up, refresh or destroy.
	Command string `json:"command"`
	// Stack is the stack's name.
	Stack string `json:"stack"`
	// Simulated is true when the clouds were simulated ones.
	Simulated bool `json:"simulated"`
	// Result is succeeded, failed or unusable.
	Result Result `json:"result"`
	// Changes counts resources by operation: create, update, replace, delete, same …
	Changes map[string]int `json:"changes"`
	// Resources are those the operation looked at, sorted by URN.
	Resources []Resource `json:"resources"`
	// Outputs are the stack's outputs. A secret shows as "[secret]", a value that only up can know
	// as "[unknown]".
	Outputs map[string]any `json:"outputs"`
	// DurationSeconds is how long the operation took, in seconds.
	DurationSeconds float64 `json:"durationSeconds"`
	// Problems are the errors of a failed operation, in the order they came up.
	Problems []string `json:"problems"`
	// Advice is what policies found that stops nothing, in the order it came up.
	Advice []string `json:"advice,omitempty"`

	// Events is everything the engine reported, in order.
	Events []apitype.EngineEvent `json:"-"`
	// Log is the CLI's standard output and standard error, as they were printed.
	Log string `json:"-"`
	// touched is true when something outside the state was changed.
	touched bool
}

// Resource is one resource of a Summary.
type Resource struct {
	// URN is the engine's name for it.
	URN string `json:"urn"`
	// Type is its type token.
	Type string `json:"type"`
	// Name is its name in the program.
	Name string `json:"name"`
	// Parent is the parent's URN; empty for the stack itself.
	Parent string `json:"parent"`
	// Op is what happened to it: same, create, update, replace, delete, read, refresh …
	Op string `json:"op"`
	// Failed is true when that did not work.
	Failed bool `json:"failed,omitempty"`
}

// Unstarted returns the summary of an operation that ended before the engine ran.
func Unstarted(command, stack string, simulated bool, result Result, problem error) *Summary {
	return &Summary{
		SchemaVersion: SchemaVersion, Command: command, Stack: stack, Simulated: simulated, Result: result,
		Changes: map[string]int{}, Resources: []Resource{}, Outputs: map[string]any{}, Problems: []string{problem.Error()},
	}
}

// HasChanges reports whether anything but "same" and reads happened or would happen.
func (s *Summary) HasChanges() bool {
	for op, count := range s.Changes {
		if count > 0 && !unchanged(apitype.OpType(op)) {
			return true
		}
	}
	return false
}

func unchanged(op apitype.OpType) bool {
	switch op {
	case apitype.OpSame, apitype.OpRefresh, apitype.OpRead:
		return true
	default:
		return false
	}
}

// Planned returns the last that the engine said of each resource that is to be there, by URN.
func (s *Summary) Planned() map[string]*apitype.StepEventStateMetadata {
	out := map[string]*apitype.StepEventStateMetadata{}
	for _, event := range s.Events {
		var meta apitype.StepEventMetadata
		switch {
		case event.ResourcePreEvent != nil:
			meta = event.ResourcePreEvent.Metadata
		case event.ResOutputsEvent != nil:
			meta = event.ResOutputsEvent.Metadata
		}
		if meta.New != nil {
			out[meta.URN] = meta.New
		}
	}
	return out
}

// touches reports whether a finished step has changed something outside the state. Providers and
// components are entries of the state only.
func touches(meta apitype.StepEventMetadata) bool {
	state := cmp.Or(meta.New, meta.Old)
	return state != nil && state.Custom && !unchanged(meta.Op) && !providers.IsProviderType(tokens.Type(meta.Type))
}

// secretShown and unknownShown stand in outputs for what cannot be shown.
const (
	secretShown  = "[secret]"
	unknownShown = "[unknown]"
)

// summarize reads the engine's events into the summary.
func (s *Summary) summarize(list []events.EngineEvent) {
	found := map[string]*Resource{}
	s.Outputs = map[string]any{}
	s.Problems = []string{}
	for _, event := range list {
		switch {
		case event.Error != nil:
			s.Problems = append(s.Problems, fmt.Sprintf("reading the engine's events: %v", event.Error))
			continue
		case event.ResourcePreEvent != nil:
			record(found, event.ResourcePreEvent.Metadata, false)
		case event.ResOutputsEvent != nil:
			meta := event.ResOutputsEvent.Metadata
			record(found, meta, false)
			s.touched = s.touched || (!event.ResOutputsEvent.Planning && touches(meta))
			if meta.Type == string(resource.RootStackType) && meta.New != nil && len(meta.New.Outputs) > 0 {
				s.Outputs = shownOutputs(meta.New.Outputs)
			}
		case event.ResOpFailedEvent != nil:
			record(found, event.ResOpFailedEvent.Metadata, true)
		case event.DiagnosticEvent != nil:
			s.addDiagnostic(event.DiagnosticEvent)
		case event.PolicyEvent != nil:
			s.addViolation(event.PolicyEvent)
		case event.ErrorEvent != nil:
			s.Problems = append(s.Problems, event.ErrorEvent.Error)
		}
		s.Events = append(s.Events, event.EngineEvent)
	}
	s.Resources = make([]Resource, 0, len(found))
	for _, each := range found {
		s.Resources = append(s.Resources, *each)
	}
	slices.SortFunc(s.Resources, func(a, b Resource) int { return cmp.Compare(a.URN, b.URN) })
	s.Changes = map[string]int{}
	for _, each := range s.Resources {
		s.Changes[each.Op]++
	}
}

// record notes one step. A replacement is three steps of one resource and shows as one.
func record(found map[string]*Resource, meta apitype.StepEventMetadata, failed bool) {
	op := string(meta.Op)
	switch meta.Op {
	case apitype.OpCreateReplacement, apitype.OpDeleteReplaced, apitype.OpDiscardReplaced, apitype.OpReadReplacement,
		apitype.OpReplace:
		op = string(apitype.OpReplace)
	}
	urn := resource.URN(meta.URN)
	known := found[meta.URN]
	if known == nil {
		known = &Resource{URN: meta.URN, Type: meta.Type, Name: urn.Name()}
		found[meta.URN] = known
	}
	if state := cmp.Or(meta.New, meta.Old); state != nil {
		known.Parent = state.Parent
	}
	// A delete that is left over from an earlier replacement must not hide what happens to the
	// resource itself.
	if known.Op == "" || meta.Op != apitype.OpDelete {
		known.Op = op
	}
	known.Failed = known.Failed || failed
}

func (s *Summary) addDiagnostic(event *apitype.DiagnosticEvent) {
	if event.Severity != "error" {
		return
	}
	message := strings.TrimSpace(colors.Never.Colorize(event.Message))
	if message == "" {
		return
	}
	if event.URN != "" {
		urn := resource.URN(event.URN)
		message = fmt.Sprintf("%s %s: %s", urn.Type(), urn.Name(), message)
	}
	s.Problems = append(s.Problems, message)
}

// addViolation notes what a policy has found: a problem if it stops the operation, or advice.
func (s *Summary) addViolation(event *apitype.PolicyEvent) {
	message := event.PolicyName + ": " + strings.TrimSpace(colors.Never.Colorize(event.Message))
	// A violation of the stack as a whole has the stack's URN.
	if urn := resource.URN(event.ResourceURN); urn != "" && string(urn.Type()) != string(resource.RootStackType) {
		message = fmt.Sprintf("%s %s: %s", urn.Type(), urn.Name(), message)
	}
	if event.EnforcementLevel == "mandatory" {
		s.Problems = append(s.Problems, message)
		return
	}
	s.Advice = append(s.Advice, message)
}

// shownOutputs replaces the engine's marks for unknown values. Secrets are masked by the engine
// already.
func shownOutputs(outputs map[string]any) map[string]any {
	shown := make(map[string]any, len(outputs))
	for key, value := range outputs {
		shown[key] = shownValue(value)
	}
	return shown
}

func shownValue(value any) any {
	switch value := value.(type) {
	case string:
		switch value {
		case plugin.UnknownStringValue, plugin.UnknownBoolValue, plugin.UnknownNumberValue, plugin.UnknownArrayValue,
			plugin.UnknownObjectValue, plugin.UnknownAssetValue, plugin.UnknownArchiveValue:
			return unknownShown
		}
		return value
	case []any:
		list := make([]any, len(value))
		for i, item := range value {
			list[i] = shownValue(item)
		}
		return list
	case map[string]any:
		if value[resource.SigKey] == resource.SecretSig {
			return secretShown
		}
		return shownOutputs(value)
	default:
		return value
	}
}

// Counts renders the changes in one line, such as "12 create, 3 same", in alphabetical order.
func (s *Summary) Counts() string {
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(s.Changes)) {
		if count := s.Changes[op]; count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, op))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
