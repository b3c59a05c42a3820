package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"homelab/components/internal/offer"
)

// Load reads the configuration of the stack being deployed; root is the project's folder, which
// only the caller knows when the program runs inside another (the Automation API does not say);
// offers are the services of the catalogue. It registers nothing. Where the configuration is wrong
// the error is a *Problems that lists everything wrong with it; any other error means that the
// configuration could not be looked at.
func Load(ctx *pulumi.Context, root string, offers []offer.Offer) (*Settings, error) {
	names, err := configNames(root, ctx.Stack())
	if err != nil {
		return nil, fmt.Errorf("listing the configuration of stack %s: %w", ctx.Stack(), err)
	}
	plain, err := plainPasswords(root, ctx.Stack())
	if err != nil {
		return nil, fmt.Errorf("looking for passwords in the configuration of stack %s: %w", ctx.Stack(), err)
	}
	return load(ctx, ctx.Stack(), offers, names, plain)
}

// source is where configuration values come from; *pulumi.Context is one.
type source interface {
	GetConfig(key string) (string, bool)
	IsConfigSecret(key string) bool
}

// load reads the configuration from src. names are the keys known to be set, of any namespace; they
// serve to find those nobody reads, and the secrets not to show. plain are the users whose password
// is known not to be encrypted.
func load(src source, stack string, offers []offer.Offer, names, plain []string) (*Settings, error) {
	_, secrets, _ := givenPasswords(src)
	for _, name := range append(secretNames(), names...) {
		if value, _ := src.GetConfig(name); src.IsConfigSecret(name) || slices.Contains(secretNames(), name) {
			secrets = append(secrets, value)
		}
	}
	c := newCollector(secrets)
	given := object{}
	for key, kind := range keys {
		readKey(c, src, given, key, kind)
	}
	for _, name := range names {
		if key, ours := strings.CutPrefix(name, namespace); ours && !slices.Contains(topLevelKeys(), key) {
			c.reject(namespace+printable(key), "is not a key", suggest("", key))
		}
	}
	checkDefaultProviders(c, src)
	credentials, chosen := readCredentials(c, src), readPasswords(c, src, plain)

	checkNames(c, given, offers)
	tree, err := overlay(given, offers)
	if err != nil {
		return nil, err
	}
	r := decode(c, tree)
	k := &checker{collector: c, given: given, passwords: chosen, offers: offers}
	s := k.settings(r)
	s.Credentials = credentials
	k.remote(s)
	if err := c.err(stack); err != nil {
		return nil, err
	}
	return s, nil
}

// readKey puts the value of a key of the namespace into given, if there is one that can be read.
func readKey(c *collector, src source, given object, key string, kind keyKind) {
	path := namespace + key
	text, set := src.GetConfig(path)
	if !set {
		return
	}
	if src.IsConfigSecret(path) {
		// Its value, and whatever is derived from it, would be shown: in previews, in files, in
		// names.
		c.reject(path, "holds a secret, but this key is not for secrets",
			"set it again in plain text, and each secret under its own key ("+strings.Join(secretNames(), ", ")+")")
		return
	}
	switch kind {
	case kindString:
		given[key] = text
	case kindBoolean:
		switch text {
		case "true", "false":
			given[key] = text == "true"
		default:
			c.reject(path, "must be true or false, is "+quote(text), "write true or false, without quotes")
		}
	case kindObject, kindArray:
		v, err := decodeJSON(text)
		if err != nil {
			want := map[keyKind]string{kindObject: "an object", kindArray: "a list"}[kind]
			c.reject(path, "must be "+want+", is the text "+quote(text), remedies[want])
			return
		}
		given[key] = v
	}
}

// checkDefaultProviders refuses a stack in which a resource could fall to a default provider: a
// container would then be made by the Docker engine of whoever runs the program, and a DNS record
// with whatever token that person's environment holds.
func checkDefaultProviders(c *collector, src source) {
	const (
		path   = "pulumi:disable-default-providers"
		remedy = `write  pulumi:disable-default-providers: ["*"]  in the stack's configuration`
	)
	text, set := src.GetConfig(path)
	if !set || text == "" {
		c.add(path, "is missing: a resource could be made by a default provider, on this machine or in another account", remedy)
		return
	}
	var barred []string
	if err := json.Unmarshal([]byte(text), &barred); err != nil {
		c.add(path, "is not a list of texts", remedy)
		return
	}
	if !slices.Contains(barred, "*") {
		c.add(path, "does not bar every default provider", remedy)
	}
}

// configNames returns the keys set for a stack, with their namespaces, as far as they can be known.
//
// The SDK reads a key only by its name, so a misspelt one would go unseen. The language host passes
// the whole configuration to the program's process as a JSON object in PULUMI_CONFIG, where the SDK
// itself finds it; that is the complete list. A program run in its caller's process (the Automation
// API) has no such variable; for it the stack's own file is read, from the project's folder. Only
// names are taken from both. Where neither is there, as for a stack made entirely by API calls, no
// name is known and none is refused.
func configNames(root, stack string) ([]string, error) {
	if text := os.Getenv(pulumi.EnvConfig); text != "" {
		var values map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &values); err != nil {
			// The error could quote a value.
			return nil, fmt.Errorf("%s does not hold a JSON object", pulumi.EnvConfig)
		}
		return sortedKeys(values), nil
	}
	config, err := stackFile(root, stack)
	if err != nil || config == nil {
		return nil, err
	}
	names := sortedKeys(config)
	for i, name := range names {
		if !strings.Contains(name, ":") {
			names[i] = namespace + name
		}
	}
	return names, nil
}

// stackFile returns the configuration in the stack's own file, or nothing where there is no such
// file. The error quotes no value.
func stackFile(root, stack string) (map[string]yaml.Node, error) {
	file := filepath.Join(root, "Pulumi."+stack+".yaml")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var content struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(text, &content); err != nil {
		return nil, fmt.Errorf("%s does not hold the configuration of a stack", file)
	}
	return content.Config, nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// topLevelKeys returns every key of the namespace, secrets included, without the namespace, sorted.
func topLevelKeys() []string {
	out := append(sortedKeys(keys), passwordsName)
	for _, name := range secretNames() {
		if key, ours := strings.CutPrefix(name, namespace); ours {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}
