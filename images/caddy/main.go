// Command caddy is the proxy of the homelab: Caddy with our own guard (CrowdSec's decisions and
// AppSec), certificates by DNS challenges at Cloudflare, and commands by which a deployment checks
// what is running. Production image and tests are built from this one folder.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-dns/cloudflare"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "homelab/images/caddy/accesslog"
	_ "homelab/images/caddy/guard"

	"homelab/images/caddy/probe"
)

func main() {
	probe.Register()
	caddycmd.Main()
}
