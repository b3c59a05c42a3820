package rules

// Limits at which somebody is told. Dashboards change the colour of a number at the same.
const (
	// FreeWarning and FreeCritical are how much of a file system must be free, in percent.
	FreeWarning  = 10
	FreeCritical = 5
	// CertificateWarning and CertificateCritical are how many days a certificate of a hostname must
	// be valid.
	CertificateWarning  = 10
	CertificateCritical = 3
	// OriginPullWarning and OriginPullCritical are how many days Cloudflare's client certificate must
	// be valid.
	OriginPullWarning  = 30
	OriginPullCritical = 7
	// TailnetKeyWarning and TailnetKeyCritical are how many days the server's key for the tailnet
	// must be valid.
	TailnetKeyWarning  = 14
	TailnetKeyCritical = 3
	// BackupHours is how old the newest backup may be: one day and a half, as they are made daily.
	BackupHours = 36
	// DrillDays is how old the last restore drill may be: some days more than a month, as they are
	// tried monthly.
	DrillDays = 35
	// SilentSeconds is how old the machine's own numbers may be.
	SilentSeconds = 600
	// MemoryShare is the part of its memory limit that a container may keep in use.
	MemoryShare = 0.9
)
