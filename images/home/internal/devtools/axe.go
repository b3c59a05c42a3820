package devtools

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bundle is where the browser's developer tools have Lighthouse, with axe-core in it.
const bundle = "/devtools/third_party/lighthouse/lighthouse-dt-bundle.js"

// Violation is a rule of axe-core that a page breaks.
// https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
type Violation struct {
	// ID names the rule.
	ID string `json:"id"`
	// Impact is minor, moderate, serious or critical.
	Impact string `json:"impact"`
	// Help says what holds for a page that does not break it.
	Help string `json:"help"`
	// Nodes are the places, as HTML.
	Nodes []string `json:"nodes"`
}

// judgement is a script that runs axe-core's rules on the page, and what it returns. passed is how
// many rules found something to judge, and nothing wrong.
const judgement = `axe.run(document, {resultTypes: ["violations"]}).then(found => ({
  version: axe.version,
  passed: found.passes.length,
  violations: found.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html)})),
}))`

// Axe judges the page, as it is shown now, by the rules of axe-core, the engine that Lighthouse judges
// accessibility with. The browser brings it along. Scripts are allowed from then on.
func (p *Page) Axe() []Violation {
	p.t.Helper()
	var found struct {
		Version    string      `json:"version"`
		Passed     int         `json:"passed"`
		Violations []Violation `json:"violations"`
	}
	// It waits for timers, which a page without scripts does not get; the page's own scripts are past.
	p.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": false}, nil)
	p.Evaluate("(0, eval)("+p.browser.axe(p.t)+"), axe.version", new(string))
	p.Evaluate(judgement, &found)
	require.Greater(p.t, found.Passed, 10, "axe-core %s has not looked at the page", found.Version)
	return found.Violations
}

// axe returns axe-core as a literal of JavaScript.
func (b *Browser) axe(t testing.TB) string {
	t.Helper()
	b.reading.Do(func() {
		text, err := b.own(bundle)
		require.NoError(t, err)
		b.engine, err = literal(text)
		require.NoError(t, err)
	})
	require.NotEmpty(t, b.engine)
	return b.engine
}

// own reads a file of the browser's own, which it serves at a port that it writes down.
func (b *Browser) own(path string) (string, error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		written, err := os.ReadFile(filepath.Join(b.folder, "DevToolsActivePort"))
		port, _, found := strings.Cut(string(written), "\n")
		if !found {
			if time.Since(began) > patience {
				return "", fmt.Errorf("the browser has written down no port: %w", err)
			}
			continue
		}
		answer, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s: %s", path, answer.Status)
		}
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
}

// literal finds axe-core in Lighthouse's bundle, which keeps it as a template literal.
func literal(text string) (string, error) {
	begin := strings.Index(text, "`/*! axe v")
	if begin < 0 {
		return "", errors.New("the bundle has no axe-core")
	}
	for end := begin + 1; end < len(text); end++ {
		switch text[end] {
		case '\\':
			end++
		case '`':
			return text[begin : end+1], nil
		}
	}
	return "", errors.New("axe-core has no end")
}
