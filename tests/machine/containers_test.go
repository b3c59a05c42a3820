package machine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const declaredState = `{"version": 3, "checkpoint": {"stack": "s", "latest": {"resources": [
 {"urn": "urn:a", "type": "docker:index/network:Network", "inputs": {"name": "caddy-proxy"}},
 {"urn": "urn:old", "type": "docker:index/container:Container", "delete": true, "inputs": {"name": "caddy"}},
 {"urn": "urn:b", "type": "docker:index/container:Container", "outputs": {"privileged": true}, "inputs": {
  "name": "caddy", "user": "1001:1001", "readOnly": true, "init": true, "memory": 256, "memorySwap": 256, "restart": "unless-stopped", "stopTimeout": 10,
  "capabilities": {"adds": ["CAP_NET_BIND_SERVICE"], "drops": ["ALL"]}, "securityOpts": ["no-new-privileges"],
  "logDriver": "json-file", "logOpts": {"max-size": "10m"}, "labels": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "x"},
  "mounts": [{"type": "bind", "source": "/opt/homelab/caddy", "target": "/data", "readOnly": false}, {"type": "bind", "source": "/a", "target": "/b", "readOnly": true}],
  "networksAdvanced": [{"name": "caddy-proxy", "ipv4Address": "172.30.1.2"}], "dns": ["185.12.64.2", "185.12.64.1"],
  "ports": [{"internal": 443, "external": 443, "ip": "100.64.0.1"}], "healthcheck": {"tests": ["CMD", "caddy-health"]},
  "hosts": [{"host": "auth.example.com", "ip": "172.30.1.3"}], "devices": [{"hostPath": "/dev/net/tun", "containerPath": "/dev/net/tun", "permissions": "rw"}]}}
]}}}`

// The words of Docker 26 for that container.
const inspected = `[{"Id": "abc", "Name": "/caddy",
 "State": {"Status": "running", "OOMKilled": false, "StartedAt": "2026-11-30T18:00:00Z", "Health": {"Status": "healthy"}},
 "Config": {"User": "1001:1001", "StopTimeout": 10, "Entrypoint": ["/caddy"], "Cmd": ["run"], "Healthcheck": {"Test": ["CMD", "caddy-health"]}},
 "HostConfig": {"Privileged": false, "ReadonlyRootfs": true, "Init": true, "CapAdd": ["NET_BIND_SERVICE"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
  "Memory": 268435456, "MemorySwap": 268435456, "RestartPolicy": {"Name": "unless-stopped"}, "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
  "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}, {"Type": "bind", "Source": "/opt/homelab/caddy", "Target": "/data"}],
  "Devices": [{"PathOnHost": "/dev/net/tun", "PathInContainer": "/dev/net/tun", "CgroupPermissions": "rw"}], "NetworkMode": "bridge",
  "PortBindings": {"443/tcp": [{"HostIp": "100.64.0.1", "HostPort": "443"}]}, "Dns": ["185.12.64.1", "185.12.64.2"], "ExtraHosts": ["auth.example.com:172.30.1.3"]},
 "NetworkSettings": {"Networks": {"caddy-proxy": {"IPAddress": "172.30.1.2"}}}}]`

func TestWhatDockerRunsIsCompared(t *testing.T) {
	declared, err := readDeclared(strings.NewReader(declaredState))
	require.NoError(t, err)
	running, states, err := readRunning(strings.NewReader(inspected), declared)
	require.NoError(t, err)
	assert.Equal(t, declared, running)
	assert.Equal(t, map[string]state{"caddy": {Status: "running", Health: "healthy", StartedAt: "2026-11-30T18:00:00Z", ID: "abc"}}, states)
	for what, change := range map[string][2]string{
		"a capability more":         {`"CapAdd": ["NET_BIND_SERVICE"]`, `"CapAdd": ["NET_BIND_SERVICE", "SYS_ADMIN"]`},
		"privileged":                {`"Privileged": false`, `"Privileged": true`},
		"another user":              {`"User": "1001:1001"`, `"User": ""`},
		"a root that it can write":  {`"ReadonlyRootfs": true`, `"ReadonlyRootfs": false`},
		"a port more":               {`"HostIp": "100.64.0.1"`, `"HostIp": "0.0.0.0"`},
		"all ports":                 {`"Privileged": false`, `"PublishAllPorts": true`},
		"no limit":                  {`"Memory": 268435456`, `"Memory": 0`},
		"a volume by the other way": {`"Devices":`, `"Binds": ["/:/host"], "Devices":`},
		"another option":            {`"Devices":`, `"Tmpfs": {"/tmp": ""}, "Devices":`},
		"a mount that is writable":  {`"Target": "/b", "ReadOnly": true`, `"Target": "/b"`},
		"a device more":             {`"Devices": [`, `"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rw"}, `},
		"another address":           {`"IPAddress": "172.30.1.2"`, `"IPAddress": "172.30.1.9"`},
		"another network":           {`"Networks": {`, `"Networks": {"bridge": {"IPAddress": "172.17.0.2"}, `},
		"another's network":         {`"NetworkMode": "bridge"`, `"NetworkMode": "container:abc"`},
		"another check":             {`"caddy-health"]`, `"true"]`},
		"another name server":       {`"Dns": ["185.12.64.1"`, `"Dns": ["8.8.8.8"`},
	} {
		require.Contains(t, inspected, change[0], what)
		other, _, err := readRunning(strings.NewReader(strings.Replace(inspected, change[0], change[1], 1)), declared)
		require.NoError(t, err, what)
		assert.NotEqual(t, declared, other, what)
	}
}

func TestStatesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		`x`:                  "reading the stack's state",
		`{"deployment": {}}`: "no latest checkpoint",
		`{"checkpoint": {"latest": {"pending_operations": [{}]}}}`: "1 operations of the stack have not ended",
		`{"checkpoint": {"latest": {"resources": [
			{"urn": "a", "type": "docker:index/container:Container", "inputs": {"name": "a"}}, {"urn": "b", "type": "docker:index/container:Container", "inputs": {"name": "a"}}
		]}}}`: "two containers are called a",
		`{"checkpoint": {"latest": {"resources": [{"urn": "urn:a", "type": "docker:index/container:Container", "inputs": {"name": {"ciphertext": "x"}}}]}}}`: "reading urn:a",
	} {
		_, err := readDeclared(strings.NewReader(text))
		require.ErrorContains(t, err, want)
	}
	_, _, err := readRunning(strings.NewReader("No such object"), nil)
	require.ErrorContains(t, err, "docker inspect")
	_, _, err = readRunning(strings.NewReader(`[{"Name": "/a", "HostConfig": {"PortBindings": {"x": []}}}]`), nil)
	require.ErrorContains(t, err, `a publishes "x"`)
}
