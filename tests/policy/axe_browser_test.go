//go:build browser

package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// bundle is where the browser's developer tools have Lighthouse, with axe-core in it.
const bundle = "/devtools/third_party/lighthouse/lighthouse-dt-bundle.js"

// axeLiteral finds axe-core in the bundle, which keeps it as a template literal.
var axeLiteral = regexp.MustCompile("(?s)`/\\*! axe v(?:[^`\\\\]|\\\\.)*`")

// axe is axe-core, the engine that Lighthouse judges accessibility with, as a literal of JavaScript. The
// browser serves it at a port that it writes down.
var axe = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "homelab-axe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	browser := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+folder, "--remote-debugging-port=0", "about:blank")
	if err := browser.Start(); err != nil {
		return "", err
	}
	defer func() {
		_ = browser.Process.Kill()
		_ = browser.Wait()
	}()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		written, _ := os.ReadFile(filepath.Join(folder, "DevToolsActivePort")) // it is not there yet
		port, _, found := strings.Cut(string(written), "\n")
		if !found {
			continue
		}
		answer, err := http.Get("http://127.0.0.1:" + port + bundle)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if found := axeLiteral.Find(text); err == nil && found != nil {
			return string(found), nil
		}
		return "", fmt.Errorf("no axe-core at %s: %s: %w", bundle, answer.Status, err)
	}
	return "", fmt.Errorf("the browser has written down no port")
})

// judging is what a page that judges itself says.
type judging struct {
	Dark       bool `json:"dark"`
	Width      int  `json:"width"`
	Passed     int  `json:"passed"`
	Violations []struct {
		ID     string   `json:"id"`
		Impact string   `json:"impact"`
		Help   string   `json:"help"`
		Nodes  []string `json:"nodes"`
	} `json:"violations"`
}

// judge is a script by which a page judges itself, and appends what is found.
const judge = `<script src="/axe.js"></script><script>
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const out = document.createElement("pre");
  out.id = "axe";
  out.textContent = JSON.stringify({
    dark: matchMedia("(prefers-color-scheme: dark)").matches, width: innerWidth, passed: found.passes.length,
    violations: found.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 300))})),
  });
  document.body.append(out);
});
</script></body>`

// policyOfPage forbids the page every script, this one too.
var policyOfPage = regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)

// judged has a page judged by axe-core in a browser, at a place in it such as #overview.
func judged(t *testing.T, page, place string, arguments ...string) judging {
	t.Helper()
	engine, err := axe()
	require.NoError(t, err)
	require.Len(t, policyOfPage.FindAllString(page, -1), 1)
	page = strings.Replace(policyOfPage.ReplaceAllString(page, ""), "</body>", judge, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/axe.js" {
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			_, _ = io.WriteString(w, "(0, eval)("+engine+");")
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	}))
	defer server.Close()
	document, log := browse(t, server.URL+"/audit.html"+place, append(arguments, "--virtual-time-budget=60000")...)
	var out judging
	found := false
	each(document, func(n *html.Node) {
		if attribute(n, "id") == "axe" {
			found = true
			require.NoError(t, json.Unmarshal([]byte(text(n)), &out))
		}
	})
	require.True(t, found, "%s", log)
	require.Greater(t, out.Passed, 10, "axe-core has not looked at the page")
	return out
}

// axe-core finds nothing wrong with the page, on a screen and a phone, in light and dark colors, with
// rules that are broken and without.
func TestThePageIsAccessibleInABrowser(t *testing.T) {
	report := newState(t).audit()
	broken := changed(t, setValue(record, "jellyseerr", false, "proxied")).audit()
	broken.Compare(report)
	var clean, found bytes.Buffer
	require.NoError(t, report.WriteHTML(&clean))
	require.NoError(t, broken.WriteHTML(&found))
	for what, page := range map[string]string{"clean": clean.String(), "broken": found.String()} {
		for _, place := range []string{"", "#requests.example.com"} {
			for _, size := range []string{"1280,900", "500,900"} {
				for _, dark := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s%s-%s-dark=%t", what, place, size, dark), func(t *testing.T) {
						scheme := map[bool]string{true: "0", false: "1"}[dark]
						out := judged(t, page, place, "--window-size="+size, "--blink-settings=preferredColorScheme="+scheme)
						assert.Equal(t, dark, out.Dark)
						assert.Equal(t, size, fmt.Sprintf("%d,900", out.Width))
						assert.Empty(t, out.Violations)
					})
				}
			}
		}
	}
}

// The engine that finds nothing finds what is wrong.
func TestFaultsAreFoundInABrowser(t *testing.T) {
	var page bytes.Buffer
	require.NoError(t, newState(t).audit().WriteHTML(&page))
	faulty := strings.Replace(strings.Replace(page.String(), `<html lang="en">`, "<html>", 1), "--ink: #1f2328", "--ink: #eee", 1)
	impacts := map[string]string{}
	for _, v := range judged(t, faulty, "", "--blink-settings=preferredColorScheme=1").Violations {
		impacts[v.ID] = v.Impact
	}
	assert.Equal(t, map[string]string{"color-contrast": "serious", "html-has-lang": "serious"}, impacts)
}
