package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"gopkg.in/yaml.v3"
)

// secureKey is how a stack's file marks a value as encrypted: a mapping with this one key.
const secureKey = "secure"

// stackConfig is the config section of a Pulumi.<stack>.yaml. It keeps the YAML nodes, so that a
// value reaches the engine exactly as the user wrote it (0700 stays 0700).
type stackConfig struct {
	root *yaml.Node
}

// stackFile is a Pulumi.<stack>.yaml as far as this package reads and writes it.
type stackFile struct {
	EncryptionSalt string    `yaml:"encryptionsalt,omitempty"`
	Environment    yaml.Node `yaml:"environment,omitempty"`
	Config         yaml.Node `yaml:"config,omitempty"`
}

// readStackFile reads a stack's file. A file that does not exist is an error that matches
// fs.ErrNotExist.
func readStackFile(path string) (*stackFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the stack's configuration: %w", err)
	}
	var file stackFile
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("reading the stack's configuration %s: %w", path, err)
	}
	if kind := file.Config.Kind; kind != 0 && kind != yaml.MappingNode && file.Config.Tag != "!!null" {
		return nil, fmt.Errorf("reading the stack's configuration %s: config is not a mapping", path)
	}
	return &file, nil
}

// readStackFileIfAny is readStackFile, with an empty file for none.
func readStackFileIfAny(path string) (*stackFile, error) {
	file, err := readStackFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &stackFile{}, nil
	}
	return file, err
}

// config returns the file's configuration; the file and the result share their values.
func (f *stackFile) config() stackConfig {
	if f.Config.Kind != yaml.MappingNode {
		f.Config = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	return stackConfig{root: &f.Config}
}

// lookup returns the value of a key of a mapping node, or nil.
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// assign sets a key of a mapping node; a nil value removes it.
func assign(mapping *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if value == nil {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
		} else {
			mapping.Content[i+1] = value
		}
		return
	}
	if value != nil {
		name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
		mapping.Content = append(mapping.Content, name, value)
	}
}

// has says whether the key has a value.
func (c stackConfig) has(key string) bool { return lookup(c.root, key) != nil }

// text returns a scalar value by path, such as "homelab:cloudflare.plan", or "" when it is absent
// or no scalar.
func (c stackConfig) text(path string) string {
	node, _, err := c.find(path)
	if err != nil || node == nil || node.Kind != yaml.ScalarNode {
		return ""
	}
	return node.Value
}

// splitPath divides "homelab:cloudflare.rules[0].name" into the top-level key and the path below
// it.
func splitPath(path string) (string, resource.PropertyPath, error) {
	namespace, name, found := strings.Cut(path, ":")
	if !found || namespace == "" {
		return "", nil, fmt.Errorf("configuration key %q has no namespace", path)
	}
	steps, err := resource.ParsePropertyPath(name)
	if err != nil {
		return "", nil, fmt.Errorf("configuration key %q: %w", path, err)
	}
	first, ok := "", false
	if len(steps) > 0 {
		first, ok = steps[0].(string)
	}
	if !ok {
		return "", nil, fmt.Errorf("configuration key %q has no name", path)
	}
	return namespace + ":" + first, steps[1:], nil
}

// find returns the node at a path, nil when there is none, and the steps of the path.
func (c stackConfig) find(path string) (*yaml.Node, resource.PropertyPath, error) {
	key, steps, err := splitPath(path)
	if err != nil {
		return nil, nil, err
	}
	node := lookup(c.root, key)
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			node = lookup(node, step)
		case int:
			if node == nil || node.Kind != yaml.SequenceNode || step < 0 || step >= len(node.Content) {
				return nil, steps, nil
			}
			node = node.Content[step]
		}
	}
	return node, steps, nil
}

// set puts a value at a path and makes the mappings on the way there. A nil value removes the key.
// The index of a list may be its length, which appends.
func (c stackConfig) set(path string, value any) error {
	var node *yaml.Node
	if value != nil {
		node = &yaml.Node{}
		if err := node.Encode(value); err != nil {
			return fmt.Errorf("configuration key %q: %w", path, err)
		}
	}
	return c.put(path, node)
}

// put is set for a node.
func (c stackConfig) put(path string, node *yaml.Node) error {
	key, steps, err := splitPath(path)
	if err != nil {
		return err
	}
	if err := assignPath(c.root, append(resource.PropertyPath{key}, steps...), node); err != nil {
		return fmt.Errorf("configuration key %q: %w", path, err)
	}
	return nil
}

func assignPath(parent *yaml.Node, steps resource.PropertyPath, value *yaml.Node) error {
	last := len(steps) == 1
	switch step := steps[0].(type) {
	case string:
		if parent.Kind != yaml.MappingNode {
			return fmt.Errorf("%q is below a value that is no mapping", step)
		}
		if last {
			assign(parent, step, value)
			return nil
		}
		child := lookup(parent, step)
		if child == nil {
			child = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			if _, list := steps[1].(int); list {
				child = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
			}
			assign(parent, step, child)
		}
		return assignPath(child, steps[1:], value)
	case int:
		if parent.Kind != yaml.SequenceNode || step < 0 || step > len(parent.Content) {
			return fmt.Errorf("there is no list with an item %d", step)
		}
		switch {
		case last && value == nil && step < len(parent.Content):
			parent.Content = slices.Delete(parent.Content, step, step+1)
		case last && value != nil && step < len(parent.Content):
			parent.Content[step] = value
		case last && value != nil:
			parent.Content = append(parent.Content, value)
		case !last && step < len(parent.Content):
			return assignPath(parent.Content[step], steps[1:], value)
		default:
			return fmt.Errorf("there is no list with an item %d", step)
		}
	}
	return nil
}

// isSecure says whether the node is an encrypted value, and returns its ciphertext.
func isSecure(node *yaml.Node) (string, bool) {
	if node == nil || node.Kind != yaml.MappingNode || len(node.Content) != 2 || node.Content[0].Value != secureKey {
		return "", false
	}
	return node.Content[1].Value, node.Content[1].Kind == yaml.ScalarNode
}

// secureNode is the encrypted value with this ciphertext.
func secureNode(ciphertext string) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: secureKey},
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: ciphertext},
	}}
}

// dropSecure removes every encrypted value, at any depth, and returns their paths.
func (c stackConfig) dropSecure() []string {
	dropped := dropSecureIn(c.root, "")
	slices.Sort(dropped)
	return dropped
}

func dropSecureIn(node *yaml.Node, path string) []string {
	var dropped []string
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); {
			name := node.Content[i].Value
			if path != "" {
				name = path + "." + name
			}
			if _, secure := isSecure(node.Content[i+1]); secure {
				dropped = append(dropped, name)
				node.Content = slices.Delete(node.Content, i, i+2)
				continue
			}
			dropped = append(dropped, dropSecureIn(node.Content[i+1], name)...)
			i += 2
		}
	case yaml.SequenceNode:
		for i := 0; i < len(node.Content); {
			name := fmt.Sprintf("%s[%d]", path, i)
			if _, secure := isSecure(node.Content[i]); secure {
				dropped = append(dropped, name)
				node.Content = slices.Delete(node.Content, i, i+1)
				continue
			}
			dropped = append(dropped, dropSecureIn(node.Content[i], name)...)
			i++
		}
	}
	return dropped
}

// marshal renders the file.
func (f *stackFile) marshal() ([]byte, error) {
	data, err := yaml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("rendering the stack's configuration: %w", err)
	}
	return data, nil
}
