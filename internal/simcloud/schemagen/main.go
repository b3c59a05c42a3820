// Command schemagen writes the property table of the resource types that
// internal/simcloud simulates. It reads the argument and state structs of the
// pinned provider SDKs from the module cache, so that the table can never
// disagree with the SDK a program is compiled against, while simcloud itself
// links none of those SDKs.
//
// Run it with `go generate ./internal/simcloud` after raising an SDK version.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
)

// source is one Go package of an SDK and what to take from it.
type source struct {
	pkg       string            // Pulumi package name
	module    string            // Go module path
	dir       string            // folder of the Go package inside the module
	resources map[string]string // Go type name → token; empty value: derived
	functions map[string]string // Go function name → token
	provider  string            // folder of provider.go; "" when it is elsewhere
}

var sources = []source{
	{
		pkg: "cloudflare", module: "github.com/pulumi/pulumi-cloudflare/sdk/v6", dir: "go/cloudflare",
		resources: indexed("cloudflare", "ZoneSetting", "UrlNormalizationSettings", "Ruleset",
			"AuthenticatedOriginPullsCertificate", "AuthenticatedOriginPullsSettings", "OriginCaCertificate", "DnsRecord"),
		functions: map[string]string{"GetIpRanges": "cloudflare:index/getIpRanges:getIpRanges", "LookupZone": "cloudflare:index/getZone:getZone"},
		provider:  "go/cloudflare",
	},
	{
		pkg: "tailscale", module: "github.com/pulumi/pulumi-tailscale/sdk", dir: "go/tailscale",
		resources: indexed("tailscale", "Acl", "DnsPreferences", "TailnetSettings", "TailnetKey", "DnsSplitNameservers",
			"DnsNameservers", "DnsSearchPaths", "DeviceTags", "DeviceAuthorization"),
		functions: map[string]string{
			"GetDevice": "tailscale:index/getDevice:getDevice", "GetDevices": "tailscale:index/getDevices:getDevices",
		},
		provider: "go/tailscale",
	},
	{
		pkg: "hcloud", module: "github.com/pulumi/pulumi-hcloud/sdk", dir: "go/hcloud",
		resources: indexed("hcloud", "SshKey", "PrimaryIp", "Firewall", "FirewallAttachment", "Server", "StorageBox",
			"StorageBoxSubaccount", "Rdns", "Volume"),
		functions: map[string]string{
			"GetServerType":     "hcloud:index/getServerType:getServerType",
			"GetStorageBoxType": "hcloud:index/getStorageBoxType:getStorageBoxType",
			"GetLocation":       "hcloud:index/getLocation:getLocation",
		},
		provider: "go/hcloud",
	},
	{
		pkg: "docker", module: "github.com/pulumi/pulumi-docker/sdk/v4", dir: "go/docker",
		resources: indexed("docker", "Image", "RemoteImage", "Network", "Volume", "Container"),
		provider:  "go/docker",
	},
	{
		pkg: "command", module: "github.com/pulumi/pulumi-command/sdk", dir: "go/command/remote",
		resources: map[string]string{"Command": "command:remote:Command"},
		provider:  "go/command",
	},
	{
		pkg: "random", module: "github.com/pulumi/pulumi-random/sdk/v4", dir: "go/random",
		resources: indexed("random", "RandomPassword", "RandomId", "RandomBytes", "RandomString", "RandomPet", "RandomUuid"),
		provider:  "go/random",
	},
	{
		pkg: "tls", module: "github.com/pulumi/pulumi-tls/sdk/v5", dir: "go/tls",
		resources: indexed("tls", "PrivateKey", "SelfSignedCert", "CertRequest", "LocallySignedCert"),
		provider:  "go/tls",
	},
}

// indexed gives the tokens of resources in a package's index module.
func indexed(pkg string, names ...string) map[string]string {
	out := map[string]string{}
	for _, n := range names {
		out[n] = pkg + ":index/" + strings.ToLower(n[:1]) + n[1:] + ":" + n
	}
	return out
}

type property struct {
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
}

type shape struct {
	Inputs  map[string]property `json:"inputs"`
	Outputs map[string]string   `json:"outputs,omitempty"`
	Secrets []string            `json:"secretOutputs,omitempty"`
}

type table struct {
	Providers map[string]shape               `json:"providers"`
	Resources map[string]shape               `json:"resources"`
	Functions map[string]shape               `json:"functions"`
	Types     map[string]map[string]property `json:"types"`
}

func main() {
	out, err := generate()
	if err == nil {
		err = os.WriteFile("schema.json", out, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate writes the table of all sources.
func generate() ([]byte, error) {
	t := table{Providers: map[string]shape{}, Resources: map[string]shape{}, Functions: map[string]shape{}, Types: map[string]map[string]property{}}
	for _, s := range sources {
		if err := t.add(s); err != nil {
			return nil, fmt.Errorf("reading the SDK of %s: %w", s.pkg, err)
		}
	}
	out, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return nil, fmt.Errorf("writing the table: %w", err)
	}
	return append(out, '\n'), nil
}

// sdk is one parsed Go package.
type sdk struct {
	pkg     string
	structs map[string]*ast.StructType
	named   map[string]ast.Expr
	funcs   map[string]string // source text by function name
	table   *table
}

func (t *table) add(s source) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", s.module).Output()
	if err != nil {
		return fmt.Errorf("finding module %s: %w", s.module, err)
	}
	base := strings.TrimSpace(string(root))
	pkg, err := parse(filepath.Join(base, s.dir), s.pkg, t)
	if err != nil {
		return err
	}
	for name, tok := range s.resources {
		t.Resources[tok] = pkg.resource(name)
	}
	for name, tok := range s.functions {
		t.Functions[tok] = pkg.function(name)
	}
	prov := pkg
	if s.provider != s.dir {
		if prov, err = parse(filepath.Join(base, s.provider), s.pkg, t); err != nil {
			return err
		}
	}
	t.Providers[s.pkg] = shape{Inputs: prov.fields("providerArgs", "NewProvider")}
	return nil
}

func parse(dir, pkg string, t *table) (*sdk, error) {
	out := &sdk{pkg: pkg, structs: map[string]*ast.StructType{}, named: map[string]ast.Expr{}, funcs: map[string]string{}, table: t}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no Go files in %s", dir)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					out.funcs[d.Name.Name] = string(text[fset.Position(d.Pos()).Offset:fset.Position(d.End()).Offset])
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					ts, ok := spec.(*ast.TypeSpec)
					if !ok {
						continue
					}
					if st, ok := ts.Type.(*ast.StructType); ok {
						out.structs[ts.Name.Name] = st
					} else {
						out.named[ts.Name.Name] = ts.Type
					}
				}
			}
		}
	}
	return out, nil
}

var (
	requiredArg  = regexp.MustCompile(`if args\.(\w+) == nil \{\s*return nil, errors\.New\("invalid value for required`)
	secretInput  = regexp.MustCompile(`args\.(\w+) = pulumi\.ToSecret`)
	secretOutput = regexp.MustCompile(`(?s)AdditionalSecretOutputs\(\[\]string\{(.*?)\}\)`)
	quoted       = regexp.MustCompile(`"(\w+)"`)
)

func (s *sdk) resource(name string) shape {
	lower := strings.ToLower(name[:1]) + name[1:]
	r := shape{Inputs: s.fields(lower+"Args", "New"+name), Outputs: map[string]string{}}
	state := s.structs[lower+"State"]
	outputs := s.outputs(name)
	if state != nil && len(state.Fields.List) > 0 {
		outputs = s.plain(state)
	}
	for n, p := range outputs {
		r.Outputs[n] = p.Type
	}
	if m := secretOutput.FindStringSubmatch(s.funcs["New"+name]); m != nil {
		for _, q := range quoted.FindAllStringSubmatch(m[1], -1) {
			r.Secrets = append(r.Secrets, q[1])
		}
		sort.Strings(r.Secrets)
	}
	return r
}

// outputs reads the exported resource struct, for the SDKs whose state struct
// is empty.
func (s *sdk) outputs(name string) map[string]property {
	out := map[string]property{}
	if st := s.structs[name]; st != nil {
		for _, f := range st.Fields.List {
			if tag := fieldTag(f); tag != "" {
				out[tag] = property{Type: "any"}
			}
		}
	}
	return out
}

func (s *sdk) function(name string) shape {
	f := shape{Outputs: map[string]string{}, Inputs: map[string]property{}}
	if st := s.structs[name+"Args"]; st != nil {
		f.Inputs = s.plain(st)
	}
	if st := s.structs[name+"Result"]; st != nil {
		for n, p := range s.plain(st) {
			f.Outputs[n] = p.Type
		}
	}
	return f
}

// fields reads an unexported args struct and marks what its constructor
// demands and what it makes secret.
func (s *sdk) fields(structName, constructor string) map[string]property {
	st := s.structs[structName]
	if st == nil {
		return map[string]property{}
	}
	required, secret := map[string]bool{}, map[string]bool{}
	for _, m := range requiredArg.FindAllStringSubmatch(s.funcs[constructor], -1) {
		required[m[1]] = true
	}
	for _, m := range secretInput.FindAllStringSubmatch(s.funcs[constructor], -1) {
		secret[m[1]] = true
	}
	out := map[string]property{}
	for _, f := range st.Fields.List {
		if tag := fieldTag(f); tag != "" {
			goName := f.Names[0].Name
			out[tag] = property{Type: s.typeOf(f.Type), Required: required[goName], Secret: secret[goName]}
		}
	}
	return out
}

// plain reads a struct of plain values: a scalar that is no pointer is required.
func (s *sdk) plain(st *ast.StructType) map[string]property {
	out := map[string]property{}
	for _, f := range st.Fields.List {
		tag := fieldTag(f)
		if tag == "" {
			continue
		}
		required := false
		switch e := f.Type.(type) {
		case *ast.Ident:
			_, isNamed := s.named[e.Name]
			required = isNamed || s.structs[e.Name] != nil || scalar(e.Name)
		}
		out[tag] = property{Type: s.typeOf(f.Type), Required: required}
	}
	return out
}

func fieldTag(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	return reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("pulumi")
}

func scalar(name string) bool {
	switch name {
	case "string", "bool", "int", "float64":
		return true
	}
	return false
}

// typeOf writes a Go type as the table does: string, integer, number, boolean,
// any, []T, {}T, or #package.Struct.
func (s *sdk) typeOf(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return s.typeOf(x.X)
	case *ast.ArrayType:
		return "[]" + s.typeOf(x.Elt)
	case *ast.MapType:
		return "{}" + s.typeOf(x.Value)
	case *ast.Ident:
		switch x.Name {
		case "string":
			return "string"
		case "bool":
			return "boolean"
		case "int":
			return "integer"
		case "float64":
			return "number"
		}
		if st := s.structs[x.Name]; st != nil {
			ref := s.pkg + "." + x.Name
			if _, done := s.table.Types[ref]; !done {
				s.table.Types[ref] = nil // guards against recursion
				s.table.Types[ref] = s.plain(st)
			}
			return "#" + ref
		}
		if under := s.named[x.Name]; under != nil {
			return s.typeOf(under)
		}
	}
	return "any"
}
