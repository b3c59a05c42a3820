// Package engine deploys the whole stack with the real Pulumi engine on simulated clouds, and
// breaks it on purpose.
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

	"homelab/components/media"
	"homelab/components/service"
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

// open makes a new simulation of the production example, without the programs of the monitoring:
// these have tests of their own, and would double what every other test deploys.
func open(t *testing.T, change ...func(*workspace.Options)) *workspace.Simulation {
	t.Helper()
	path, err := cli()
	require.NoError(t, err)
	options := workspace.Options{
		Project: "../..", Program: stack.FromCatalog(media.Catalog()), CLI: path, Stdout: io.Discard, Stderr: io.Discard,
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
func up(t *testing.T, w *workspace.Simulation) *workspace.Summary {
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

// isCloud says whether a cloud creates the resource; components and providers exist in the engine
// alone.
func isCloud(r apitype.ResourceV3) bool {
	return r.Custom && !strings.HasPrefix(string(r.Type), "pulumi:")
}

// chainOf is everything that must exist before the record may: every resource of the deployment but
// the records themselves and what belongs to other services, to storage, to the backup or to the
// alerts. It is what remains, so a resource that somebody adds to the gateway is in it without
// anybody remembering.
func chainOf(all []apitype.ResourceV3, record apitype.ResourceV3) []resource.URN {
	var chain []resource.URN
	_, site := tokens(string(record.URN))
	for _, r := range all {
		if !isCloud(r) || r.Type == typeDNS || beside(r.URN, site) {
			continue
		}
		chain = append(chain, r.URN)
	}
	return chain
}

// beside says whether a resource belongs to storage, to the backup, to the alerts, to another
// service, or to another service's route.
func beside(urn resource.URN, site string) bool {
	path, name := string(urn.QualifiedType()), urn.Name()
	if strings.Contains(path, "homelab:storage:") || strings.Contains(path, "homelab:backup:") || strings.Contains(path, "homelab:host:Alerts") {
		return true
	}
	needed := usedBy(site)
	// The library belongs to those who use it.
	if strings.Contains(path, "homelab:host:Media") {
		return !slices.ContainsFunc(needed, func(d definition) bool { return d.Library != service.Library{} })
	}
	for _, d := range media.Catalog() {
		if d.Name == site {
			continue
		}
		if name == "route-"+hostnameOf(d) {
			return true
		}
		theirs := strings.Contains(path, d.Type) && (name == d.Name || strings.HasPrefix(name, d.Name+"-"))
		if theirs && !slices.ContainsFunc(needed, func(used definition) bool { return used.Name == d.Name }) {
			return true
		}
	}
	if name == "route-auth.example.com" {
		return site != "portal"
	}
	// Networks that no service is on yet, and the tailnet's name service, carry nothing of the
	// chain.
	return slices.Contains([]string{"grafana-monitoring", "tailnet-dns"}, name)
}

type definition = service.Definition

// hostnameOf is the full name of a service in the example's configuration.
func hostnameOf(d definition) string { return d.Default.Hostname + ".example.com" }

// offered are the services of the catalogue that are on in the example's configuration.
func offered() []definition {
	return slices.DeleteFunc(media.Catalog(), func(d definition) bool { return d.Default.Off })
}

// publicHostnames are the hostnames of the example's configuration that the internet sees, sorted.
func publicHostnames() []string {
	out := []string{"auth.example.com"}
	for _, d := range offered() {
		if d.Default.Visibility == "public" {
			out = append(out, hostnameOf(d))
		}
	}
	slices.Sort(out)
	return out
}

// usedBy returns a service of the catalogue and all those that it uses, directly or not; nothing
// for the portal.
func usedBy(name string) []definition {
	var out []definition
	for _, d := range media.Catalog() {
		if d.Name != name {
			continue
		}
		out = append(out, d)
		for _, used := range d.Offer().Uses {
			out = append(out, usedBy(used)...)
		}
	}
	return out
}

func records(all []apitype.ResourceV3) []apitype.ResourceV3 {
	return slices.DeleteFunc(slices.Clone(all), func(r apitype.ResourceV3) bool { return r.Type != typeDNS })
}

func state(t *testing.T, w *workspace.Simulation) []apitype.ResourceV3 {
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

// requireNothingExposed checks what an attacker on the internet would find: a hostname only where
// its whole chain is.
func requireNothingExposed(t *testing.T, w *workspace.Simulation, complete []apitype.ResourceV3) {
	t.Helper()
	there := map[resource.URN]bool{}
	for _, r := range state(t, w) {
		there[r.URN] = len(r.InitErrors) == 0
	}
	requireChains(t, w, complete, there)
}

// requireChains requires that every published hostname has its whole chain among the resources that
// are there.
func requireChains(t *testing.T, w *workspace.Simulation, complete []apitype.ResourceV3, there map[resource.URN]bool) {
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
