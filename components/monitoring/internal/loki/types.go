package loki

// configuration is the file: the keys that are used, in the documentation's order of blocks.
type configuration struct {
	// AuthEnabled asks for a tenant's name, not for a password. Who may reach Loki at all is the
	// packet filter's to say: the shipper and Grafana, and Prometheus for its metrics.
	AuthEnabled bool         `yaml:"auth_enabled"`
	Server      server       `yaml:"server"`
	Common      common       `yaml:"common"`
	Schema      schemaConfig `yaml:"schema_config"`
	Ingester    ingester     `yaml:"ingester"`
	Querier     querier      `yaml:"querier"`
	QueryRange  queryRange   `yaml:"query_range"`
	ChunkStore  chunkStore   `yaml:"chunk_store_config"`
	Compactor   compactor    `yaml:"compactor"`
	Limits      limits       `yaml:"limits_config"`
	Analytics   analytics    `yaml:"analytics"`
}

type server struct {
	HTTPListenPort int `yaml:"http_listen_port"`
	// GRPCListenAddress is loopback: the parts of the one process talk to each other there.
	GRPCListenAddress string `yaml:"grpc_listen_address"`
	// LogLevel warn: at info Loki logs every query, with what people searched for.
	LogLevel string `yaml:"log_level"`
}

type common struct {
	// InstanceAddr is where the parts find each other; the default is a look at the network
	// interfaces for a private address.
	InstanceAddr      string        `yaml:"instance_addr"`
	PathPrefix        string        `yaml:"path_prefix"`
	ReplicationFactor int           `yaml:"replication_factor"`
	Ring              ring          `yaml:"ring"`
	Storage           commonStorage `yaml:"storage"`
}

type ring struct {
	KVStore kvStore `yaml:"kvstore"`
}

type kvStore struct {
	Store string `yaml:"store"`
}

type commonStorage struct {
	Filesystem commonFilesystem `yaml:"filesystem"`
}

type commonFilesystem struct {
	Chunks string `yaml:"chunks_directory"`
	Rules  string `yaml:"rules_directory"`
}

type schemaConfig struct {
	Configs []schemaPeriod `yaml:"configs"`
}

// schemaPeriod must not be changed once lines are stored by it: a new schema is a further period
// that begins in the future.
type schemaPeriod struct {
	From        string      `yaml:"from"`
	Store       string      `yaml:"store"`
	ObjectStore string      `yaml:"object_store"`
	Schema      string      `yaml:"schema"`
	Index       schemaIndex `yaml:"index"`
}

// schemaIndex needs a period of 24h: retention works on whole days
// (https://grafana.com/docs/loki/v3.7.x/operations/storage/retention/).
type schemaIndex struct {
	Prefix string `yaml:"prefix"`
	Period string `yaml:"period"`
}

type ingester struct {
	MaxChunkAge string `yaml:"max_chunk_age"`
	WAL         wal    `yaml:"wal"`
}

type wal struct {
	ReplayMemoryCeiling string `yaml:"replay_memory_ceiling"`
	// DiskFullThreshold is how full the disk may be before lines are refused, as a share of 1. The
	// shipper keeps trying until there is room again.
	DiskFullThreshold float64 `yaml:"disk_full_threshold"`
}

type querier struct {
	QueryIngestersWithin string `yaml:"query_ingesters_within"`
}

type queryRange struct {
	ResultsCache resultsCache `yaml:"results_cache"`
}

type resultsCache struct {
	Cache cache `yaml:"cache"`
}

type chunkStore struct {
	ChunkCache cache `yaml:"chunk_cache_config"`
}

type cache struct {
	Embedded embeddedCache `yaml:"embedded_cache"`
}

type embeddedCache struct {
	Enabled   bool `yaml:"enabled"`
	MaxSizeMB int  `yaml:"max_size_mb"`
}

type compactor struct {
	WorkingDirectory string `yaml:"working_directory"`
	// RetentionEnabled removes what is older than limits_config says; without it nothing ever goes.
	RetentionEnabled bool `yaml:"retention_enabled"`
	// DeleteRequestStore is required together with RetentionEnabled.
	DeleteRequestStore string `yaml:"delete_request_store"`
}

type limits struct {
	// DeletionMode disabled has no requests to delete lines: who reaches Loki must not erase what it
	// says of him. Retention does without.
	DeletionMode    string `yaml:"deletion_mode"`
	RetentionPeriod string `yaml:"retention_period"`
	// MaxQueryLookback keeps queries off what is about to be removed.
	MaxQueryLookback string `yaml:"max_query_lookback"`
	// MaxQueryLength 0s is no limit but the one above; the default is 30 days.
	MaxQueryLength         string `yaml:"max_query_length"`
	RejectOldSamples       bool   `yaml:"reject_old_samples"`
	RejectOldSamplesMaxAge string `yaml:"reject_old_samples_max_age"`
	// IngestionRateMB is how much is taken in a second, in MB, of all streams together. A shipper
	// that is told to wait waits, and a log file is not lost by that.
	IngestionRateMB int `yaml:"ingestion_rate_mb"`
	// IngestionBurstSizeMB must be more than one push of the shipper, which is 1 MiB.
	IngestionBurstSizeMB    int    `yaml:"ingestion_burst_size_mb"`
	PerStreamRateLimit      string `yaml:"per_stream_rate_limit"`
	PerStreamRateLimitBurst string `yaml:"per_stream_rate_limit_burst"`
	MaxLineSize             string `yaml:"max_line_size"`
	// MaxLineSizeTruncate cuts a longer line instead of refusing it.
	MaxLineSizeTruncate     bool `yaml:"max_line_size_truncate"`
	MaxLabelNamesPerSeries  int  `yaml:"max_label_names_per_series"`
	MaxGlobalStreamsPerUser int  `yaml:"max_global_streams_per_user"`
	// DiscoverServiceName empty keeps Loki from adding a label service_name of its own.
	DiscoverServiceName []string     `yaml:"discover_service_name"`
	ShardStreams        shardStreams `yaml:"shard_streams"`
}

// shardStreams splits a busy stream by a further label, for many ingesters; here is one.
type shardStreams struct {
	Enabled bool `yaml:"enabled"`
}

type analytics struct {
	ReportingEnabled bool `yaml:"reporting_enabled"`
}
