// Command caddy-usual is Caddy with CrowdSec's own module, as people usually build it: what the
// benchmark of the chain compares ours with. Nothing is deployed from it.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/hslatman/caddy-crowdsec-bouncer/appsec"
	_ "github.com/hslatman/caddy-crowdsec-bouncer/http"
)

func main() { caddycmd.Main() }
