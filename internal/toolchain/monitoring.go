package toolchain

// The programs of the monitoring, of the versions that are deployed. Debian's are years older: its
// Alertmanager (0.25) does not know url_file, its Prometheus (2.42) neither keep_firing_for nor
// retention in the configuration.
var (
	PrometheusTool   = monitoringTool("prometheus", "github.com/prometheus/prometheus/cmd/prometheus")
	PromtoolTool     = monitoringTool("promtool", "github.com/prometheus/prometheus/cmd/promtool")
	AlertmanagerTool = withPages(monitoringTool("alertmanager", "github.com/prometheus/alertmanager/cmd/alertmanager"))
	AmtoolTool       = monitoringTool("amtool", "github.com/prometheus/alertmanager/cmd/amtool")
	BlackboxTool     = monitoringTool("blackbox_exporter", "github.com/prometheus/blackbox_exporter")
	NodeExporterTool = monitoringTool("node_exporter", "github.com/prometheus/node_exporter")
)

// monitoringTool builds one of them. The tag leaves out Prometheus' discovery of targets in clouds,
// and the SDKs of these.
func monitoringTool(name, pkg string) Tool {
	return Tool{
		Name: name, Dir: "internal/toolchain/tools/monitoring", Package: pkg,
		LDFlags: []string{"-s", "-w"}, Tags: []string{"remove_all_sd"},
	}
}

// withPages adds Alertmanager's web pages, which are not in its Go module.
func withPages(tool Tool) Tool {
	const module, page = "github.com/prometheus/alertmanager", "<!doctype html><title>Alertmanager</title>\n"
	tool.Embeds = []Embed{{Module: module, Path: "ui/app/dist/index.html", Content: page}}
	return tool
}
