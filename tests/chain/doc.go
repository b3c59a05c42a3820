// Package chain runs the real programs from the files that the program renders for the production
// example, and attacks them.
//
//	go test -tags chain ./tests/chain
//	go test -tags chain -run '^$' -bench Chain -benchtime 5x ./tests/chain
//	go test -tags chain,browser -run InABrowser ./tests/chain
//	HOMELAB_AUTHELIA=image go test -tags chain ./tests/chain
//	HOMELAB_AUTHELIA=/path/to/authelia go test -tags chain ./tests/chain
//
// The third opens services in Chromium. The last two run the same cases on the real portal: on the
// files of the image that the deployment runs, which Docker fetches, and on the executable of
// Authelia's release archive, which is linked against this machine's libraries.
//
// It needs root on Linux, because every container of the deployment becomes a process in namespaces
// of its own: the rendered files at their paths, the container's user, mounts, networks and
// addresses, no capability. Nothing leaves the machine and nothing stays behind: the namespaces
// have no names, and end with the processes in them.
//
// What is not as in production, and where it is replaced:
//
//   - the certificate authority of the proxy (harness_test.go: withLocalAuthority);
//   - CrowdSec's hub, which needs the internet: parsers, scenarios and AppSec rules of our own
//     stand in for those of the hub (internal/lab/crowdsec). Acquisition, profiles, whitelists,
//     the local API and AppSec's listener are the rendered ones;
//   - Authelia, unless an executable of 4.39 or newer is on PATH or named by HOMELAB_AUTHELIA;
//     the output says which one ran. The stand-in's page has no form: in a browser the test sends what
//     a form would;
//   - the services, which echo what reaches them; the portal gets the second configuration of the
//     renderer's example for who logs users in there, whose secrets a test knows (openid_test.go:
//     register);
//   - of the monitoring: Loki, the log shipper and Grafana, whose code is not built here, cAdvisor and
//     the wiring, in whose places recordings of their series are served; what the machine says of
//     itself; the address of the operator's webhook; and times, which are 60 times as short
//     (monitoring_machine_test.go);
//   - Docker's published ports: visitors dial the container's own ones.
package chain
