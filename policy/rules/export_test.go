package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const stackURN = "urn:pulumi:prod::homelab::pulumi:pulumi:Stack::homelab-prod"

func export(t *testing.T, text string) (*Export, error) {
	t.Helper()
	return ReadExport(strings.NewReader(text))
}

func TestReadExport(t *testing.T) {
	e, err := export(t, `{"version": 4, "features": ["refreshBeforeUpdate"], "deployment": {"resources": [
		{"urn": "`+stackURN+`", "type": "pulumi:pulumi:Stack"},
		{"urn": "urn:a", "type": "x:y:Z", "provider": "urn:provider::id", "protect": true, "dependencies": ["urn:gone"],
		 "inputs": {"asked": 1, "both": "in"}, "propertyDependencies": {"p": ["`+stackURN+`"]},
		 "outputs": {"both": "out", "__defaults": [], "none": null, "later": "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
		   "secret": {"`+signatureKey+`": "`+signatureSecret+`", "ciphertext": "v1:x"},
		   "known": {"`+signatureKey+`": "`+signatureOutput+`", "value": {"deep": true}},
		   "hidden": {"`+signatureKey+`": "`+signatureOutput+`", "value": "x", "secret": true},
		   "open": {"`+signatureKey+`": "`+signatureOutput+`"}}},
		{"urn": "urn:a", "type": "x:y:Z", "delete": true}],
		"pending_operations": [{"resource": {"urn": "urn:b", "type": "x:y:Z"}, "type": "creating"}]}}`)
	require.NoError(t, err)
	assert.Equal(t, stackURN, e.Stack)
	assert.Equal(t, []string{"urn:b"}, e.Pending)
	require.Len(t, e.Resources(), 2, "what is only yet to be deleted counts no longer")
	a := e.Get("urn:a")
	assert.Equal(t, []string{stackURN}, a.Dependencies)
	assert.True(t, a.Protect)
	assert.Equal(t, "urn:provider", a.Provider)
	assert.Equal(t, "out", a.Text("both"))
	assert.InDelta(t, 1, a.At("asked").Number(), 0)
	assert.True(t, a.At("__defaults").Missing())
	assert.True(t, a.At("later").Unknown())
	assert.True(t, a.At("open").Unknown())
	assert.True(t, a.At("secret").Secret())
	assert.True(t, a.At("hidden", "below").Secret())
	assert.True(t, a.At("known", "deep").True())
	assert.True(t, e.Needs(a, e.Get(stackURN)))
	assert.False(t, e.Needs(e.Get(stackURN), a))
}

func TestExportsThatCannotBeRead(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for text, want := range map[string]string{
		"":                               "the export is empty",
		" \n":                            "the export is empty",
		"null":                           "no export of a stack",
		"[]":                             "no export of a stack",
		"{}":                             "no export of a stack",
		"resources:\n- urn: x":           "no export of a stack",
		`{"version": 3`:                  "unexpected end of JSON",
		`{"version": 3}`:                 "no export of a stack",
		`{"terraform_version": "1.9"}`:   "no export of a stack",
		`{"version": 1,"deployment":{}}`: "format 1, and the oldest that can be read is 3",
		`{"version": 5,"deployment":{}}`: "format 5, and the newest that can be read is 4",
		`{"version": 3,"deployment":{"resources":[{"type":"x"}]}}`:                                                                                                   "without URN or type",
		`{"version": 3,"deployment":{"resources":[{"urn":"a","type":"x"},{"urn":"a","type":"x"}]}}`:                                                                  "two resources are called a",
		`{"version": 3,"deployment":{"resources":{}}}`:                                                                                                               "cannot unmarshal object",
		`{"version": 3,"deployment":{"resources":[{"urn":"a","type":"x","outputs":{"p":` + deep + `}}]}}`:                                                            "exceeded max depth",
		`{"version": 3,"deployment":{"resources":[{"urn":"a","type":"x","inputs":{"p":[{"` + signatureKey + `":"` + signatureSecret + `","plaintext":"\"x\""}]}}]}}`: "secrets in clear",
	} {
		_, err := export(t, text)
		require.ErrorContains(t, err, want, "%.80s", text)
	}
}

// An empty stack, and one of another program, get a useful answer.
func TestStacksOfOtherPrograms(t *testing.T) {
	e, err := export(t, `{"version": 3, "deployment": {}}`)
	require.NoError(t, err)
	for _, v := range Judge(e.Graph) {
		assert.NotEqual(t, Failed, v.Status, v.Rule.ID)
		if v.Status == NotApplicable {
			assert.Regexp(t, "^no .* found$", v.Reason, v.Rule.ID)
		}
	}

	e, err = export(t, `{"version": 3, "deployment": {"resources": [
		{"urn": "urn:w", "type": "docker:index/container:Container", "outputs": {"name": "web", "image": "nginx:latest",
		 "ports": [{"internal": 80, "external": 80}]}},
		{"urn": "urn:r", "type": "cloudflare:index/dnsRecord:DnsRecord", "outputs": {"name": "www.example.org", "type": "A", "content": "203.0.113.9"}}]}}`)
	require.NoError(t, err)
	broken := map[string]bool{}
	for _, v := range Judge(e.Graph) {
		broken[v.Rule.ID] = v.Status == Failed
	}
	for _, id := range []string{"record-proxied", "record-custom-rules", "record-portal", "container-ports", "container-image", "container-user", "network-filter"} {
		assert.True(t, broken[id], id)
	}
}

// Dependencies that go in a circle, which no engine writes, end.
func TestCircles(t *testing.T) {
	g, err := New([]Resource{{URN: "a", Type: "x", Dependencies: []string{"b"}}, {URN: "b", Type: "x", Dependencies: []string{"a"}}})
	require.NoError(t, err)
	assert.Len(t, g.Chain(g.Get("a")), 2)
}

func TestEveryRuleIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range All() {
		assert.Regexp(t, `^[a-z0-9-]+$`, r.ID)
		assert.False(t, seen[r.ID], r.ID)
		seen[r.ID] = true
		for what, text := range map[string]string{"title": r.Title, "severity": string(r.Severity), "layer": string(r.Layer), "remedy": r.Remedy, "unknown": r.Unknown} {
			assert.NotEmpty(t, text, "%s of %s", what, r.ID)
		}
		assert.Contains(t, Severities(), r.Severity)
	}
}

// What a provider needs, its resources need too.
func TestResourcesNeedWhatTheirProviderNeeds(t *testing.T) {
	g, err := New([]Resource{
		{URN: "server", Type: "x"}, {URN: "provider", Type: "x", Dependencies: []string{"server"}}, {URN: "container", Type: "x", Provider: "provider"},
	})
	require.NoError(t, err)
	assert.True(t, g.Needs(g.Get("container"), g.Get("server")))
	assert.False(t, g.Needs(g.Get("server"), g.Get("container")))
}

// A site is guarded if every request asks the portal, not some.
func TestGuarded(t *testing.T) {
	const some, all = "\troute @x {\n\t\tauthenticate http://p:1\n\t}\n", "\timport login\n"
	for block, want := range map[string]bool{"": false, some: false, all: true, some + all: true, all + some: true} {
		text := "(login) {\n\tauthenticate http://p:1\n}\nhttps://a.example.com:8443 {\n" + block + "\treverse_proxy s:80\n}\n"
		sites := readSites(text)
		require.Len(t, sites, 1)
		assert.Equal(t, "a.example.com", sites[0].hostname)
		assert.Equal(t, want, sites[0].guarded(), text)
		assert.Equal(t, "s", sites[0].upstream)
	}
}

func TestWide(t *testing.T) {
	for pattern, want := range map[string]bool{
		`^/api/v1/status$`: false, `^/site\.webmanifest$`: false, `^/(?:assets|static)/.*\.js$`: false, `^/a|^/b`: false, `(^/a)`: false, `(?i)^/API/`: false,
		`^/api/hooks/[0-9a-f]{32}$`: false, `^/[a-f]/x$`: false, `^/\.well-known/`: false,
		``: true, `/api`: true, `^/`: true, `^/.*`: true, `^/[^n]`: true, `^`: true, `.*`: true, `^/api/(`: true, `^/a|/b`: true, `^(?:/.+)$`: true, `^/\w`: true,
	} {
		assert.Equal(t, want, wide(pattern), pattern)
	}
}

// Whatever is read, nothing panics.
func FuzzReadExport(f *testing.F) {
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [{"urn": "a", "type": "docker:index/container:Container", "outputs": {"ports": [{}], "mounts": [1]}}]}}`))
	f.Add([]byte(`{"version": 4, "deployment": {"resources": [{"urn": "::", "type": "command:remote:Command", "outputs": {"create": "put 0400 a:b /x/Caddyfile", "stdin": "}\n(a) {\nimport a\n}\nhttps://x.y:1 {\nimport a\n"}}]}}`))
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [{"urn": "r", "type": "cloudflare:index/dnsRecord:DnsRecord", "outputs": {"content": {"a": 1}, "name": "x.y"}}]}}`))
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [{"urn": "f", "type": "hcloud:index/firewall:Firewall", "outputs": {"rules": [{"direction": "in", "port": "a-b", "sourceIps": ["x"]}]}}]}}`))
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [{"urn": "t", "type": "tailscale:index/acl:Acl", "outputs": {"acl": "{\"grants\": [{}]}"}}, {"urn": "b", "type": "command:remote:Command", "outputs": {"create": "put 0400 a:b /x/borgmatic.yaml", "stdin": "location: [1]"}}]}}`))
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [
		{"urn": "p", "type": "docker:index/container:Container", "outputs": {"name": "p", "image": "prom/prometheus", "command": ["--config.file=/c/a.yml"], "labels": [{"label": "homelab.metrics", "value": "1/x"}], "mounts": [{"type": "bind", "source": "/x", "target": "/c"}], "networksAdvanced": [{"name": "n", "ipv4Address": "10.0.0.1"}]}},
		{"urn": "f", "type": "command:remote:Command", "outputs": {"create": "put 0400 a:b /x/a.yml", "stdin": "scrape_configs: [{job_name: j, static_configs: [{targets: ['p:1']}], relabel_configs: [{target_label: __address__, replacement: p}]}]\nroute: {receiver: r, routes: [{}]}\nreceivers: [{name: r, x_configs: [1]}]"}}]}}`))
	f.Add([]byte(`{"version": 3, "deployment": {"resources": [
		{"urn": "g", "type": "docker:index/container:Container", "outputs": {"name": "g", "image": "grafana/grafana", "mounts": [{"type": "bind", "source": "/x", "target": "/etc/grafana"}]}},
		{"urn": "d", "type": "docker:index/container:Container", "outputs": {"name": "d", "image": "wollomatic/socket-proxy:1.0", "command": ["-allowGET=/(a|b)?[c]{2}$", "-", "x"], "mounts": [{"type": "bind", "source": "/run/docker.sock"}]}},
		{"urn": "f", "type": "command:remote:Command", "outputs": {"create": "put 0400 a:b /x/grafana.ini", "stdin": "[auth]\na=b\n[\n=\n"}},
		{"urn": "c", "type": "command:remote:Command", "outputs": {"create": "put 0400 a:b /x/Caddyfile", "stdin": "https://x.y:1 {\nroute {\n@a {\nnot {\nmethod\n}\n}\nrespond @a 404\nabort @\n}\n"}},
		{"urn": "y", "type": "docker:index/container:Container", "outputs": {"name": "y", "image": "homelab/caddy", "ports": [{"internal": 2}]}}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ReadExport(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		Judge(e.Graph)
		TakeInventory(e.Graph)
	})
}
