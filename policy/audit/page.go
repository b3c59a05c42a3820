package audit

import (
	"embed"
	"html/template"
	"io"
	"strings"
)

//go:embed templates/report.html.tmpl
var templates embed.FS

var page = template.Must(template.New("report.html.tmpl").Funcs(template.FuncMap{
	"reach": reach,
	"chain": chain,
	"yes":   yes,
	"of":    ofMachine,
	"by":    by,
}).ParseFS(templates, "templates/report.html.tmpl"))

// WriteHTML writes the report as one page: no script, and nothing that is fetched from elsewhere.
func (r *Report) WriteHTML(to io.Writer) error {
	name := "a stack"
	if parts := strings.Split(r.Stack, "::"); len(parts) > 1 {
		name = parts[1] + " " + strings.TrimPrefix(parts[0], "urn:pulumi:")
	}
	return page.Execute(to, struct {
		*Report
		Name     string
		Open     []Outcome
		Compared bool
		Picture  template.HTML
	}{r, name, r.open(), r.Changes != nil, template.HTML(Whole(r.Inventory).SVG("Who may talk to whom"))}) //nolint:gosec // SVG escapes every text
}
