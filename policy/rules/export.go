package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Keys and values by which a state marks what is no plain value
// (github.com/pulumi/pulumi/sdk/go/common/resource/sig).
const (
	signatureKey    = "4dabf18193072939515e22adb298388d"
	signatureSecret = "1b47061264138c4ac30d75fd1eb44270"
	signatureOutput = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
)

// unknowns are the texts that stand for a value that is not known, one for each kind of value
// (github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin).
var unknowns = map[string]bool{
	"04da6b54-80e4-46f7-96ec-b56ff0331ba9": true, // a string, and whatever else a preview does not know
	"1c4a061d-8072-4f0a-a4cb-0ff528b18fe7": true, // a boolean
	"3eeb2bf0-c639-47a8-9e75-3b44932eb421": true, // a number
	"6a19a0b0-7e62-4c92-b797-7f8e31da9cc2": true, // an array
	"030794c1-ac77-496b-92df-f27374a8bd58": true, // an asset
	"e48ece36-62e2-4504-bad9-02848725956a": true, // an archive
	"dd056dcd-154b-4c76-9bd3-c8f88648b5ff": true, // an object
}

// The formats of an export that are read. 4 is 3 with features that say what else is in it.
const (
	oldestFormat = 3
	newestFormat = 4
)

var (
	// ErrPlainSecrets is an export in which secrets are in clear.
	ErrPlainSecrets = errors.New("the export holds secrets in clear: keep it from everybody, delete it, and make one without --show-secrets")
	// ErrNoExport is a file that is no export of a stack.
	ErrNoExport = errors.New("this is no export of a stack: make one with pulumi stack export --file export.json")
)

// Export is an exported stack.
type Export struct {
	*Graph
	// Stack is the stack's URN; empty where the export has none.
	Stack string
	// Pending are the URNs of operations that began and did not end.
	Pending []string
}

type exportedResource struct {
	URN                  string              `json:"urn"`
	Type                 string              `json:"type"`
	Delete               bool                `json:"delete"`
	Parent               string              `json:"parent"`
	Provider             string              `json:"provider"`
	Inputs               map[string]any      `json:"inputs"`
	Outputs              map[string]any      `json:"outputs"`
	Dependencies         []string            `json:"dependencies"`
	PropertyDependencies map[string][]string `json:"propertyDependencies"`
	Protect              bool                `json:"protect"`
	Modified             string              `json:"modified"`
}

// ReadExport reads what pulumi stack export writes, in the formats 3 and 4.
func ReadExport(from io.Reader) (*Export, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("the export is empty: %w", ErrNoExport)
	}
	var file struct {
		Version    *int `json:"version"`
		Deployment *struct {
			Resources []exportedResource `json:"resources"`
			Pending   []struct {
				Resource exportedResource `json:"resource"`
			} `json:"pending_operations"`
		} `json:"deployment"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoExport, err)
	}
	switch {
	case file.Version == nil || file.Deployment == nil:
		return nil, ErrNoExport
	case *file.Version < oldestFormat:
		return nil, fmt.Errorf("the export has format %d, and the oldest that can be read is %d: run pulumi stack export again with a newer pulumi", *file.Version, oldestFormat)
	case *file.Version > newestFormat:
		return nil, fmt.Errorf("the export has format %d, and the newest that can be read is %d: use a newer homelab", *file.Version, newestFormat)
	}
	out := &Export{}
	var resources []Resource
	for _, r := range file.Deployment.Resources {
		if r.Delete {
			continue // another one has taken its place, and it is only yet to be deleted
		}
		converted, err := r.convert()
		if err != nil {
			return nil, err
		}
		resources = append(resources, converted)
		if r.Type == "pulumi:pulumi:Stack" {
			out.Stack = r.URN
		}
	}
	for _, p := range file.Deployment.Pending {
		out.Pending = append(out.Pending, p.Resource.URN)
	}
	if out.Graph, err = New(resources); err != nil {
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	return out, nil
}

func (r *exportedResource) convert() (Resource, error) {
	out := Resource{URN: r.URN, Type: r.Type, Parent: r.Parent, Protect: r.Protect, Modified: r.Modified, Properties: map[string]any{}}
	if end := strings.LastIndex(r.Provider, "::"); end > 0 {
		out.Provider = r.Provider[:end] // URN::ID
	}
	out.Dependencies = append(out.Dependencies, r.Dependencies...)
	for _, urns := range r.PropertyDependencies {
		out.Dependencies = append(out.Dependencies, urns...)
	}
	// A resource that failed half way has inputs alone.
	for _, properties := range []map[string]any{r.Inputs, r.Outputs} {
		for name, value := range properties {
			plain, err := convert(value)
			if err != nil {
				return Resource{}, err
			}
			Overlay(out.Properties, name, plain)
		}
	}
	return out, nil
}

// Overlay puts what came of a property over what the program asked for. What is encrypted as a
// whole hides nothing that the state holds in clear beside it: the labels of a container are
// encrypted for the sake of one, and the rest of them is among its inputs. Names that the engine
// keeps for itself are left out.
func Overlay(properties map[string]any, name string, value any) {
	if _, secret := value.(Secret); strings.HasPrefix(name, "__") || secret && properties[name] != nil {
		return
	}
	properties[name] = value
}

// convert returns a value of a state as the rules read it.
func convert(value any) (any, error) {
	switch value := value.(type) {
	case string:
		if unknowns[value] {
			return Unknown{}, nil
		}
	case []any:
		for i := range value {
			plain, err := convert(value[i])
			if err != nil {
				return nil, err
			}
			value[i] = plain
		}
	case map[string]any:
		switch value[signatureKey] {
		case signatureSecret:
			if _, ok := value["plaintext"]; ok {
				return nil, ErrPlainSecrets
			}
			return Secret{}, nil
		case signatureOutput:
			if secret, _ := value["secret"].(bool); secret {
				return Secret{}, nil
			}
			if inner, ok := value["value"]; ok {
				return convert(inner)
			}
			return Unknown{}, nil
		}
		for key := range value {
			plain, err := convert(value[key])
			if err != nil {
				return nil, err
			}
			value[key] = plain
		}
	}
	return value, nil
}
