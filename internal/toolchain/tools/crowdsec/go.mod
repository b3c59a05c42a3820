module homelab/internal/toolchain/tools/crowdsec

go 1.26

tool (
	github.com/crowdsecurity/crowdsec/cmd/crowdsec
	github.com/crowdsecurity/crowdsec/cmd/crowdsec-cli
)

require github.com/crowdsecurity/crowdsec v1.7.8

// CrowdSec's own go.mod has these, and a dependent module does not inherit them.
replace (
	github.com/corazawaf/coraza/v3 => github.com/crowdsecurity/coraza/v3 v3.3.3-crowdsec.20251113
	golang.org/x/time => github.com/crowdsecurity/time v0.13.0-crowdsec.20250912
)
