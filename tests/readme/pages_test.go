package readme

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heads   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	price   = regexp.MustCompile(`€ ([0-9.]+)`)
)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

// anchors returns what links to the page's headings are called.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, heading := range heads.FindAllStringSubmatch(text, -1) {
		plain := dropped.ReplaceAllString(strings.ToLower(heading[1]), "")
		found[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	names := strings.Fields(string(bytes.TrimSpace(output(t, "git", "ls-files", "*.md"))))
	require.Contains(t, names, "README.md")
	count := 0
	for _, name := range names {
		text := page(t, name)
		for _, each := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(each[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			count++
			if target == "" {
				assert.True(t, anchors(text)[anchor], "%s: no heading for #%s", name, anchor)
				continue
			}
			path := filepath.Join(filepath.Dir(name), target)
			assert.FileExists(t, filepath.Join(root, path), "%s links to %s", name, target)
			if anchor != "" {
				assert.True(t, anchors(page(t, path))[anchor], "%s: no heading for #%s in %s", name, anchor, path)
			}
		}
	}
	assert.Greater(t, count, 15)
}

// What a new user looks for first has a place of its own.
func TestNewcomersFind(t *testing.T) {
	found := map[string]bool{}
	for _, each := range heading.FindAllStringSubmatch(page(t, "README.md"), -1) {
		found[each[1]] = true
	}
	for _, want := range []string{
		"Try it now", "What you need", "Credentials", "Configure", "First login", "Films come in", "After a year", "Rebuild the server",
		"What it costs", "Simulated clouds", "For scripts", "Add a service", "Licence",
	} {
		assert.True(t, found[want], "the README has no section %q", want)
	}
	for name, text := range map[string]string{
		"LICENSE": "Apache License", "CONTRIBUTING.md": "make ci", "SECURITY.md": "Report", "CHANGELOG.md": "## 0.1.0",
	} {
		assert.Contains(t, page(t, name), text, name)
	}
	readme := page(t, "README.md")
	for _, platform := range []string{"Linux", "macOS", "WSL"} {
		assert.Contains(t, readme, platform)
	}
}

// The table of costs adds up, and is about the configuration that the repository proposes.
func TestCosts(t *testing.T) {
	_, section, found := strings.Cut(page(t, "README.md"), "\n## What it costs\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	sum, total := 0, 0
	for line := range strings.Lines(section) {
		amount := price.FindStringSubmatch(line)
		if !strings.HasPrefix(line, "|") || amount == nil {
			continue
		}
		euros, err := strconv.ParseFloat(amount[1], 64)
		require.NoError(t, err)
		cents := int(euros*100 + 0.5)
		if strings.Contains(line, "together") {
			total = cents
		} else {
			sum += cents
		}
	}
	assert.Positive(t, total)
	assert.Equal(t, total, sum, "the sum in the table is not that of its lines")

	var stack struct {
		Config struct {
			Server  struct{ Type string }                         `yaml:"homelab:server"`
			Storage struct{ Media, Backup struct{ Type string } } `yaml:"homelab:storage"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(page(t, "Pulumi.prod.yaml")), &stack))
	for _, kind := range []string{stack.Config.Server.Type, stack.Config.Storage.Media.Type, stack.Config.Storage.Backup.Type} {
		assert.Contains(t, section, "`"+kind+"`")
	}
}
