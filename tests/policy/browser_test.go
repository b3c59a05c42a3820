//go:build browser

package policy

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// browse opens an address in a real browser, and returns what it shows as a document and what it said
// on its console.
func browse(t *testing.T, address string, arguments ...string) (*html.Node, string) {
	t.Helper()
	var out, log bytes.Buffer
	command := exec.CommandContext(t.Context(), "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + t.TempDir(), "--enable-logging=stderr", "--v=0", "--dump-dom",
	}, append(arguments, address)...)...)
	command.Stdout, command.Stderr = &out, &log
	command.WaitDelay = 5 * time.Second
	require.NoError(t, command.Run(), "%s", log.String())
	document, err := html.Parse(&out)
	require.NoError(t, err)
	return document, log.String()
}

// The page works in a real browser: it asks for nothing but itself, says nothing on the console, and
// every hostname has its page.
func TestThePageInABrowser(t *testing.T) {
	report := newState(t).audit()
	var page bytes.Buffer
	require.NoError(t, report.WriteHTML(&page))
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Path)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page.Bytes())
	}))
	t.Cleanup(server.Close)

	// go test -artifacts keeps the picture, which is the one in docs.
	document, log := browse(t, server.URL+"/audit.html", "--window-size=1280,1250", "--hide-scrollbars", "--screenshot="+filepath.Join(t.ArtifactDir(), "audit.png"))
	assert.NotContains(t, log, "CONSOLE")
	for _, path := range asked {
		assert.Contains(t, []string{"/audit.html", "/favicon.ico"}, path, "the page asks for something else than itself")
	}
	accessible(t, document)
	broken := changed(t, setValue(record, "jellyseerr", false, "proxied")).audit()
	broken.Compare(report)
	var other bytes.Buffer
	require.NoError(t, broken.WriteHTML(&other))
	withFindings, err := html.Parse(&other)
	require.NoError(t, err)
	accessible(t, withFindings)
	pages := map[string]bool{}
	each(document, func(n *html.Node) {
		if n.Data == "section" {
			pages[attribute(n, "id")] = true
			items := 0
			each(n, func(below *html.Node) {
				if below.Data == "li" {
					items++
				}
			})
			assert.Greater(t, items, 10, "the chain of %s", attribute(n, "id"))
		}
	})
	for _, h := range report.Inventory.Hostnames {
		assert.True(t, pages[h.Name], h.Name)
		// What the browser draws at the hostname's address differs from the overview.
		one, two := filepath.Join(t.TempDir(), "one.png"), filepath.Join(t.TempDir(), "two.png")
		_, log := browse(t, server.URL+"/audit.html#"+h.Name, "--window-size=420,900", "--screenshot="+one)
		assert.NotContains(t, log, "CONSOLE")
		browse(t, server.URL+"/audit.html", "--window-size=420,900", "--screenshot="+two)
		first, err := os.ReadFile(one)
		require.NoError(t, err)
		second, err := os.ReadFile(two)
		require.NoError(t, err)
		assert.False(t, bytes.Equal(first, second), "%s opens nothing", h.Name)
	}
}

// accessible holds a document to what a screen reader and a keyboard need.
func accessible(t *testing.T, document *html.Node) {
	t.Helper()
	ids, level := map[string]int{}, 0
	each(document, func(n *html.Node) {
		if id := attribute(n, "id"); id != "" {
			ids[id]++
		}
	})
	each(document, func(n *html.Node) {
		switch n.Data {
		case "html":
			assert.Equal(t, "en", attribute(n, "lang"))
		case "title", "a", "h1", "h2", "h3":
			assert.NotEmpty(t, strings.TrimSpace(text(n)), "an empty %s", n.Data)
		case "svg":
			if attribute(n, "role") != "" {
				assert.NotEmpty(t, attribute(n, "aria-label"))
			}
		case "th":
			assert.NotEmpty(t, attribute(n, "scope"))
		}
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			now := int(n.Data[1] - '0')
			assert.LessOrEqual(t, now, level+1, "a heading skips a level: %s", text(n))
			level = now
		}
		if target, ok := strings.CutPrefix(attribute(n, "href"), "#"); ok {
			assert.Equal(t, 1, ids[target], "a link to %s", target)
		}
		if by := attribute(n, "aria-labelledby"); by != "" {
			assert.Equal(t, 1, ids[by], by)
		}
	})
}

func each(n *html.Node, visit func(*html.Node)) {
	if n.Type == html.ElementNode {
		visit(n)
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		each(child, visit)
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var out strings.Builder
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		out.WriteString(text(child))
	}
	return out.String()
}
