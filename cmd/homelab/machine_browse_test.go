//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/rehearsal"
)

// printed is what a command has printed so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// zoneOf is a zone of which one hostname is public.
func zoneOf(t *testing.T) rehearsal.Edge {
	t.Helper()
	server := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(server.Close)
	return rehearsal.Edge{
		Zone: "example.com", Addresses: []netip.Addr{rehearsal.EdgeIPv4}, NotEnforced: []string{"setting browser_check = on"}, Banned: []string{},
		Authority: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
		Hosts: []rehearsal.EdgeHost{
			{Name: "radarr.example.com", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.2")}},
			{Name: "requests.example.com", Addresses: []netip.Addr{rehearsal.EdgeIPv4}, Proxied: true},
		},
	}
}

func TestBrowsingAMachine(t *testing.T) {
	state, edge := keptMachine(t), zoneOf(t)
	serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": []rehearsal.Machine{{ID: "1"}}, "edge": edge})
	ctx, cancel := context.WithCancel(t.Context())
	out := &printed{}
	a := newApp()
	a.stdout, a.stderr = out, io.Discard
	ended := make(chan int, 1)
	go func() {
		ended <- a.run(ctx, []string{"machine", "browse", "--simulate", "--state", state, "--from", "de", "--json"})
	}()
	require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), "}\n") }, 10*time.Second, 10*time.Millisecond)
	var report browseReport
	fitsSchema(t, strictSchema(t, "../../docs/browse.schema.json"), out.String())
	require.NoError(t, json.Unmarshal([]byte(out.String()), &report))
	authority := filepath.Join(state, machinesDir, authorityFile)
	assert.Equal(t, browseReport{
		SchemaVersion: 1, State: state, Proxy: report.Proxy, From: "198.18.68.69", Country: "DE", Authority: authority, SPKI: report.SPKI,
		Public: []string{"https://requests.example.com/"}, Private: []string{"https://radarr.example.com/"}, NotEnforced: edge.NotEnforced,
		Curl: "curl --proxy " + report.Proxy + " --cacert " + authority + " https://requests.example.com/",
		Chromium: "chromium --user-data-dir=" + filepath.Join(state, machinesDir, "browser") + " --proxy-server=" + report.Proxy +
			" --ignore-certificate-errors-spki-list=" + report.SPKI + " https://requests.example.com/",
	}, report)
	assert.Len(t, report.SPKI, 44, "a SHA-256 in base64")
	text, err := os.ReadFile(authority)
	require.NoError(t, err)
	assert.Equal(t, edge.Authority, string(text))

	proxy, err := url.Parse(report.Proxy)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", proxy.Hostname())
	browser := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
	answer, err := browser.Get("http://requests.example.com/")
	require.NoError(t, err)
	why, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Contains(t, string(why), "nobody may ask for /v1/dial", "the request went to the machine's program")
	cancel()
	select {
	case code := <-ended:
		assert.Equal(t, exitOK, code)
	case <-time.After(10 * time.Second):
		t.Fatal("an interrupt does not end it")
	}
	_, err = browser.Get("http://requests.example.com/")
	require.Error(t, err, "nobody listens any more")
}

func TestHowToBrowseIsSaid(t *testing.T) {
	var out bytes.Buffer
	report := browseReport{
		From: "203.0.113.201", Country: "XX", Public: []string{"https://a/", "https://b/"}, Private: []string{"https://c/"}, NotEnforced: []string{"x"},
		Chromium: "chromium …", Curl: "curl …",
	}
	require.NoError(t, report.write(&out, false))
	assert.Equal(t, `through Cloudflare, as a visitor with the address 203.0.113.201 (country XX):
  https://a/
  https://b/
over the tailnet, as this computer:
  https://c/

To open one:
  chromium …
  curl …

Declared, and without effect in a rehearsal:
  x

Ctrl-C ends it.
`, out.String())
}

func TestBrowsingFails(t *testing.T) {
	s := newShell(t, plainStack)
	state, empty := keptMachine(t), keptMachine(t)
	serveMachines(t, state, map[string]any{"ping": struct{}{}, "machines": []rehearsal.Machine{}, "edge": zoneOf(t)})
	serveMachines(t, empty, map[string]any{"ping": struct{}{}, "machines": []rehearsal.Machine{}, "edge": rehearsal.Edge{}})
	for _, each := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "--from nowhere is neither the address of a visitor nor the code of a country", []string{"--simulate", "--state", state, "--from", "nowhere"}},
		{exitUsage, "--from 127.0.0.1 is neither", []string{"--simulate", "--state", state, "--from", "127.0.0.1"}},
		{exitUsage, "--listen 203.0.113.1:1", []string{"--simulate", "--state", state, "--listen", "203.0.113.1:1"}},
		{exitUsage, "name it with --simulate --state FOLDER", nil},
		{exitFailed, "the zone has no hostname yet", []string{"--simulate", "--state", empty}},
	} {
		code, out, errOut := s.run(append([]string{"machine", "browse"}, each.args...)...)
		assert.Equal(t, each.code, code, "%v: %s", each.args, errOut)
		assert.Contains(t, errOut, each.want)
		assert.Empty(t, out, "%v", each.args)
	}
}
