// Package engine deploys the whole stack with the real Pulumi engine on simulated clouds, and breaks it on purpose.
package engine

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"homelab/components/settings"
	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// Type tokens that the assertions speak of.
const (
	typeStack     = "pulumi:pulumi:Stack"
	typeDNS       = "cloudflare:index/dnsRecord:DnsRecord"
	typeContainer = "docker:index/container:Container"
)

var cli = sync.OnceValues(func() (string, error) { return toolchain.Pulumi(context.Background(), os.Stderr) })

// open makes a new simulation of the production example.
func open(t *testing.T, change ...func(*workspace.Options)) *workspace.Workspace {
	t.Helper()
	path, err := cli()
	require.NoError(t, err)
	options := workspace.Options{
		Project: "../..", Program: stack.From, CLI: path, Stdout: io.Discard, Stderr: io.Discard,
	}
	for _, key := range settings.Secrets() {
		options.Secrets = append(options.Secrets, workspace.Secret{Key: key.Key, Generate: key.Generate, Needs: key.Needs})
	}
	for _, c := range change {
		c(&options)
	}
	w, err := workspace.Simulated(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// up runs up and requires that it works.
func up(t *testing.T, w *workspace.Workspace) *workspace.Summary {
	t.Helper()
	summary, err := w.Up(t.Context())
	require.NoError(t, err, "%s", logOf(summary))
	return summary
}

func logOf(s *workspace.Summary) string {
	if s == nil {
		return ""
	}
	return s.Log
}

// tokens is the type of a URN without its parents' types, and its name.
func tokens(urn string) (typeToken, name string) {
	u := resource.URN(urn)
	return string(u.Type()), u.Name()
}

// isCloud says whether a cloud creates the resource; components and providers exist in the engine alone.
func isCloud(r apitype.ResourceV3) bool {
	return r.Custom && !strings.HasPrefix(string(r.Type), "pulumi:")
}

// chainOf is everything that must exist before the record may: every resource of the deployment but the records themselves and what
// belongs to other services, to storage, to the backup or to the alerts. It is what remains, so a resource that somebody adds to the gateway is in it without anybody
// remembering.
func chainOf(all []apitype.ResourceV3, record apitype.ResourceV3) []resource.URN {
	var chain []resource.URN
	_, service := tokens(string(record.URN))
	for _, r := range all {
		if !isCloud(r) || r.Type == typeDNS || beside(r.URN, service) {
			continue
		}
		chain = append(chain, r.URN)
	}
	return chain
}

// beside says whether a resource belongs to storage, to the backup, to the alerts, to another service, or to another service's route.
func beside(urn resource.URN, service string) bool {
	path, name := string(urn.QualifiedType()), urn.Name()
	if strings.Contains(path, "homelab:storage:") || strings.Contains(path, "homelab:backup:") || strings.Contains(path, "homelab:host:Alerts") {
		return true
	}
	// The library is the player's alone.
	if strings.Contains(path, "homelab:host:Media") {
		return service != "jellyfin"
	}
	for owner, hostname := range map[string]string{"jellyfin": "jellyfin.example.com", "jellyseerr": "requests.example.com", "portal": "auth.example.com"} {
		if owner == service {
			continue
		}
		if name == "route-"+hostname {
			return true
		}
		if strings.Contains(path, "homelab:media:") && (name == owner || strings.HasPrefix(name, owner+"-")) {
			return true
		}
	}
	// Networks that no service is on yet, and the tailnet's name service, carry nothing of the chain.
	return slices.Contains([]string{"grafana-monitoring", "gluetun", "tailnet-dns"}, name)
}

func records(all []apitype.ResourceV3) []apitype.ResourceV3 {
	return slices.DeleteFunc(slices.Clone(all), func(r apitype.ResourceV3) bool { return r.Type != typeDNS })
}

func state(t *testing.T, w *workspace.Workspace) []apitype.ResourceV3 {
	t.Helper()
	deployment, err := w.Deployment()
	require.NoError(t, err)
	return deployment.Resources
}

func urns(all []apitype.ResourceV3) []string {
	out := make([]string, 0, len(all))
	for _, r := range all {
		out = append(out, string(r.URN))
	}
	slices.Sort(out)
	return out
}

// requireNothingExposed checks what an attacker on the internet would find: a hostname only where its whole chain is.
func requireNothingExposed(t *testing.T, w *workspace.Workspace, complete []apitype.ResourceV3) {
	t.Helper()
	there := map[resource.URN]bool{}
	for _, r := range state(t, w) {
		there[r.URN] = len(r.InitErrors) == 0
	}
	requireChains(t, w, complete, there)
}

// requireChains requires that every published hostname has its whole chain among the resources that are there.
func requireChains(t *testing.T, w *workspace.Workspace, complete []apitype.ResourceV3, there map[resource.URN]bool) {
	t.Helper()
	published := map[string]bool{}
	for _, record := range w.World().DNSRecords() {
		published[record.Name] = true
	}
	for _, record := range records(complete) {
		name, _ := record.Inputs["name"].(string)
		if !published[name] {
			continue
		}
		for _, urn := range chainOf(complete, record) {
			require.True(t, there[urn], "%s is published without %s", name, urn)
		}
	}
}
