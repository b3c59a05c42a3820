package host

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/components/internal/vpnserver"
)

const certificateEnds = "2031-09-21T05:27:00Z"

// everythingMeasured is a machine that has all there is.
func everythingMeasured() *MetricsArgs {
	return &MetricsArgs{
		Media: &Media{}, Downloads: &Downloads{owner: MediaOwner}, Backup: Root + "/backup/state",
		Tunnel: &MeasuredTunnel{Container: "gluetun", VPN: vpnserver.VPN{PortForwarding: true}, ClientPort: 8080},
	}
}

func TestMetricsSettings(t *testing.T) {
	all, err := everythingMeasured().settings(certificateEnds)
	require.NoError(t, err)
	golden(t, "metrics.json", all)
	none, err := (&MetricsArgs{}).settings(certificateEnds)
	require.NoError(t, err)
	golden(t, "metrics-none.json", none)

	static := everythingMeasured()
	static.Tunnel.VPN, static.Tunnel.ClientPort = vpnserver.VPN{ForwardedPort: 51413}, 0
	got, err := static.settings(certificateEnds)
	require.NoError(t, err)
	assert.Contains(t, got, `"torrent": null`)
	assert.Contains(t, got, `"forwardedPort": 51413`)

	_, err = static.settings("tomorrow")
	assert.ErrorContains(t, err, "reading when the origin-pull certificate ends")
}

func TestMetricsThatAreRefused(t *testing.T) {
	require.NoError(t, everythingMeasured().validatePlain())
	for want, change := range map[string]func(*MetricsArgs){
		`the backup's folder "/root" is not`:            func(a *MetricsArgs) { a.Backup = "/root" },
		`"a b" is not the name of a container`:          func(a *MetricsArgs) { a.Tunnel.Container = "a b" },
		"70000 is not a port":                           func(a *MetricsArgs) { a.Tunnel.ClientPort = 70000 },
		"a torrent client without downloads has no own": func(a *MetricsArgs) { a.Downloads = nil },
	} {
		args := everythingMeasured()
		change(args)
		assert.ErrorContains(t, args.validatePlain(), want)
	}
	err := everythingMeasured().Validate()
	for _, missing := range []string{"no alerts", "shield", "no media", "no downloads"} {
		assert.ErrorContains(t, err, missing)
	}
	assert.ErrorContains(t, (&Metrics{}).Ready(), "no metrics")
	assert.ErrorContains(t, (*Metrics)(nil).Ready(), "no metrics")
}

// The units, the target and the other programs know the places that this package gives out.
func TestMetricsPlaces(t *testing.T) {
	read := func(name string) string {
		body, err := files.ReadFile("files/" + name)
		require.NoError(t, err)
		return string(body)
	}
	target := read("state/homelab.target")
	for _, unit := range []string{"homelab-metrics.service", "homelab-metrics.timer", "homelab-metrics-watch.service", "homelab-metrics-watch.timer"} {
		require.NoError(t, Unit{Name: unit, Content: pulumi.String("")}.Validate())
		text := read("metrics/" + unit)
		if strings.HasSuffix(unit, ".timer") {
			assert.Contains(t, target, unit)
			continue
		}
		assert.Regexp(t, "(?m)^ExecStart="+metricsProgram+" (write|watch) "+metricsSettings+"$", text)
	}
	assert.Contains(t, read("metrics/homelab-metrics.service"), "\nReadWritePaths="+metricsFolder+"\n")
	assert.Contains(t, read("homelab-media"), "\nsentinel="+mediaSentinel+"\n")
}

// The program reads the sets that the filter fills, in both tables.
func TestDropsAreCounted(t *testing.T) {
	program, err := files.ReadFile("files/metrics/homelab-metrics")
	require.NoError(t, err)
	filter, err := renderContainers()
	require.NoError(t, err)
	for _, of := range []struct{ family, table string }{{"bridge", "homelab"}, {"inet", "homelab_containers"}} {
		assert.Contains(t, string(program), `("`+of.family+`", "`+of.table+`")`)
		_, table, found := strings.Cut(filter, "\ntable "+of.family+" "+of.table+" {\n")
		require.True(t, found)
		table, _, _ = strings.Cut(table, "\n}\n")
		assert.Contains(t, table, "\tset dropped {\n")
	}
	// Each rule that drops a packet of containers comes after one that counts it, and with the same
	// condition; one that only counts gives no verdict.
	drops := regexp.MustCompile(`(?m)^\t\t(.*?)counter( drop)?( comment ".*")?$`).FindAllStringSubmatchIndex(filter, -1)
	require.NotEmpty(t, drops)
	counted := 0
	for _, d := range drops {
		condition := filter[d[2]:d[3]]
		if strings.HasSuffix(filter[:d[0]], "\t\t"+condition+"update @dropped { ip saddr . ip daddr counter }\n") {
			counted++
			continue
		}
		assert.True(t, strings.HasSuffix(filter[:d[0]], "\t\tmeta nfproto ipv4 accept\n"), "only what is not IPv4 may be dropped without being counted: %s", filter[d[0]:d[1]])
	}
	assert.Equal(t, strings.Count(filter, "update @dropped"), counted)
}
