package rules_test

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/golden"
	"homelab/components/internal/watch"
	"homelab/components/internal/watch/example"
	"homelab/components/monitoring/internal/rules"
)

func TestFiles(t *testing.T) {
	files, err := rules.Files(example.Model())
	require.NoError(t, err)
	for _, f := range files {
		golden.Equal(t, f.Name, f.Content)
	}
	require.Len(t, files, 2+len(example.Model().Subjects))
}

// Nothing is recorded of what nobody measures, or whose name nobody says.
func TestRecordingsNeedBothPrograms(t *testing.T) {
	require.Len(t, rules.Recordings(example.Model()), 2)
	for _, gone := range []string{"cadvisor", "node-exporter"} {
		m := example.Model()
		m.Subjects = slices.DeleteFunc(m.Subjects, func(s watch.Subject) bool { return s.Name == gone })
		assert.Empty(t, rules.Recordings(m), gone)
	}
}

func TestFilesRefuse(t *testing.T) {
	m := example.Model()
	m.Host = ""
	m.Subjects[0].MemoryMiB = 0
	_, err := rules.Files(m)
	golden.Error(t, "refused", err)
}

// Another service has rules of its own, and changes no others.
func TestAnotherServiceAddsItsFile(t *testing.T) {
	before, err := rules.Files(example.Model())
	require.NoError(t, err)
	m := example.Model()
	m.Subjects = append(m.Subjects, watch.Subject{
		Name: "sonarr", Title: "Sonarr", Layer: watch.Service, Hostname: "sonarr.example.com", Target: watch.Target{Port: 1, Path: "/metrics"}, MemoryMiB: 1, Library: true,
	})
	slices.SortFunc(m.Subjects, func(a, b watch.Subject) int { return cmp.Compare(a.Name, b.Name) })
	after, err := rules.Files(m)
	require.NoError(t, err)
	rest := slices.DeleteFunc(slices.Clone(after), func(f rules.File) bool { return f.Name == rules.FileOf("sonarr") })
	require.Len(t, after, len(before)+1)
	require.Equal(t, before, rest)
}

// What is not there has no alerts: none of the parts that a system may lack.
func TestPartsThatAreNotThereHaveNoAlerts(t *testing.T) {
	m := watch.Model{
		Host: "homelab", Domain: "example.com", Timezone: "Europe/Berlin", Shipper: watch.Alloy,
		Retention: watch.Retention{MetricsDays: 1, MetricsGB: 1, LogsDays: 1},
		Subjects:  []watch.Subject{{Name: "radarr", Title: "Radarr", Layer: watch.Service, NoMetrics: "none", MemoryMiB: 1}},
	}
	names := map[string]bool{}
	for _, a := range rules.Alerts(m) {
		names[a.Name] = true
	}
	for _, absent := range []string{
		rules.VPNDown, rules.VPNLeaking, "ForwardedPortDiffers", "WiringDrift", rules.WiringFailed, "IndexersFail", rules.MediaMissing, "MediaNearlyFull",
		"DownloadsNearlyFull", "ContainersNotMeasured", "CertificateExpires", "CertificateInvalid", "OriginPullCertificateExpires", "LogsSilent", "JournalSilent", "DeliveryFails",
		"PrometheusReloadFailed", "BouncerNotPulling", "LoginsFail", rules.ProxyErrors, rules.TargetDown, rules.ServiceSlow, rules.ServiceNotAnswering,
		rules.ServiceReportsErrors, rules.QueueFails,
	} {
		assert.False(t, names[absent], absent)
		assert.True(t, has(rules.Alerts(example.Model()), absent), "%s is an alert of the example", absent)
	}
	assert.True(t, names["BackupTooOld"] && names[rules.ServiceDown] && names[rules.Watchdog])
}

func has(alerts []rules.Alert, name string) bool {
	for _, a := range alerts {
		if a.Name == name {
			return true
		}
	}
	return false
}

// Only what an application says is an alert: a series that nobody has never fires.
func TestApplicationsAreAskedWhatTheySay(t *testing.T) {
	names := func(service, exporter string) (out []string) {
		m := watch.Model{Subjects: []watch.Subject{{Name: service, Title: service, Layer: watch.Service, NoMetrics: "none", MemoryMiB: 1, Exporter: exporter}}}
		for _, a := range rules.Alerts(m) {
			if a.Service == service && strings.Contains(a.Expr, "homelab_app_") {
				assert.Contains(t, a.Expr, `{app="`+service+`"`)
				out = append(out, a.Name)
			}
		}
		return out
	}
	assert.Equal(t, []string{rules.ServiceNotAnswering, rules.ServiceReportsErrors, rules.QueueFails}, names("sonarr", "wire"))
	assert.Equal(t, []string{rules.ServiceNotAnswering, rules.ServiceReportsErrors}, names("prowlarr", "wire"))
	assert.Equal(t, []string{rules.ServiceNotAnswering}, names("jackett", "wire"))
	assert.Empty(t, names("sonarr", ""), "an application that nobody measures")
}

func TestPromtailHasItsOwnSeries(t *testing.T) {
	m := example.Model()
	m.Shipper = watch.Promtail
	for i, s := range m.Subjects {
		if s.Name == "alloy" {
			m.Subjects[i].Name = "promtail"
		}
	}
	var found bool
	for _, a := range rules.Alerts(m) {
		if a.Name == "JournalSilent" {
			found = true
			assert.Contains(t, a.Expr, "promtail_journal_target_lines_total")
			assert.Equal(t, "promtail", a.Service)
		}
	}
	assert.True(t, found)
}

// valueOf finds what a template takes from the series of an alert.
var valueOf = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// Each alert says what is wrong and what to do, tells itself apart from every other one, and names
// what is in the model.
func TestEveryAlertIsComplete(t *testing.T) {
	m := example.Model()
	seen := map[string]bool{}
	for _, a := range rules.Alerts(m) {
		id := strings.Join([]string{a.Name, a.Service, string(a.Severity)}, " ")
		assert.False(t, seen[id], "%s is there twice", id)
		seen[id] = true
		assert.Regexp(t, `^[A-Z][A-Za-z0-9]+$`, a.Name)
		assert.True(t, a.Service == watch.MachineName || m.Has(a.Service), "%s is about %s", id, a.Service)
		if s, ok := m.Subject(a.Service); ok {
			assert.Equal(t, s.Layer, a.Layer, id)
		}
		assert.Equal(t, a.Name == rules.Watchdog, a.Severity == rules.None, id)
		assert.NotEmpty(t, a.Expr, id)
		assert.LessOrEqual(t, len(a.Summary), 100, "%s: a summary is a line on a phone", id)
		assert.Regexp(t, `^[A-Za-z{].*[^.]$`, a.Summary, id)
		assert.Regexp(t, `\.$`, a.Description, id)
		assert.NotContains(t, a.Description, "%!", id)
		for _, label := range valueOf.FindAllStringSubmatch(a.Summary, -1) {
			assert.Contains(t, []string{"jail", "hostname", "from", "to", "unit", "part", "app", "rule_group", "integration", "reason"}, label[1], id)
		}
	}
}

// An alert that inhibits others fires before them, so that they are no messages.
func TestWhatInhibitsFiresFirst(t *testing.T) {
	first := map[string]time.Duration{}
	for _, a := range rules.Alerts(example.Model()) {
		if a.For < first[a.Name] || first[a.Name] == 0 {
			first[a.Name] = a.For
		}
	}
	for cause, consequence := range map[string]string{
		rules.MediaMissing: rules.ServiceDown, rules.VPNDown: rules.ServiceDown, rules.ServiceDown: rules.TargetDown,
	} {
		assert.LessOrEqual(t, first[cause]+time.Minute, first[consequence], "%s is a consequence of %s", consequence, cause)
	}
	assert.LessOrEqual(t, first[rules.ServiceDown]+time.Minute, first[rules.ServiceNotAnswering])
	// That a container is down is known after a minute and a half: so often the machine looks, and is
	// asked.
	for _, consequence := range []string{"AppSecNoVerdict", rules.ProxyErrors, rules.ServiceErrors} {
		assert.LessOrEqual(t, first[rules.ServiceDown]+90*time.Second, first[consequence], consequence)
	}
	assert.LessOrEqual(t, first[rules.ServiceDown]+90*time.Second, first["BouncerNotPulling"]+2*time.Minute, "it waits for two minutes by itself")
	assert.LessOrEqual(t, first[rules.ServiceNotAnswering]+time.Minute, min(first[rules.ServiceReportsErrors], first[rules.QueueFails]))
}

// An alert that inhibits others ends after them, too. What is looked at over some time shows for so
// long what is over.
func TestWhatInhibitsEndsLast(t *testing.T) {
	keeps, shows := map[string]time.Duration{}, map[string]time.Duration{}
	window := regexp.MustCompile(`\[(\d+)m\]`)
	for _, a := range rules.Alerts(example.Model()) {
		keeps[a.Name] = a.KeepFiring
		for _, found := range window.FindAllStringSubmatch(a.Expr, -1) {
			minutes, err := strconv.Atoi(found[1])
			require.NoError(t, err)
			shows[a.Name] = max(shows[a.Name], time.Duration(minutes)*time.Minute)
		}
	}
	for _, consequence := range []string{rules.ProxyErrors, rules.ServiceErrors, rules.ServiceSlow, "AppSecNoVerdict"} {
		require.Positive(t, shows[consequence], consequence)
		assert.Greater(t, keeps[rules.ServiceDown], shows[consequence]+keeps[consequence], "%s goes on after its cause", consequence)
	}
	assert.Greater(t, shows[rules.ProxyErrors]+keeps[rules.ProxyErrors], shows[rules.ServiceErrors])
	for _, cause := range []string{rules.MediaMissing, rules.VPNDown} {
		assert.GreaterOrEqual(t, keeps[cause], keeps[rules.ServiceDown]+5*time.Minute, "%s says it for containers that are down", cause)
	}
}

// A unit that got another name would be told twice, and nobody would notice.
func TestUnitsWithAnAlertOfTheirOwnExist(t *testing.T) {
	var expr string
	for _, a := range rules.Alerts(example.Model()) {
		if a.Name == "UnitFailed" {
			expr = a.Expr
		}
	}
	left := regexp.MustCompile(`unit!~"([^"]+)"`).FindStringSubmatch(expr)
	require.NotEmpty(t, left)
	units := strings.Split(strings.ReplaceAll(left[1], `\\.`, "."), "|")
	require.Len(t, units, 6)
	for _, unit := range units {
		var found []string
		for _, pattern := range []string{"../../../backup/testdata/" + unit + ".golden", "../../../host/files/*/" + unit, "../../../host/files/*/" + unit + ".tmpl"} {
			files, err := filepath.Glob(pattern)
			require.NoError(t, err)
			found = append(found, files...)
		}
		assert.NotEmpty(t, found, "no unit is called %s", unit)
	}
}
