package syntax

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goldens = "../../components/monitoring/internal/shipper/testdata"

func golden(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(goldens, name+".golden"))
	require.NoError(t, err)
	return content
}

func TestEveryArgumentIsInTheDocumentation(t *testing.T) {
	for _, name := range []string{"alloy", "alloy-small"} {
		assert.Empty(t, problemsOf(golden(t, name)), name)
	}
}

// What the documentation lists and nothing uses would make the reference look like more than it is.
func TestEveryBlockOfTheReferenceIsUsed(t *testing.T) {
	config := string(golden(t, "alloy"))
	for name, b := range reference {
		assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(name)+` `, config)
		assert.NotEmpty(t, b.page, name)
		for inner, block := range b.blocks {
			assert.Regexp(t, `(?m)^\t`+regexp.QuoteMeta(inner)+` \{`, config)
			assert.NotEmpty(t, block.page, inner)
		}
	}
}

// A judge that accepts everything proves nothing.
func TestMistakesAreFound(t *testing.T) {
	config := golden(t, "alloy")
	for problem, change := range map[string][2]string{
		"loki.source.journal: no argument max_ages":                                                             {"max_age", "max_ages"},
		"loki.source.file: no block file_matches":                                                               {"file_match {", "file_matches {"},
		"the file: no block loki.sauce.journal":                                                                 {"loki.source.journal", "loki.sauce.journal"},
		"loki.write.endpoint: argument url is missing":                                                          {"\t\turl  ", "\t\tname "},
		"discovery.docker: argument host is missing":                                                            {"\thost             = \"tcp://docker-api:2375\"\n", ""},
		"loki.write.endpoint.max_backoff_retries: a text, not int":                                              {"max_backoff_retries = 0", `max_backoff_retries = "0"`},
		"loki.source.file.file_match.enabled: a number, not bool":                                               {"enabled = true", "enabled = 1"},
		"discovery.docker.refresh_interval: time: invalid duration \"often\"":                                   {`"15s"`, `"often"`},
		"loki.process.stage.label_keep.values: a text, not list(string)":                                        {`values = ["host", "layer", "service"]`, `values = "host"`},
		"loki.source.docker.targets: discovery.relabel.others.output is no":                                     {"discovery.relabel.containers.output", "discovery.relabel.others.output"},
		"loki.source.docker.targets: discovery.relabel.containers.rules is RelabelRules, not list(map(string))": {"discovery.relabel.containers.output", "discovery.relabel.containers.rules"},
		`label "": a component has one`:                                                                         {`loki.write "loki"`, `loki.write`},
		"expected block label to be a valid identifier":                                                         {`loki.write "loki"`, `loki.write "lo-ki"`},
		"no expression is computed":                                                                             {`max_backoff_retries = 0`, `max_backoff_retries = 1 - 1`},
		"expected":                                                                                              {`["host", "layer", "service"]`, `["host" "layer"]`},
		"two components are called \"loki\"":                                                                    {"loki.write \"loki\" {", "loki.write \"loki\" { }\n\nloki.write \"loki\" {"},
	} {
		require.True(t, bytes.Contains(config, []byte(change[0])), change[0])
		broken := bytes.Replace(config, []byte(change[0]), []byte(change[1]), 1)
		assert.Contains(t, strings.Join(problemsOf(broken), "\n"), problem)
	}
}

// The file is as Alloy's own formatter writes it, so that a person who looks at it on the machine
// sees what they know.
func TestTheFileIsFormatted(t *testing.T) {
	for _, name := range []string{"alloy", "alloy-small"} {
		config := golden(t, name)
		file, err := parser.ParseFile(name, config)
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, printer.Fprint(&out, file))
		assert.Equal(t, strings.TrimSuffix(string(config), "\n"), strings.TrimSuffix(out.String(), "\n"))
	}
}

// Each expression arrives as it was meant: Alloy reads the backslashes of a text once.
func TestExpressionsAreEscapedOnce(t *testing.T) {
	file, err := parser.ParseFile("alloy", golden(t, "alloy"))
	require.NoError(t, err)
	var alloy []string
	for _, statement := range file.Body {
		process, ok := statement.(*ast.BlockStmt)
		if !ok || process.GetBlockName() != "loki.process" {
			continue
		}
		for _, stage := range process.Body {
			b, ok := stage.(*ast.BlockStmt)
			if !ok || b.GetBlockName() != "stage.replace" {
				continue
			}
			literal, ok := b.Body[0].(*ast.AttributeStmt).Value.(*ast.LiteralExpr)
			require.True(t, ok)
			expression, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			_, err = regexp.Compile(expression)
			assert.NoError(t, err)
			alloy = append(alloy, expression)
		}
	}
	assert.Greater(t, len(alloy), 15)
	assert.Contains(t, alloy, `(?i)/announce(?:\.php)?/([a-z0-9]{16,})`)
}
