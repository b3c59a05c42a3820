package settings

// The shapes the configuration is decoded into, before it is checked. Only text, whole numbers,
// truth values, lists and objects appear here: what a text means is for the checks to say, with a
// better message.
type (
	raw struct {
		Domain     string        `mapstructure:"domain"`
		Timezone   string        `mapstructure:"timezone"`
		AdminEmail string        `mapstructure:"adminEmail"`
		Protect    bool          `mapstructure:"protect"`
		Cloudflare rawCloudflare `mapstructure:"cloudflare"`
		Tailscale  rawTailscale  `mapstructure:"tailscale"`
		SMTP       rawSMTP       `mapstructure:"smtp"`
		Server     rawServer     `mapstructure:"server"`
		Ports      rawPorts      `mapstructure:"ports"`
		Storage    rawStorage    `mapstructure:"storage"`
		Alerts     rawAlerts     `mapstructure:"alerts"`
		Monitoring rawMonitoring `mapstructure:"monitoring"`
		Backup     rawBackup     `mapstructure:"backup"`
		Networks   rawNetworks   `mapstructure:"networks"`
		Users      []rawUser     `mapstructure:"users"`
		Auth       rawAuth       `mapstructure:"auth"`

		VPN    rawVPN    `mapstructure:"vpn"`
		Wiring rawWiring `mapstructure:"wiring"`

		Services       map[string]rawService       `mapstructure:"services"`
		CustomServices map[string]rawCustomService `mapstructure:"customServices"`
	}

	rawCloudflare struct {
		ZoneID           string       `mapstructure:"zoneId"`
		Plan             string       `mapstructure:"plan"`
		Certificates     []string     `mapstructure:"certificates"`
		BlockedCountries []string     `mapstructure:"blockedCountries"`
		RateLimit        rawRateLimit `mapstructure:"rateLimit"`
		HSTS             rawHSTS      `mapstructure:"hsts"`
		Rules            []rawRule    `mapstructure:"rules"`
	}

	rawHSTS struct {
		IncludeSubdomains bool `mapstructure:"includeSubdomains"`
		Preload           bool `mapstructure:"preload"`
	}

	rawRateLimit struct {
		Requests      int `mapstructure:"requests"`
		PeriodSeconds int `mapstructure:"periodSeconds"`
		BlockSeconds  int `mapstructure:"blockSeconds"`
	}

	rawRule struct {
		Name       string `mapstructure:"name"`
		Expression string `mapstructure:"expression"`
		Action     string `mapstructure:"action"`
	}

	rawTailscale struct {
		Tailnet         string   `mapstructure:"tailnet"`
		Admins          []string `mapstructure:"admins"`
		Members         []string `mapstructure:"members"`
		OverwritePolicy bool     `mapstructure:"overwritePolicy"`

		ExtraGrants    []rawGrant    `mapstructure:"extraGrants"`
		ExtraTagOwners []rawTagOwner `mapstructure:"extraTagOwners"`
	}

	rawGrant struct {
		Src []string `mapstructure:"src"`
		Dst []string `mapstructure:"dst"`
		IP  []string `mapstructure:"ip"`
	}

	rawTagOwner struct {
		Tag    string   `mapstructure:"tag"`
		Owners []string `mapstructure:"owners"`
	}

	rawSMTP struct {
		Host     string `mapstructure:"host"`
		Port     int    `mapstructure:"port"`
		TLS      string `mapstructure:"tls"`
		Username string `mapstructure:"username"`
		Sender   string `mapstructure:"sender"`
	}

	rawAlerts struct {
		Webhook bool   `mapstructure:"webhook"`
		Format  string `mapstructure:"format"`
		Mail    bool   `mapstructure:"mail"`
		Nobody  string `mapstructure:"nobody"`
	}

	rawMonitoring struct {
		Enabled bool   `mapstructure:"enabled"`
		Shipper string `mapstructure:"shipper"`
		Metrics struct {
			Days   int `mapstructure:"days"`
			SizeGB int `mapstructure:"sizeGB"`
		} `mapstructure:"metrics"`
		Logs struct {
			Days int `mapstructure:"days"`
		} `mapstructure:"logs"`
		DeadMansSwitch bool `mapstructure:"deadMansSwitch"`
	}

	rawServer struct {
		Name       string         `mapstructure:"name"`
		Type       string         `mapstructure:"type"`
		Location   string         `mapstructure:"location"`
		Image      string         `mapstructure:"image"`
		Generation int            `mapstructure:"generation"`
		BreakGlass *rawBreakGlass `mapstructure:"breakGlass"`
	}

	rawBreakGlass struct {
		CIDR   string `mapstructure:"cidr"`
		Reason string `mapstructure:"reason"`
	}

	rawPorts struct {
		HTTPS     int `mapstructure:"https"`
		SSH       int `mapstructure:"ssh"`
		Tailscale int `mapstructure:"tailscale"`
	}

	rawStorage struct {
		Media     rawMediaBox  `mapstructure:"media"`
		Backup    rawBackupBox `mapstructure:"backup"`
		Downloads rawDownloads `mapstructure:"downloads"`
	}

	rawDownloads struct {
		SizeGB int `mapstructure:"sizeGB"`
	}

	rawVPN struct {
		Provider       string       `mapstructure:"provider"`
		WireGuard      rawWireGuard `mapstructure:"wireguard"`
		OpenVPN        rawOpenVPN   `mapstructure:"openvpn"`
		PresharedKey   bool         `mapstructure:"presharedKey"`
		PortForwarding bool         `mapstructure:"portForwarding"`
		ForwardedPort  int          `mapstructure:"forwardedPort"`
	}

	rawWireGuard struct {
		Address   string   `mapstructure:"address"`
		Port      int      `mapstructure:"port"`
		PublicKey string   `mapstructure:"publicKey"`
		Addresses []string `mapstructure:"addresses"`
	}

	rawOpenVPN struct {
		Address  string `mapstructure:"address"`
		Port     int    `mapstructure:"port"`
		Protocol string `mapstructure:"protocol"`
		Username string `mapstructure:"username"`
	}

	rawWiring struct {
		Enforce          []string `mapstructure:"enforce"`
		JackettIndexers  []string `mapstructure:"jackettIndexers"`
		ProwlarrIndexers []string `mapstructure:"prowlarrIndexers"`

		QualityProfiles rawQualityProfiles `mapstructure:"qualityProfiles"`
	}

	rawQualityProfiles struct {
		Radarr []string `mapstructure:"radarr"`
		Sonarr []string `mapstructure:"sonarr"`
	}

	rawMediaBox struct {
		Type      string       `mapstructure:"type"`
		Location  string       `mapstructure:"location"`
		Protocol  string       `mapstructure:"protocol"`
		Snapshots rawSnapshots `mapstructure:"snapshots"`
	}

	rawBackupBox struct {
		Type      string       `mapstructure:"type"`
		Location  string       `mapstructure:"location"`
		Snapshots rawSnapshots `mapstructure:"snapshots"`
	}

	rawSnapshots struct {
		Max    int `mapstructure:"max"`
		Hour   int `mapstructure:"hour"`
		Minute int `mapstructure:"minute"`
	}

	rawBackup struct {
		Hour          int     `mapstructure:"hour"`
		Minute        int     `mapstructure:"minute"`
		JitterMinutes int     `mapstructure:"jitterMinutes"`
		DrillDay      int     `mapstructure:"drillDay"`
		Keep          rawKeep `mapstructure:"keep"`
	}

	rawKeep struct {
		Daily   int `mapstructure:"daily"`
		Weekly  int `mapstructure:"weekly"`
		Monthly int `mapstructure:"monthly"`
		Yearly  int `mapstructure:"yearly"`
	}

	rawNetworks struct {
		CaddyProxy        string `mapstructure:"caddyProxy"`
		GrafanaMonitoring string `mapstructure:"grafanaMonitoring"`
		Gluetun           string `mapstructure:"gluetun"`
		AutheliaSession   string `mapstructure:"autheliaSession"`
	}

	rawUser struct {
		Name        string   `mapstructure:"name"`
		DisplayName string   `mapstructure:"displayName"`
		Email       string   `mapstructure:"email"`
		Groups      []string `mapstructure:"groups"`
	}

	rawAuth struct {
		Hostname          string `mapstructure:"hostname"`
		SessionDomain     string `mapstructure:"sessionDomain"`
		SessionInactivity string `mapstructure:"sessionInactivity"`
		SessionExpiration string `mapstructure:"sessionExpiration"`
		RememberMe        string `mapstructure:"rememberMe"`
	}

	rawService struct {
		Enabled    bool        `mapstructure:"enabled"`
		Hostname   string      `mapstructure:"hostname"`
		Visibility string      `mapstructure:"visibility"`
		Access     rawAccess   `mapstructure:"access"`
		Bypass     []rawBypass `mapstructure:"bypass"`
		Uploads    []rawUpload `mapstructure:"uploads"`
		MemoryMiB  int         `mapstructure:"memoryMiB"`
	}

	rawCustomService struct {
		Image       string            `mapstructure:"image"`
		Port        int               `mapstructure:"port"`
		User        string            `mapstructure:"user"`
		Health      rawHealth         `mapstructure:"health"`
		Command     []string          `mapstructure:"command"`
		Environment []rawVariable     `mapstructure:"environment"`
		Folders     []rawCustomFolder `mapstructure:"folders"`
		Scratch     []string          `mapstructure:"scratch"`
		Library     string            `mapstructure:"library"`
		Uses        []string          `mapstructure:"uses"`
		Reaches     string            `mapstructure:"reaches"`
		Slot        int               `mapstructure:"slot"`
		MemoryMiB   int               `mapstructure:"memoryMiB"`

		Hostname   string      `mapstructure:"hostname"`
		Visibility string      `mapstructure:"visibility"`
		Access     rawAccess   `mapstructure:"access"`
		Bypass     []rawBypass `mapstructure:"bypass"`
		Uploads    []rawUpload `mapstructure:"uploads"`
	}

	rawHealth struct {
		Path    string   `mapstructure:"path"`
		Command []string `mapstructure:"command"`
	}

	rawVariable struct {
		Name  string `mapstructure:"name"`
		Value string `mapstructure:"value"`
	}

	rawCustomFolder struct {
		Path       string   `mapstructure:"path"`
		Databases  []string `mapstructure:"databases"`
		Disposable string   `mapstructure:"disposable"`
	}

	rawAccess struct {
		Policy string   `mapstructure:"policy"`
		Groups []string `mapstructure:"groups"`
		Reason string   `mapstructure:"reason"`
	}

	rawBypass struct {
		Path    string   `mapstructure:"path"`
		Methods []string `mapstructure:"methods"`
		Reason  string   `mapstructure:"reason"`
	}

	rawUpload struct {
		Path    string   `mapstructure:"path"`
		Methods []string `mapstructure:"methods"`
		MaxMB   int      `mapstructure:"maxMB"`
		Reason  string   `mapstructure:"reason"`
	}
)
