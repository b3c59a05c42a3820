//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homelab/internal/rehearsal"
)

// authorityFile is where machine browse writes the certificate of the rehearsal's authority, in the
// folder of the machines.
const authorityFile = "authority.pem"

// browseReport is what machine browse says.
type browseReport struct {
	SchemaVersion int `json:"schemaVersion"`
	// State is the simulation's folder, and Proxy the address to set in a browser.
	State string `json:"state"`
	Proxy string `json:"proxy"` // see State
	// From is the visitor's address, and Country where Cloudflare thinks that it is.
	From    string `json:"from"`
	Country string `json:"country"` // see From
	// Authority is the file with the certificate to believe in, and SPKI the hash of its key as
	// Chromium's --ignore-certificate-errors-spki-list has it.
	Authority string `json:"authority"`
	SPKI      string `json:"spki"` // see Authority
	// Public are the addresses that lead through Cloudflare, and Private those in the tailnet.
	Public  []string `json:"public"`
	Private []string `json:"private"` // see Public
	// NotEnforced is what of the zone is declared and has no effect here.
	NotEnforced []string `json:"notEnforced"`
	// Chromium and Curl are commands that open a page; empty if there is none.
	Chromium string `json:"chromium"`
	Curl     string `json:"curl"` // see Chromium
}

// browseSchemaVersion is the version of what machine browse prints as JSON. It changes only when a
// property is removed or gets another meaning; docs/browse.schema.json describes it.
const browseSchemaVersion = 1

func (a *app) machineBrowseCommand() *cobra.Command {
	var from, listen string
	var asJSON bool
	cmd, _ := a.machineAction("browse", "Let a browser on this computer visit the deployment, through Cloudflare as it is rehearsed",
		"browse is an HTTP proxy for a browser, until it is interrupted: the zone's public hostnames lead through Cloudflare as the\n"+
			"simulation has declared it, as a visitor with the address of --from, and private ones over the tailnet, as this computer.\n"+
			"It says how to open them. Nothing else can be reached by it.",
		"  # How do I open it?\n  homelab machine browse --simulate --state /tmp/lab\n\n"+
			"  # The same as a visitor from Germany\n  homelab machine browse --simulate --state /tmp/lab --from DE",
		func(ctx context.Context, f *machineFlags, k *kept, _ []string) error {
			visitor, err := visitorOf(from)
			if err != nil {
				return err
			}
			return a.browse(ctx, f, k, visitor, listen, asJSON)
		})
	cmd.Flags().StringVar(&from, "from", rehearsal.Visitor.String(), "the visitor's `address`, or the two letters of his country")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`address` of the proxy; port 0 picks one. Whoever reaches it visits as this computer")
	cmd.Flags().BoolVarP(&asJSON, "json", "j", false, "say how as JSON; docs/browse.schema.json describes it")
	return cmd
}

// visitorOf reads --from.
func visitorOf(text string) (netip.Addr, error) {
	if a, ok := rehearsal.VisitorFrom(strings.ToUpper(text)); ok {
		return a, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.IsGlobalUnicast() || a.Is4In6() || a.Zone() != "" {
		return a, usageErrorf("--from %s is neither the address of a visitor nor the code of a country, such as DE", text)
	}
	return a, nil
}

// browse serves the proxy until the command is interrupted.
func (a *app) browse(ctx context.Context, f *machineFlags, k *kept, from netip.Addr, listen string, asJSON bool) error {
	edge, err := k.Edge(ctx)
	if err != nil {
		return err
	}
	if len(edge.Hosts) == 0 {
		return fmt.Errorf("the zone has no hostname yet: has the deployment ended? homelab up --simulate --machine --state %s goes on with it", f.state)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return usageErrorf("--listen %s: %w", listen, err)
	}
	server := &http.Server{Handler: rehearsal.Proxy(rehearsal.Visits(k, from)), ReadHeaderTimeout: time.Minute}
	defer func() { _ = server.Close() }() // closes the listener too, if it is served
	report, err := f.browseReport(edge, listener.Addr(), from)
	if err == nil {
		err = report.write(a.stdout, asJSON)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil // that is how one ends it
}

// browseReport writes the authority's certificate to a file and says how to open pages.
func (f *machineFlags) browseReport(edge rehearsal.Edge, at net.Addr, from netip.Addr) (*browseReport, error) {
	block, _ := pem.Decode([]byte(edge.Authority))
	if block == nil {
		return nil, errors.New("the rehearsal's authority has no certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the rehearsal's authority: %w", err)
	}
	hash := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	folder := filepath.Join(f.state, machinesDir)
	out := &browseReport{
		SchemaVersion: browseSchemaVersion, State: f.state, Proxy: "http://" + at.String(), From: from.String(), Country: rehearsal.CountryOf(from),
		Authority: filepath.Join(folder, authorityFile), SPKI: base64.StdEncoding.EncodeToString(hash[:]), Public: []string{}, Private: []string{},
		NotEnforced: edge.NotEnforced,
	}
	if err := os.WriteFile(out.Authority, []byte(edge.Authority), 0o600); err != nil {
		return nil, err
	}
	for _, h := range edge.Hosts {
		if h.Proxied {
			out.Public = append(out.Public, "https://"+h.Name+"/")
		} else {
			out.Private = append(out.Private, "https://"+h.Name+"/")
		}
	}
	page := append(out.Public, out.Private...)[0]
	out.Curl = fmt.Sprintf("curl --proxy %s --cacert %s %s", out.Proxy, out.Authority, page)
	out.Chromium = fmt.Sprintf("chromium --user-data-dir=%s --proxy-server=%s --ignore-certificate-errors-spki-list=%s %s",
		filepath.Join(folder, "browser"), out.Proxy, out.SPKI, page)
	return out, nil
}

func (r *browseReport) write(to io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	}
	var text strings.Builder
	if len(r.Public) > 0 {
		fmt.Fprintf(&text, "through Cloudflare, as a visitor with the address %s (country %s):\n  %s\n", r.From, r.Country, strings.Join(r.Public, "\n  "))
	}
	if len(r.Private) > 0 {
		fmt.Fprintf(&text, "over the tailnet, as this computer:\n  %s\n", strings.Join(r.Private, "\n  "))
	}
	fmt.Fprintf(&text, "\nTo open one:\n  %s\n  %s\n", r.Chromium, r.Curl)
	if len(r.NotEnforced) > 0 {
		fmt.Fprintf(&text, "\nDeclared, and without effect in a rehearsal:\n  %s\n", strings.Join(r.NotEnforced, "\n  "))
	}
	text.WriteString("\nCtrl-C ends it.\n")
	_, err := io.WriteString(to, text.String())
	return err
}
