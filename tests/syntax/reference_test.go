package syntax

// kind is the type of an argument or of an export, as the documentation names it.
type kind string

// The kinds that occur.
const (
	text      kind = "string"
	number    kind = "int"
	boolean   kind = "bool"
	duration  kind = "duration"
	texts     kind = "list(string)"
	textMap   kind = "map(string)"
	targets   kind = "list(map(string))"
	receivers kind = "list(LogsReceiver)"
	receiver  kind = "LogsReceiver"
	rules     kind = "RelabelRules"
)

// block is what the documentation says of a block.
type block struct {
	// page is where it says so.
	page string
	// labeled blocks are components: each needs a name of its own.
	labeled bool
	// arguments are by name; required ones are named again.
	arguments map[string]kind
	required  []string
	// blocks are those inside.
	blocks map[string]block
	// exports are what others may refer to.
	exports map[string]kind
}

const pages = "https://grafana.com/docs/alloy/latest/reference/"

// relabelRule is the block rule of both components that relabel.
func relabelRule(page string) block {
	return block{page: page, arguments: map[string]kind{
		"action": text, "modulus": number, "regex": text, "replacement": text, "separator": text, "source_labels": texts, "target_label": text,
	}}
}

// reference has the blocks that the documentation allows, as far as they are near to what is used:
// all arguments of a block that is used, and no block that is not.
var reference = map[string]block{
	"logging": {
		page:      pages + "config-blocks/logging/",
		arguments: map[string]kind{"destination": text, "format": text, "level": text, "write_to": receivers},
	},
	"discovery.docker": {
		page: pages + "components/discovery/discovery.docker/", labeled: true, required: []string{"host"},
		arguments: map[string]kind{
			"host": text, "host_networking_host": text, "match_first_network": boolean, "port": number, "refresh_interval": duration,
			"bearer_token_file": text, "enable_http2": boolean, "follow_redirects": boolean, "no_proxy": text, "proxy_from_environment": boolean, "proxy_url": text,
		},
		exports: map[string]kind{"targets": targets},
	},
	"discovery.relabel": {
		page: pages + "components/discovery/discovery.relabel/", labeled: true, required: []string{"targets"},
		arguments: map[string]kind{"targets": targets},
		blocks:    map[string]block{"rule": relabelRule(pages + "components/discovery/discovery.relabel/#rule")},
		exports:   map[string]kind{"output": targets, "rules": rules},
	},
	"loki.relabel": {
		page: pages + "components/loki/loki.relabel/", labeled: true, required: []string{"forward_to"},
		arguments: map[string]kind{"forward_to": receivers, "max_cache_size": number},
		blocks:    map[string]block{"rule": relabelRule(pages + "components/loki/loki.relabel/#rule")},
		exports:   map[string]kind{"receiver": receiver, "rules": rules},
	},
	"loki.source.docker": {
		page: pages + "components/loki/loki.source.docker/", labeled: true, required: []string{"forward_to", "host", "labels", "targets"},
		arguments: map[string]kind{"forward_to": receivers, "host": text, "labels": textMap, "targets": targets, "refresh_interval": duration, "relabel_rules": rules},
	},
	"loki.source.journal": {
		page: pages + "components/loki/loki.source.journal/", labeled: true, required: []string{"forward_to"},
		arguments: map[string]kind{
			"forward_to": receivers, "format_as_json": boolean, "labels": textMap, "matches": text, "max_age": duration, "path": text, "relabel_rules": rules,
		},
	},
	"loki.source.file": {
		page: pages + "components/loki/loki.source.file/", labeled: true, required: []string{"forward_to", "targets"},
		arguments: map[string]kind{
			"forward_to": receivers, "targets": targets, "encoding": text, "legacy_positions_file": text, "on_positions_file_error": text, "tail_from_end": boolean,
		},
		blocks: map[string]block{"file_match": {
			page:      pages + "components/loki/loki.source.file/#file_match",
			arguments: map[string]kind{"enabled": boolean, "ignore_older_than": duration, "sync_period": duration},
		}},
	},
	"loki.process": {
		page: pages + "components/loki/loki.process/", labeled: true, required: []string{"forward_to"},
		arguments: map[string]kind{"forward_to": receivers},
		blocks: map[string]block{
			"stage.replace": {
				page: pages + "components/loki/loki.process/#stagereplace", required: []string{"expression"},
				arguments: map[string]kind{"expression": text, "replace": text, "source": text},
			},
			"stage.structured_metadata": {
				page:      pages + "components/loki/loki.process/#stagestructured_metadata",
				arguments: map[string]kind{"values": textMap, "regex": text},
			},
			"stage.label_keep": {
				page:      pages + "components/loki/loki.process/#stagelabel_keep",
				arguments: map[string]kind{"values": texts},
			},
		},
		exports: map[string]kind{"receiver": receiver},
	},
	"loki.write": {
		page: pages + "components/loki/loki.write/", labeled: true,
		arguments: map[string]kind{"external_labels": textMap, "max_streams": number},
		blocks: map[string]block{"endpoint": {
			page: pages + "components/loki/loki.write/#endpoint", required: []string{"url"},
			arguments: map[string]kind{
				"url": text, "batch_size": text, "batch_wait": duration, "max_backoff_period": duration, "max_backoff_retries": number,
				"min_backoff_period": duration, "name": text, "remote_timeout": duration, "retry_on_http_429": boolean, "tenant_id": text,
				"bearer_token_file": text, "enable_http2": boolean, "follow_redirects": boolean, "headers": textMap, "no_proxy": text, "proxy_url": text,
			},
		}},
		exports: map[string]kind{"receiver": receiver},
	},
}
