//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/policy/audit"
)

// strayExport is a stack with a container that breaks rules, in the form of an export.
const strayExport = `{"version": 3, "deployment": {"resources": [
  {"urn": "urn:pulumi:prod::other::pulumi:pulumi:Stack::other-prod", "type": "pulumi:pulumi:Stack"},
  {"urn": "urn:pulumi:prod::other::docker:index/container:Container::web", "type": "docker:index/container:Container",
   "outputs": {"name": "web", "image": "nginx:latest", "ports": [{"internal": 80, "external": 80}]}}]}}`

func TestAuditOfAFile(t *testing.T) {
	s := newShell(t, plainStack)
	dir := t.TempDir()
	file := filepath.Join(dir, "export.json")
	require.NoError(t, os.WriteFile(file, []byte(strayExport), 0o600))

	code, out, errOut := s.run("audit", file)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "web publishes port 80 on all interfaces, past the firewall")
	assert.Contains(t, errOut, "rules of severity high or worse are broken")

	s.stdin = strings.NewReader(strayExport)
	code, out, errOut = s.run("audit", "-", "--json", "--fail-on", "never", "--html", filepath.Join(dir, "page.html"))
	assert.Equal(t, exitOK, code, errOut)
	var report audit.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report), "standard output is JSON and nothing else")
	assert.Equal(t, 2, report.Resources)
	page, err := os.ReadFile(filepath.Join(dir, "page.html"))
	require.NoError(t, err)
	assert.Contains(t, string(page), "<title>Audit of other prod</title>")

	code, out, _ = s.run("audit", file, "--baseline", file, "--fail-on", "never")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "Changed since the baseline:\n  nothing in exposure\n")

	earlier := filepath.Join(dir, "earlier.json")
	_, out, _ = s.run("audit", file, "--json", "--fail-on", "never")
	require.NoError(t, os.WriteFile(earlier, []byte(strings.ReplaceAll(out, `"web"`, `"old"`)), 0o600))
	code, out, _ = s.run("audit", file, "--baseline", earlier, "--fail-on", "never")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "  - the container old is gone\n  - the container web runs now\n")

	code, out, _ = s.run("audit", file, "--sarif", "--fail-on", "never")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, `"ruleId": "container-ports"`)
}

// An exception in the configuration of policies holds in an audit, and a wrong one is refused.
func TestExceptionsOfAnAudit(t *testing.T) {
	s := newShell(t, plainStack)
	dir := t.TempDir()
	file, config := filepath.Join(dir, "export.json"), filepath.Join(dir, "policy.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"version": 3, "deployment": {"resources": [
	  {"urn": "urn:pulumi:prod::other::cloudflare:index/dnsRecord:DnsRecord::mail", "type": "cloudflare:index/dnsRecord:DnsRecord",
	   "outputs": {"name": "mail.example.com", "type": "A", "content": "203.0.113.9", "proxied": false}}]}}`), 0o600))
	code, out, _ := s.run("audit", file)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "mail.example.com leads to 203.0.113.9 past Cloudflare")

	exception := `{"container-orphan": "disabled", "record-proxied": {"unproxied": [{"hostname": "mail.example.com", "reason": "it is a mail server"}]}}`
	require.NoError(t, os.WriteFile(config, []byte(exception), 0o600))
	code, out, errOut := s.run("audit", file, "--policy-pack-config", config)
	assert.Equal(t, exitOK, code, "%s%s", out, errOut)
	assert.Contains(t, out, "past Cloudflare, by an exception (it is a mail server)")

	require.NoError(t, os.WriteFile(config, []byte(strings.Replace(exception, "it is a mail server", " ", 1)), 0o600))
	code, _, errOut = s.run("audit", file, "--policy-pack-config", config)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "record-proxied.unproxied[0].reason: why mail.example.com leads past Cloudflare is needed")
}

func TestAuditOfASimulatedStack(t *testing.T) {
	s := newShell(t, plainStack)
	state := filepath.Join(t.TempDir(), "state")
	code, _, errOut := s.run("up", "--simulate", "--state", state)
	require.Equal(t, exitOK, code, errOut)
	code, out, errOut := s.run("audit", "--simulate", "--state", state, "--json", "--fail-on", "never")
	require.Equal(t, exitOK, code, errOut)
	var report audit.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report), "standard output is JSON and nothing else: %s", out)
	assert.Equal(t, 4, report.Resources)
	code, out, errOut = s.run("graph", "--simulate", "--state", state)
	require.Equal(t, exitOK, code, errOut)
	assert.True(t, strings.HasPrefix(out, "<svg "), out)
}

func TestGraphOfAFile(t *testing.T) {
	s := newShell(t, plainStack)
	for format, want := range map[string]string{"svg": "<title>web</title>", "mermaid": `n0["web"]`, "dot": `"container:web" [label="web"]`, "json": `"label": "web"`} {
		s.stdin = strings.NewReader(strayExport)
		code, out, errOut := s.run("graph", "-", "--format", format)
		require.Equal(t, exitOK, code, errOut)
		assert.Contains(t, out, want)
	}
}

func TestAuditsThatAreRefused(t *testing.T) {
	s := newShell(t, plainStack)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	good := write("good.json", strayExport)
	clear := write("clear.json", `{"version":3,"deployment":{"resources":[{"urn":"a","type":"x","outputs":{"p":{"4dabf18193072939515e22adb298388d":"1b47061264138c4ac30d75fd1eb44270","plaintext":"\"hunter2\""}}}]}}`)
	for line, problem := range map[string]string{
		"audit /nowhere":                         "open /nowhere",
		"audit a b":                              "audit takes one file",
		"audit " + good + " --stack prod":        "leave out --stack, --simulate and --state",
		"audit --simulate":                       "--simulate needs --state",
		"audit --state /tmp/x":                   "add --simulate",
		"audit " + good + " --fail-on dreadful":  `"dreadful" is no severity: use one of critical, high, medium, low, or never`,
		"audit " + good + " --json --sarif":      "choose one",
		"audit " + write("yaml", "a: b"):         "no export of a stack: make one with pulumi stack export",
		"audit " + clear:                         "secrets in clear: keep it from everybody, delete it, and make one without --show-secrets",
		"audit " + good + " --baseline " + clear: "secrets in clear",
		"graph " + good + " --format png":        "use one of svg, mermaid, dot, json",
		"graph " + good + " --host x":            `"x" is no hostname of the stack`,
	} {
		code, out, errOut := s.run(strings.Fields(line)...)
		assert.Equal(t, exitUsage, code, line)
		assert.Contains(t, errOut, problem, line)
		assert.NotContains(t, errOut+out, "hunter2")
		assert.Empty(t, out, line)
	}
}
