package rules

import (
	"encoding/json"
	"slices"
	"strings"
)

// aclFile is what the rules read of a tailnet policy file. JSON without comments, as a program
// renders it.
type aclFile struct {
	TagOwners map[string][]string `json:"tagOwners"`
	ACLs      []struct {
		Action string   `json:"action"`
		Src    []string `json:"src"`
		Dst    []string `json:"dst"`
	} `json:"acls"`
	Grants []struct {
		Src []string `json:"src"`
		Dst []string `json:"dst"`
		IP  []string `json:"ip"`
	} `json:"grants"`
	SSH []struct {
		Src   []string `json:"src"`
		Dst   []string `json:"dst"`
		Users []string `json:"users"`
	} `json:"ssh"`
	Tests []struct {
		Deny []string `json:"deny"`
	} `json:"tests"`
}

// eachPolicy judges the tailnet's policy files that can be read.
func eachPolicy(judge func(*Resource, aclFile, *report)) func(*Graph, *report) {
	return func(g *Graph, out *report) {
		out.absent("tailnet policy")
		for _, r := range g.Of(typeACL) {
			out.look()
			if r.At("acl").Hidden() {
				out.undecided(r, "the policy is not known")
				continue
			}
			var file aclFile
			if err := json.Unmarshal([]byte(r.Text("acl")), &file); err != nil {
				out.undecided(r, "the policy cannot be read as JSON")
				continue
			}
			judge(r, file, out)
		}
	}
}

// everybody reports whether the sources hold everything on the tailnet.
func everybody(sources []string) bool { return slices.Contains(sources, "*") }

var tailnetRules = []Rule{
	{
		ID: "tailnet-no-star", Title: "The tailnet's policy does not let everything reach everything", Severity: Critical, Layer: LayerTailnet,
		Remedy: "grant ports of tags to groups", Unknown: unknownOpen,
		check: eachPolicy(func(r *Resource, file aclFile, out *report) {
			for _, g := range file.Grants {
				wide := everybody(g.Src) && (slices.Contains(g.Dst, "*") || slices.ContainsFunc(g.Dst, func(d string) bool { return strings.HasPrefix(d, "tag:") }))
				wide = wide || slices.Contains(g.Dst, "*") && slices.Contains(g.IP, "*")
				out.require(!wide, r, "a grant from %s to %s", strings.Join(g.Src, ", "), strings.Join(g.Dst, ", "))
			}
			for _, a := range file.ACLs {
				out.require(!everybody(a.Src) && !slices.Contains(a.Dst, "*:*"), r, "an ACL from %s to %s", strings.Join(a.Src, ", "), strings.Join(a.Dst, ", "))
			}
		}),
	},
	{
		ID: "tailnet-tests", Title: "The tailnet's policy has tests of what must be denied", Severity: Medium, Layer: LayerTailnet,
		Remedy: "add tests with deny to the policy: Tailscale refuses a policy that breaks them", Unknown: unknownOpen,
		check: eachPolicy(func(r *Resource, file aclFile, out *report) {
			for _, t := range file.Tests {
				if len(t.Deny) > 0 {
					return
				}
			}
			out.fail(r, "no test says what must be denied")
		}),
	},
	{
		ID: "tailnet-tags", Title: "Every tag in use is owned", Severity: Medium, Layer: LayerTailnet,
		Remedy: "name the tag's owners in tagOwners", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			used := map[string]*Resource{}
			for _, k := range g.Of(typeTailnetKey) {
				for _, tag := range k.At("tags").Texts() {
					used[tag] = k
				}
			}
			eachPolicy(func(r *Resource, file aclFile, out *report) {
				for _, g := range file.Grants {
					for _, name := range slices.Concat(g.Src, g.Dst) {
						if strings.HasPrefix(name, "tag:") {
							used[name] = r
						}
					}
				}
				for tag, by := range used {
					out.require(len(file.TagOwners[tag]) > 0, by, "nobody owns %s", tag)
				}
			})(g, out)
		},
	},
	{
		ID: "tailnet-ssh", Title: "Nobody becomes root over the tailnet's SSH", Severity: High, Layer: LayerTailnet,
		Remedy: "name another user in the policy's ssh rules, and no sources beyond a group", Unknown: unknownOpen,
		check: eachPolicy(func(r *Resource, file aclFile, out *report) {
			for _, s := range file.SSH {
				out.require(!slices.Contains(s.Users, "root") && !slices.Contains(s.Users, "*"), r, "SSH as %s", strings.Join(s.Users, ", "))
				out.require(!everybody(s.Src) && !slices.Contains(s.Src, "autogroup:member"), r, "SSH from %s", strings.Join(s.Src, ", "))
			}
		}),
	},
	{
		ID: "tailnet-key", Title: "A key that joins the tailnet joins one tagged machine", Severity: High, Layer: LayerTailnet,
		Remedy: "make the key with reusable false and a tag", Unknown: unknownOpen,
		check: func(g *Graph, out *report) {
			out.absent("tailnet key")
			for _, k := range g.Of(typeTailnetKey) {
				out.require(!k.At("reusable").True(), k, "the key can be used again")
				out.require(k.At("tags").Hidden() || len(k.At("tags").List()) > 0, k, "the key joins machines as a person")
			}
		},
	},
}
