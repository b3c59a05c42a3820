package alertmanager_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/alertmanager"
	"homelab/components/monitoring/internal/rules"
)

func TestWebhookURL(t *testing.T) {
	const plain = "https://:tk_secret@ntfy.example.com/alerts?priority=high"
	got, err := alertmanager.WebhookURL(plain, watch.Alertmanager)
	require.NoError(t, err)
	assert.Equal(t, plain, got)

	got, err = alertmanager.WebhookURL(plain, watch.Ntfy)
	require.NoError(t, err)
	golden.Equal(t, "ntfy-url", []byte(got+"\n"))
	assert.NotContains(t, got, "{{", "Alertmanager fills in templates of its own in the address")
	u, err := url.Parse(got)
	require.NoError(t, err)
	password, _ := u.User.Password()
	assert.Equal(t, "tk_secret", password)
	assert.Equal(t, "high", u.Query().Get("priority"))

	const own = "https://ntfy.example.com/alerts?template=mine"
	got, err = alertmanager.WebhookURL(own, watch.Ntfy)
	require.NoError(t, err)
	assert.Equal(t, own, got, "a template of the operator's own is kept")
}

func TestWebhookURLRefuses(t *testing.T) {
	for raw, problem := range map[string]string{
		"https://ntfy.example.com/\x7fsecret": "is no URL",
		"ntfy.example.com/secret":             "must begin with https:// or http://",
		"ftp://ntfy.example.com/secret":       "must begin with https:// or http://",
		"https:///secret":                     "name a host",
		"https://ntfy.example.com/secret#x":   "no fragment",
		"https://ntfy.example.com/?secret":    "names no topic",
		"https://ntfy.example.com/x?secret=%": "cannot be read",
	} {
		_, err := alertmanager.WebhookURL(raw, watch.Ntfy)
		require.ErrorContains(t, err, problem)
		assert.NotContains(t, err.Error(), "secret", "the address is a secret")
	}
	_, err := alertmanager.WebhookURL("https://example.com/x", "pager")
	require.ErrorContains(t, err, `"pager" is no format`)
}

// posted is what Alertmanager posts, as far as ntfy's templates look at it.
type posted struct {
	Status          string  `json:"status"`
	TruncatedAlerts int     `json:"truncatedAlerts"`
	Alerts          []alert `json:"alerts"`
}

type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alertOf(status string, a rules.Alert) alert {
	return alert{
		status, map[string]string{"alertname": a.Name, "service": a.Service}, map[string]string{"summary": a.Summary, "description": a.Description},
	}
}

// message fills in the templates of the address as ntfy does: over what was posted, decoded into
// maps, with no functions but Go's own.
func message(t *testing.T, p posted) (title, text string) {
	t.Helper()
	raw, err := alertmanager.WebhookURL("https://ntfy.example.com/alerts", watch.Ntfy)
	require.NoError(t, err)
	u, err := url.Parse(raw)
	require.NoError(t, err)
	require.Equal(t, "yes", u.Query().Get("template"))
	data, err := json.Marshal(p)
	require.NoError(t, err)
	fill := func(name string) string {
		var value any
		require.NoError(t, json.Unmarshal(data, &value))
		parsed, err := template.New("").Parse(u.Query().Get(name))
		require.NoError(t, err)
		var out strings.Builder
		require.NoError(t, parsed.Execute(&out, value))
		return out.String()
	}
	return fill("title"), fill("message")
}

func TestNtfyMessage(t *testing.T) {
	one := rules.Alert{Name: "ServiceDown", Service: "radarr", Summary: "Radarr is down", Description: "Look at its logs."}
	two := rules.Alert{Name: "ServiceDown", Service: "radarr", Summary: "Sonarr is down", Description: "Look at them too."}
	title, text := message(t, posted{Status: "firing", Alerts: []alert{alertOf("firing", one)}})
	assert.Equal(t, "Radarr is down", title)
	assert.Equal(t, "Look at its logs.", text)

	title, text = message(t, posted{Status: "firing", TruncatedAlerts: 3, Alerts: []alert{alertOf("firing", one), alertOf("firing", two), alertOf("resolved", one)}})
	assert.Equal(t, "Radarr is down", title)
	assert.Equal(t, "Look at its logs.\n\nSonarr is down\nLook at them too.\n\nEnded: Radarr is down\n\nand 3 more", text)

	title, text = message(t, posted{Status: "resolved", Alerts: []alert{alertOf("resolved", one)}})
	assert.Equal(t, "Ended: Radarr is down", title)
	assert.Equal(t, "ServiceDown of radarr", text)
}

// ntfy refuses a message of more than 4096 bytes, and Alertmanager does not try again.
func TestNtfyMessageIsNeverTooLong(t *testing.T) {
	var longest rules.Alert
	for _, a := range rules.Alerts(example.Model()) {
		if len(a.Summary+a.Description) > len(longest.Summary+longest.Description) {
			longest = a
		}
	}
	// Names of labels are replaced by values, which may be longer.
	longest.Summary += strings.Repeat("x", 200)
	p := posted{Status: "firing", TruncatedAlerts: 1000}
	for range 5 {
		p.Alerts = append(p.Alerts, alertOf("firing", longest))
	}
	title, text := message(t, p)
	assert.LessOrEqual(t, len(title), 4096)
	assert.LessOrEqual(t, len(text), 4096)
}
