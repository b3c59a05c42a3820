package rules_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/rules"
)

// document is the page that lists the alerts.
const document = "../../../../docs/alerts.md"

const introduction = `# Alerts

Rendered from the rules by ` + "`go test ./components/monitoring/internal/rules -update`" + `; an edit here fails that test.

Prometheus evaluates the rules, and Alertmanager sends what fires to whoever the settings name: by mail, by a webhook, or both. A **critical** alert
is something that does not work or is not safe; it is sent within a minute, and again every four hours. A **warning** works, but not for long, or
looks wrong; it is sent once a day. The end of both is sent, too. One cause is one message: while a container is down, nothing else is said of it,
nor of what depends on it, such as the services that need the library while it is not mounted. So the end of such a cause is sent some ten minutes
after it, when nothing that followed from it shows any more.

` + "`Watchdog`" + ` always fires, and goes to the dead man's switch alone, every five minutes. When the server, Prometheus or Alertmanager stops, the
switch is told nothing, and raises the alarm from outside. ` + "`HomelabTestNotification`" + ` is what a deployment sends to see that messages arrive.

Beside Alertmanager, the machine itself tells of a unit that fails, such as a backup, by the same mail or webhook. So one failure may come as two messages, on
purpose: the machine's own arrives when the monitoring is down, too.

Alerts about parts that are switched off do not exist.

`

var (
	labelText = regexp.MustCompile(`\{\{ \$labels\.([a-z_]+) \}\}`)
	valueText = regexp.MustCompile(`\{\{ \$value[^}]*\}\}`)
)

// page renders the page. Alerts that several subjects have are shown once.
func page() string {
	var out strings.Builder
	out.WriteString(introduction)
	table := func(title string, alerts []rules.Alert) {
		fmt.Fprintf(&out, "## %s\n\n| alert | | after | says | what to do |\n|---|---|---|---|---|\n", title)
		seen := map[string]bool{}
		for _, a := range alerts {
			id := a.Name + string(a.Severity)
			if seen[id] || a.Severity == rules.None {
				continue
			}
			seen[id] = true
			after := "at once"
			if a.For > 0 {
				after = strings.Replace(strings.TrimSuffix(a.For.String(), "0s"), "h0m", "h", 1)
			}
			says := valueText.ReplaceAllString(labelText.ReplaceAllString(a.Summary, "*$1*"), "N")
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", a.Name, a.Severity, after, says, a.Description)
		}
		out.WriteString("\n")
	}
	m := example.Model()
	var system, services []rules.Alert
	for _, a := range rules.Alerts(m) {
		switch s, ok := m.Subject(a.Service); {
		case !strings.Contains(a.Name, "Service") && a.Name != rules.TargetDown && a.Name != rules.QueueFails:
			system = append(system, a)
		case ok && (s.Name == "radarr" || a.Name == rules.TargetDown && s.Name == "wire"):
			services = append(services, a)
		}
	}
	table("The system", system)
	table("Each service, as for Radarr", services)
	return strings.TrimSuffix(out.String(), "\n")
}

func TestEveryAlertIsDocumented(t *testing.T) {
	text := page()
	for _, a := range rules.Alerts(example.Model()) {
		require.Contains(t, text, "`"+a.Name+"`")
	}
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(document, []byte(text), 0o644))
	}
	want, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "run the test with -update to write docs/alerts.md")
}
