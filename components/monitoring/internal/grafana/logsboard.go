package grafana

// problems finds lines that tell of a problem: the level in the forms in which our programs write
// it.
const problems = `|~ "(?i)(level=|\"level\":\\s*\")(error|fatal|panic|crit)|\\b(ERROR|ERR|FATAL|PANIC)\\b"`

// logsBoard searches the log lines of everything.
func logsBoard() dashboard {
	b := newBoard(logsUID, "Logs", "What all containers and the machine's journal say.", "now-1h")
	b.Templating.List = []variable{
		chosen("layer", "Layer", labelValues{Label: "layer", RefID: "layers", Type: 1}),
		chosen("service", "Service", labelValues{Label: "service", Stream: `{layer=~"$layer"}`, RefID: "services", Type: 1}),
		{Type: "textbox", Name: "search", Label: "Search", Query: "", Current: &option{Text: "", Value: ""}},
	}
	const selected = `{layer=~"$layer", service=~"$service"}`
	b.row("Lines")
	b.add(12, 8,
		logGraph("Lines", "How many lines there are.", "sum by (service) (count_over_time("+selected+" [$__auto]))", "{{service}}"),
		logGraph("Problems", "How many lines tell of a problem.", "sum by (service) (count_over_time("+selected+" "+problems+" [$__auto]))", "{{service}}"),
	)
	b.row("Problems")
	b.add(24, 12, logs("Problems", "Lines that tell of a problem.", selected+" "+problems))
	b.row("Everything")
	b.add(24, 20, logs("Lines", "Every line, or those that the search (a regular expression) finds.", selected+" |~ `(?i)$search`"))
	return b.dashboard
}

// chosen is a choice among the values of one of Loki's labels, all of them at first.
func chosen(name, label string, q labelValues) variable {
	return variable{
		Type: "query", Name: name, Label: label, Datasource: &sourceRef{"loki", lokiUID}, Query: q, Multi: true, IncludeAll: true, AllValue: ".+",
		Current: &option{Selected: true, Text: []string{"All"}, Value: []string{"$__all"}}, Refresh: 2, Sort: 1,
	}
}
