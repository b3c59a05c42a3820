package prometheus

// ContainerSeries are the series of cAdvisor that are kept: those of which others are recorded,
// with the containers' names. It offers some thirty for each container.
func ContainerSeries() []string {
	return []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"}
}

// MachineSeries are the series of the node exporter that are kept, besides what the machine's own
// program writes. The exporter sees the machine's kernel, but not its file systems and network
// devices.
func MachineSeries() []string {
	return []string{
		"node_boot_time_seconds",
		"node_cpu_seconds_total",
		"node_disk_io_time_seconds_total", "node_disk_read_bytes_total", "node_disk_written_bytes_total",
		"node_load1", "node_load15",
		"node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes",
		"node_pressure_cpu_waiting_seconds_total", "node_pressure_io_waiting_seconds_total", "node_pressure_memory_waiting_seconds_total",
		"node_textfile_scrape_error",
		"node_timex_maxerror_seconds", "node_timex_sync_status",
		"node_vmstat_oom_kill",
	}
}

// ProbeSeries are the series of a probe that are kept.
func ProbeSeries() []string {
	return []string{"probe_ssl_earliest_cert_expiry", "probe_success", "probe_tls_version_info"}
}
