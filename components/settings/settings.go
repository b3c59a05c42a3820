package settings

import (
	"net/netip"
	"time"

	"homelab/components/internal/access"
	"homelab/components/internal/grants"
	"homelab/components/internal/imageref"
	"homelab/components/internal/plan"
	"homelab/components/internal/qualityprofile"
	"homelab/components/internal/smtp"
	"homelab/components/internal/vpnserver"
	"homelab/components/internal/watch"
)

// Settings is a stack's configuration: complete, defaults filled in, and valid.
type Settings struct {
	// Domain is the zone's apex, lower case, ASCII (homelab:domain; required).
	Domain string
	// Timezone is the IANA zone that schedules and logs use (homelab:timezone; default Etc/UTC).
	Timezone string
	// AdminEmail is the ACME contact and the mail address of last resort (homelab:adminEmail;
	// required).
	AdminEmail string
	// Protect makes the engine refuse to delete or replace the server, the Storage Boxes and the
	// primary IPs (homelab:protect; default true).
	Protect bool
	// Cloudflare is the zone and its rules (homelab:cloudflare).
	Cloudflare Cloudflare
	// Tailscale is the tailnet and who is in it (homelab:tailscale).
	Tailscale Tailscale
	// SMTP is the mail server that messages are sent through; nil means that nothing is mailed
	// (homelab:smtp; default absent).
	SMTP *smtp.Server
	// Server is the machine (homelab:server).
	Server Server
	// Ports are the ports the server listens on (homelab:ports).
	Ports Ports
	// Storage is the Storage Boxes (homelab:storage).
	Storage Storage
	// Alerts is who hears of what fails on the server (homelab:alerts).
	Alerts Alerts
	// Monitoring is what is measured and kept; nil means that there is none (homelab:monitoring;
	// default on).
	Monitoring *Monitoring
	// Backup is when a backup is made and what of it is kept (homelab:backup).
	Backup Backup
	// Networks are the container networks (homelab:networks).
	Networks Networks
	// VPN is what the torrent client is behind; nil means that there is neither (homelab:vpn;
	// default provider off).
	VPN *vpnserver.VPN
	// Wiring is how the services are connected with each other (homelab:wiring).
	Wiring Wiring
	// Users are the people the portal knows, sorted by name (homelab:users; at least one, one in
	// group admins).
	Users []User
	// Auth is the portal (homelab:auth).
	Auth Auth
	// Services are the services of the catalogue that are on, in its order (homelab:services).
	Services []Service
	// CustomServices are the operator's own services, sorted by name (homelab:customServices;
	// default none).
	CustomServices []CustomService
	// Credentials are the secrets the stack works with, each under a key of its own.
	Credentials Credentials
}

// Hostnames are the full names of everything that is served, the portal's first.
func (s *Settings) Hostnames() []string {
	out := []string{s.Auth.Hostname}
	for _, service := range s.Services {
		out = append(out, service.Hostname)
	}
	for _, service := range s.CustomServices {
		out = append(out, service.Hostname)
	}
	return out
}

// Cloudflare is the zone and its rules.
type Cloudflare struct {
	// ZoneID is the zone's ID: 32 hexadecimal digits (zoneId; required).
	ZoneID string
	// Plan is the zone's plan; it limits the rules below (plan; default free).
	Plan plan.Plan
	// Certificates are the names, below the domain, of which Cloudflare's edge has a certificate
	// for what lies one level below them, as it has for the domain's; sorted (certificates; their
	// part before the domain; default none).
	Certificates []string
	// BlockedCountries are ISO 3166-1 alpha-2 codes, upper case, sorted; their visitors are blocked
	// at the edge (blockedCountries; default none).
	BlockedCountries []string
	// RateLimit is how often one address may try to log in (rateLimit).
	RateLimit RateLimit
	// HSTS is what browsers are told to remember of the zone's HTTPS (hsts).
	HSTS HSTS
	// Rules are the operator's own custom WAF rules, in the order they are evaluated, after the
	// built-in ones (rules; default none).
	Rules []Rule
}

// HSTS is what browsers are told to remember, for a year, of the zone's HTTPS: every hostname that
// Cloudflare proxies for the zone says it.
type HSTS struct {
	// IncludeSubdomains holds for every name below the one visited too, also for those that this
	// program does not know (includeSubdomains; default false).
	IncludeSubdomains bool
	// Preload lets browsers' makers put the zone into the browsers; getting out again takes months
	// (preload; default false; needs IncludeSubdomains).
	Preload bool
}

// RateLimit is how often one address may ask the portal to check a password or a code. Cloudflare
// counts per data centre.
type RateLimit struct {
	// Requests is how many requests are allowed in one period (requests; default 10).
	Requests int
	// PeriodSeconds is the counting period in seconds (periodSeconds; default 10; limited by the
	// plan).
	PeriodSeconds int
	// BlockSeconds is for how many seconds an address is blocked once over the limit (blockSeconds;
	// default 10; limited by the plan).
	BlockSeconds int
}

// RuleAction is what a custom WAF rule does with a request it matches.
type RuleAction string

// The actions a custom rule may take.
const (
	Block            RuleAction = "block"
	ManagedChallenge RuleAction = "managed_challenge"
	JSChallenge      RuleAction = "js_challenge"
	Challenge        RuleAction = "challenge"
	// Log only records the match; Enterprise plan only.
	Log RuleAction = "log"
)

// Rule is a custom WAF rule of the operator.
type Rule struct {
	// Name identifies the rule: lower-case letters, digits and hyphens, unique (name; required).
	Name string
	// Expression is in Cloudflare's Rules language (expression; required; matches needs Business or
	// larger).
	Expression string
	// Action is what happens to a matching request (action; required).
	Action RuleAction
}

// Tailscale is the tailnet and who is in it.
type Tailscale struct {
	// Tailnet is the MagicDNS suffix, such as tail1234.ts.net (tailnet; required).
	Tailnet string
	// Admins are the logins that reach SSH and every private service, sorted (admins; at least
	// one).
	Admins []string
	// Members are the logins that reach private services only, sorted (members; default none).
	Members []string
	// OverwritePolicy takes over a policy file that is already there; without it a first deployment
	// to a tailnet with a policy fails and changes nothing (overwritePolicy; default false).
	OverwritePolicy bool
	// Extra are the operator's own grants and tags (extraGrants, extraTagOwners; default none).
	Extra grants.Extra
}

// Server is the machine.
type Server struct {
	// Name is the server's and its host name: one DNS label (name; default homelab).
	Name string
	// Type is the Hetzner server type (type; default cx43).
	Type string
	// Location is the Hetzner location (location; default fsn1).
	Location string
	// Image is the Debian system image (image; default debian-13).
	Image string
	// Generation counts the machines: another number replaces the server by a new one, with the
	// same addresses (generation; default 1).
	Generation int
	// DiskGB is the disk of the type, in GB; it follows from Type.
	DiskGB int
	// BreakGlass opens SSH to the internet for one CIDR; nil keeps it closed (breakGlass; default
	// absent).
	BreakGlass *BreakGlass
}

// BreakGlass is a way in for when the tailnet is not there.
type BreakGlass struct {
	// CIDR is where SSH may come from: public, at most /16 (IPv4) or /48 (IPv6) wide (cidr;
	// required).
	CIDR netip.Prefix
	// Reason says why the hole is there (reason; required).
	Reason string
}

// Ports are the ports the server listens on.
type Ports struct {
	// HTTPS is the TCP port Cloudflare connects to, one of those it proxies (https; default 443).
	HTTPS int
	// SSH is the TCP port of the host's SSH daemon (ssh; default 22).
	SSH int
	// Tailscale is the UDP port of the tailnet's direct connections (tailscale; default 41641).
	Tailscale int
}

// Storage is the Storage Boxes.
type Storage struct {
	// Media holds the media library (media; default bx21 in fsn1).
	Media MediaBox
	// Backup holds the backup repository (backup; default bx11 in hel1).
	Backup BackupBox
	// Downloads is the part of the server's disk that downloads have for themselves (downloads).
	Downloads Downloads
}

// Downloads is the part of the server's disk that downloads have for themselves.
type Downloads struct {
	// SizeGB is its size in GB; it can grow, not shrink (sizeGB; default 40).
	SizeGB int
}

// Wiring is how the services are connected with each other.
type Wiring struct {
	// Enforce are the services whose settings are put back when somebody changed them by hand;
	// those of others are reported, sorted (enforce; default none).
	Enforce []string
	// JackettIndexers are the IDs of Jackett's indexers that are set up and given to Prowlarr
	// (jackettIndexers; default none).
	JackettIndexers []string
	// ProwlarrIndexers are the names of definitions of public indexers of Prowlarr's own
	// (prowlarrIndexers; default none).
	ProwlarrIndexers []string
	// QualityProfiles are those of the TRaSH guides that Radarr and Sonarr get, by the name of the
	// service; the first one is that of what people ask for (qualityProfiles; default none).
	QualityProfiles map[string][]qualityprofile.Profile
}

// MediaBox is the Storage Box of the media library.
type MediaBox struct {
	// Type is the Storage Box type (type; default bx21).
	Type string
	// Location is the Hetzner location (location; default fsn1).
	Location string
	// Protocol is how the server mounts it (protocol; default webdav).
	Protocol MediaProtocol
	// Snapshots is the provider's own snapshot plan (snapshots).
	Snapshots Snapshots
}

// MediaProtocol is how the media library is mounted.
type MediaProtocol string

// The protocols of the media library.
const (
	// WebDAV is WebDAV through rclone.
	WebDAV MediaProtocol = "webdav"
	// SFTP is SFTP through rclone.
	SFTP MediaProtocol = "sftp"
	// Davfs2 is WebDAV through davfs2, which fetches whole files before it shows any of them.
	Davfs2 MediaProtocol = "davfs2"
)

// mediaProtocols are the protocols there are.
var mediaProtocols = []string{string(Davfs2), string(SFTP), string(WebDAV)}

// BackupBox is the Storage Box of the backups.
type BackupBox struct {
	// Type is the Storage Box type (type; default bx11).
	Type string
	// Location is the Hetzner location; another one than the server's survives its loss (location;
	// default hel1).
	Location string
	// Snapshots is the provider's own snapshot plan (snapshots).
	Snapshots Snapshots
}

// Snapshots is the snapshot plan of a Storage Box: one a day. What is deleted takes up the box's
// space until the last snapshot of it is gone.
type Snapshots struct {
	// Max is how many snapshots are kept; the type limits it (max; default 10).
	Max int
	// Hour is the hour in UTC at which one is taken (hour; default 3).
	Hour int
	// Minute is the minute of that hour (minute; default 15).
	Minute int
}

// Alerts is who hears of what fails on the server, such as a backup; at least one way, or a reason
// for none.
type Alerts struct {
	// Webhook sends it to Credentials.AlertsWebhook (webhook; default false).
	Webhook bool
	// Format is what the webhook takes (format; default ntfy).
	Format watch.Format
	// Mail sends it through SMTP to AdminEmail (mail; default false).
	Mail bool
	// Nobody says why nobody need hear of it (nobody; required without the others).
	Nobody string
}

// Monitoring is what is measured and kept.
type Monitoring struct {
	// Shipper is the program that sends the logs (shipper; default alloy).
	Shipper watch.Shipper
	// Retention is how much is kept (metrics.days, default 30; metrics.sizeGB, default 5; logs.days,
	// default 14).
	Retention watch.Retention
	// DeadMansSwitch tells Credentials.DeadMansSwitch every few minutes that alerts would arrive
	// (deadMansSwitch; default false).
	DeadMansSwitch bool
}

// Backup is when a backup is made and what of it is kept.
type Backup struct {
	// Hour is the hour at which the daily backup starts, in the time zone above (hour; default 1).
	Hour int
	// Minute is the minute of that hour (minute; default 30).
	Minute int
	// JitterMinutes is by how much each start is put off at random, at most 180 (jitterMinutes;
	// default 30).
	JitterMinutes int
	// DrillDay is the day of the month, 1 to 28, on which a restore is tried (drillDay; default 2).
	DrillDay int
	// Keep is how many archives are kept (keep).
	Keep Keep
}

// Keep is how many archives a prune by the operator keeps: the newest of each of so many days,
// weeks, months and years.
type Keep struct {
	// Daily is at least 1 (daily; default 7).
	Daily int
	// Weekly may be 0 (weekly; default 4).
	Weekly int
	// Monthly may be 0 (monthly; default 6).
	Monthly int
	// Yearly may be 0 (yearly; default 1).
	Yearly int
}

// Networks are the container networks: private IPv4, at least /25, not overlapping. Containers have
// fixed addresses in them.
type Networks struct {
	// CaddyProxy joins the proxy and what it forwards to (caddyProxy; default 172.30.1.0/24).
	CaddyProxy netip.Prefix
	// GrafanaMonitoring joins what measures and what is measured (grafanaMonitoring; default
	// 172.30.2.0/24).
	GrafanaMonitoring netip.Prefix
	// Gluetun is behind the VPN tunnel (gluetun; default 172.30.3.0/24).
	Gluetun netip.Prefix
	// AutheliaSession joins the portal and its session store (autheliaSession; default
	// 172.30.4.0/24).
	AutheliaSession netip.Prefix
}

// User is a person the portal knows.
type User struct {
	// Name is the login: lower case, unique (name; required).
	Name string
	// DisplayName is how the person is addressed (displayName; default the name).
	DisplayName string
	// Email is where the portal writes to, unique (email; required).
	Email string
	// Groups are what the person may use, sorted (groups; at least one).
	Groups []string
	// Password is the one the operator chose, 12 to 128 characters; the zero value means that one
	// is generated (homelab:userPasswords, by name; secret).
	Password Secret
}

// AdminsGroup is the group of the people who administer the server; at least one user holds it.
const AdminsGroup = "admins"

// Auth is the portal: where it is and how long a login lasts.
type Auth struct {
	// Hostname is the portal's full name, such as auth.example.com (hostname; its label; default
	// auth).
	Hostname string
	// SessionDomain is the domain below which a login holds: every host there receives the
	// session's cookie, so a host that is taken over can use it (sessionDomain; its part before the
	// domain; default the domain).
	SessionDomain string
	// SessionInactivity ends a session that was not used for so long (sessionInactivity; default
	// 1h).
	SessionInactivity time.Duration
	// SessionExpiration ends a session this long after the login (sessionExpiration; default 12h).
	SessionExpiration time.Duration
	// RememberMe replaces SessionExpiration where the person asked to be remembered; 0 offers it to
	// nobody (rememberMe; 0s or off for nobody; default 30d).
	RememberMe time.Duration
}

// Service is how a service is reached and what it may use.
type Service struct {
	// Name is the service's name: its key in homelab:services or homelab:customServices.
	Name string
	// Hostname is the full name, such as requests.example.com (hostname; its label).
	Hostname string
	// Visibility is from where the hostname can be reached (visibility).
	Visibility access.Visibility
	// Access is who may use the service (access).
	Access access.Access
	// Bypass are the paths that skip the portal (bypass; default none), each for the methods that
	// only read unless it names its own (methods; default GET, HEAD, OPTIONS).
	Bypass []access.Bypass
	// Uploads are the paths that take files of more than 10 MB (uploads; default none).
	Uploads []access.Upload
	// MemoryMiB is the container's memory limit in MiB, at least 64 (memoryMiB).
	MemoryMiB int
}

// CustomService is a service of the operator's own. It can say no more than a service of the
// catalogue can, so the same checks hold.
type CustomService struct {
	Service
	// Image is what runs (image; required, with tag and digest).
	Image imageref.Reference
	// Port is the TCP port on which the service answers inside its container (port; required).
	Port int
	// User is the uid:gid in numbers that the container runs as, not root (user; required).
	User string
	// HealthPath is the path whose answer, below 400, says that the service works (health.path).
	HealthPath string
	// HealthCommand is the program in the container that says so, with its arguments
	// (health.command); exactly one of HealthPath and HealthCommand is set.
	HealthCommand []string
	// Command replaces the image's default arguments (command; default the image's own).
	Command []string
	// Environment are variables that are no secrets (environment; default none).
	Environment map[string]string
	// Folders are where it keeps what must outlive the container (folders; default none).
	Folders []CustomFolder
	// Scratch are folders in memory, 64 MiB each, gone with the container (scratch; default none).
	Scratch []string
	// Library is where it finds the media library, to read; empty means nowhere (library; default
	// none).
	Library string
	// Uses are the names of the services that it may open connections to (uses; default none).
	Uses []string
	// Internet lets it reach public addresses (reaches: none or internet; default none).
	Internet bool
	// Slot is its number in the range of the networks (slot; default: from its name).
	Slot int
}

// CustomFolder is a folder of a service of the operator's own.
type CustomFolder struct {
	// Path is absolute, inside the container (path; required).
	Path string
	// Databases are the SQLite databases in it, as relative paths; * stands for any name
	// (databases; default none).
	Databases []string
	// Disposable says why it need not be backed up; empty means that it is (disposable).
	Disposable string
}

// Credentials are the secrets the stack works with.
type Credentials struct {
	// AlertsWebhook is the address that takes alerts; not given without Alerts.Webhook
	// (homelab:alertsWebhook).
	AlertsWebhook Secret
	// DeadMansSwitch is the address that is told that all is well; not given without
	// Monitoring.DeadMansSwitch (homelab:deadMansSwitchUrl).
	DeadMansSwitch Secret
	// HcloudToken is a read and write token of the Hetzner project (hcloud:token).
	HcloudToken Secret
	// CloudflareAPIToken configures the zone (cloudflare:apiToken).
	CloudflareAPIToken Secret
	// CloudflareACMEToken lets the proxy answer DNS challenges (homelab:cloudflareAcmeToken).
	CloudflareACMEToken Secret
	// CloudflareBanToken lets Fail2ban block addresses at the edge (homelab:cloudflareBanToken).
	CloudflareBanToken Secret
	// SMTPPassword is the password at the mail server; not given without SMTP
	// (homelab:smtpPassword).
	SMTPPassword Secret
	// TailscaleOAuthClientID names the OAuth client; not a secret (tailscale:oauthClientId).
	TailscaleOAuthClientID string
	// TailscaleOAuthClientSecret is the client's secret (tailscale:oauthClientSecret).
	TailscaleOAuthClientSecret Secret
	// VPNConfiguration and VPNPassword are the provider's file and the login's password, with
	// OpenVPN (homelab:vpnConfiguration, homelab:vpnPassword).
	VPNConfiguration, VPNPassword Secret
	// VPNPrivateKey is with WireGuard, VPNPresharedKey with a provider that gives one
	// (homelab:vpnPrivateKey, homelab:vpnPresharedKey).
	VPNPrivateKey, VPNPresharedKey Secret
}
