package simcloud

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/boxkeys"
	"homelab/internal/rehearsal"
)

var webRule = m{"direction": "in", "protocol": "tcp", "port": "80-443", "sourceIps": []any{"192.0.2.0/24", "2001:db8::/32"}}

func TestAServerIsAMachine(t *testing.T) {
	f := newRealFleet(t)
	fw := f.hcloud.create(typeFirewall, "fw", m{"name": "fw", "rules": []any{webRule}})
	four := f.hcloud.create(typePrimaryIP, "four", m{"name": "four", "type": "ipv4", "location": "nbg1", "autoDelete": false})
	six := f.hcloud.create(typePrimaryIP, "six", m{"name": "six", "type": "ipv6", "location": "nbg1", "autoDelete": false})
	key := f.hcloud.create(typeSSHKey, "key", sshKeyIn)
	in := with(serverIn, m{
		"location": "nbg1", "sshKeys": []any{key.id}, "serverType": "cx23", "userData": "#cloud-config\nhostname: homelab\n", "firewallIds": []any{fw.num(t)}, "shutdownBeforeDeletion": true,
		"publicNets": []any{m{"ipv4Enabled": true, "ipv4": four.num(t), "ipv6Enabled": true, "ipv6": six.num(t)}},
	})
	assertAsked(t, f.rack)
	server := f.hcloud.create(typeServer, "s", in)
	assertAsked(t, f.rack, "boot "+server.id)
	got := f.rack.servers[server.id]
	assert.Equal(t, rehearsal.Server{
		ID: server.id, Name: "homelab", Image: text(serverIn, "image"), UserData: "#cloud-config\nhostname: homelab\n",
		IPv4: netip.MustParseAddr(four.out["ipAddress"].(string)), IPv6: netip.PrefixFrom(netip.MustParseAddr(six.out["ipAddress"].(string)), 64),
		Location: "nbg1", SSHKeys: []string{text(sshKeyIn, "publicKey")}, CPUs: 2, MemoryMB: 4096, DiskGB: 40,
		Firewall: []rehearsal.Rule{{Protocol: "tcp", First: 80, Last: 443, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}},
	}, got)
	assert.Empty(t, f.w.Machines()[0].TailnetIP, "it joins by itself, or not at all")

	f.rack.off[server.id] = true
	require.True(t, f.hcloud.refresh(server))
	assert.Equal(t, "off", server.out["status"])
	assertAsked(t, f.rack, "machines")

	require.NoError(t, f.hcloud.update(server, with(in, m{"serverType": "cx33"})))
	assertAsked(t, f.rack, "change "+server.id, "firewall "+server.id)
	assert.Equal(t, 8192, f.rack.servers[server.id].MemoryMB)
	require.NoError(t, f.hcloud.update(server, with(in, m{"serverType": "cx33", "deleteProtection": true, "rebuildProtection": true})))
	f.rack.since()
	require.ErrorContains(t, f.hcloud.delete(server), "protected")
	assertAsked(t, f.rack)
	require.NoError(t, f.hcloud.update(server, with(in, m{"serverType": "cx33"})))
	f.rack.since()
	require.NoError(t, f.hcloud.delete(server))
	assertAsked(t, f.rack, "delete "+server.id+" true")
	assert.Empty(t, f.w.Machines())

	next := f.hcloud.create(typeServer, "s", in)
	assert.NotEqual(t, server.id, next.id)
	assert.Equal(t, got.IPv4, f.rack.servers[next.id].IPv4, "the address outlives the machine")
	delete(f.rack.servers, next.id)
	assert.False(t, f.hcloud.refresh(next), "a machine that is gone is a server that is")
}

func TestAServerThatDoesNotBootExistsAllTheSame(t *testing.T) {
	f := newRealFleet(t)
	f.rack.failures["boot"] = errors.New("qemu-system-x86_64 is not installed")
	server, err := f.hcloud.try(typeServer, "s", serverIn)
	require.ErrorContains(t, err, "starting server homelab: qemu-system-x86_64 is not installed")
	require.NotNil(t, server, "the engine must know what it has to delete")
	assert.Len(t, f.w.Unready(), 1)
	f.rack.failures["delete"] = errors.New("busy")
	require.ErrorContains(t, f.hcloud.delete(server), "busy")
	require.Len(t, f.w.Machines(), 1, "what could not be deleted is still there")
	delete(f.rack.failures, "delete")
	require.NoError(t, f.hcloud.delete(server))
	assert.Empty(t, f.w.Inventory())
}

func TestFaultsHitBeforeTheMachine(t *testing.T) {
	f := newRealFleet(t)
	f.w.Inject(Fault{Type: typeServer, Operation: OpCreate, Times: 1, Err: "sold out"})
	assert.Equal(t, "sold out", f.hcloud.refuse(typeServer, "s", serverIn))
	assertAsked(t, f.rack)
	f.w.Inject(Fault{Type: typeServer, Operation: OpCreate, Times: 1, Err: "connection lost", Partial: true})
	server, err := f.hcloud.try(typeServer, "s", serverIn)
	require.ErrorContains(t, err, "connection lost")
	assertAsked(t, f.rack, "boot "+server.id)
	assert.Contains(t, f.rack.servers, server.id)
}

func TestTheWorldGoesOnWhileAMachineBoots(t *testing.T) {
	f := newRealFleet(t)
	f.rack.booting = make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := f.hcloud.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(typeServer, "s"), Properties: f.hcloud.wire(with(serverIn, m{"name": "homelab"}))})
		done <- err
	}()
	require.Eventually(t, func() bool { return len(f.rack.since()) == 1 }, 5*time.Second, time.Millisecond)
	f.hcloud.create(typeFirewall, "fw", m{"name": "fw"})
	select {
	case err := <-done:
		t.Fatalf("the create has ended: %v", err)
	default:
	}
	f.hcloud.cancel(t.Context())
	require.ErrorContains(t, <-done, "context canceled", "Ctrl-C ends the wait")
}

func TestAPreviewAsksNoMachine(t *testing.T) {
	f := newRealFleet(t)
	for token, in := range map[string]m{typeServer: with(serverIn, m{"name": "homelab"}), typeACL: {"acl": policyBase(nil)}} {
		e := f.hcloud
		if token == typeACL {
			e = f.tailscale
		}
		_, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(token, "x"), Properties: e.wire(in), Preview: true})
		require.NoError(t, err)
	}
	assertAsked(t, f.rack)
}

func TestFirewallsReachTheMachine(t *testing.T) {
	f := newRealFleet(t)
	server := f.hcloud.create(typeServer, "s", serverIn)
	open := []rehearsal.Rule{{Protocol: "any", Sources: anywhere}}
	assert.Equal(t, open, f.rack.servers[server.id].Firewall, "a server without a firewall is open")
	icmp := m{"direction": "in", "protocol": "icmp", "sourceIps": []any{"0.0.0.0/0"}}
	fw := f.hcloud.create(typeFirewall, "fw", m{"name": "fw", "rules": []any{icmp}})
	f.rack.since()
	attachment := f.hcloud.create(typeFirewallAttachment, "a", m{"firewallId": fw.num(t), "serverIds": []any{server.num(t)}})
	assertAsked(t, f.rack, "firewall "+server.id)
	assert.Equal(t, []rehearsal.Rule{{Protocol: "icmp", Sources: anywhere[:1]}}, f.rack.servers[server.id].Firewall)
	require.NoError(t, f.hcloud.update(fw, m{"name": "fw", "rules": []any{icmp, webRule}}))
	assert.Len(t, f.rack.servers[server.id].Firewall, 2)

	f.rack.failures["firewall"] = errors.New("no answer")
	require.ErrorContains(t, f.hcloud.update(fw, m{"name": "fw", "rules": []any{icmp}}), "no answer")
	live, err := f.w.Live(typeFirewall, "fw")
	require.NoError(t, err)
	assert.Len(t, live["rules"], 2, "what did not reach the machine is not so")
	require.ErrorContains(t, f.hcloud.delete(attachment), "no answer")
	delete(f.rack.failures, "firewall")
	out := with(webRule, m{"direction": "out", "sourceIps": nil, "destinationIps": []any{"0.0.0.0/0"}})
	require.ErrorContains(t, f.hcloud.update(fw, m{"name": "fw", "rules": []any{out}}), "not part of a rehearsal")
	assert.Len(t, f.rack.servers[server.id].Firewall, 2)
	require.NoError(t, f.hcloud.delete(attachment))
	assert.Equal(t, open, f.rack.servers[server.id].Firewall)
}

func TestWhatIsNotRehearsedIsRefused(t *testing.T) {
	f := newRealFleet(t)
	assert.Contains(t, f.hcloud.refuse(typeVolume, "v", m{"name": "v", "size": 10.0, "location": "nbg1"}), "not part of a rehearsal on machines")
	assert.Contains(t, f.tailscale.refuse(typeTailnetSettings, "s", m{"devicesApprovalOn": true}), "not part of a rehearsal on machines")
}

func TestTheTailnetIsReal(t *testing.T) {
	f := newRealFleet(t)
	f.rack.failures["policy"] = errors.New("line 3: no such group")
	assert.Contains(t, f.tailscale.refuse(typeACL, "acl", m{"acl": policyBase(nil)}), "failed to set ACL: line 3: no such group")
	assert.Empty(t, f.w.Policy())
	assert.Empty(t, f.w.Inventory())
	delete(f.rack.failures, "policy")
	acl := f.tailscale.create(typeACL, "acl", m{"acl": policyBase(nil)})
	assert.Equal(t, policyBase(nil), f.rack.policy)
	assert.NotEmpty(t, f.tailscale.refuse(typeTailnetKey, "k", with(keyIn, m{"tags": []any{"tag:nobody"}})))

	f.rack.failures["key"] = errors.New("no")
	assert.Contains(t, f.tailscale.refuse(typeTailnetKey, "k", keyIn), "failed to create key: no")
	assert.Empty(t, f.w.state.Keys)
	delete(f.rack.failures, "key")
	key := f.tailscale.create(typeTailnetKey, "k", with(keyIn, m{"reusable": false, "expiry": 3600.0}))
	assert.Equal(t, "secret-of-key-1", key.out["key"])
	assert.True(t, f.tailscale.read(key.props)["key"].IsSecret())
	assert.Contains(t, f.w.Secrets(), "secret-of-key-1")
	assert.Equal(t, time.Hour, f.rack.keys["1"].Expiry)
	assert.Equal(t, []string{"tag:server"}, f.rack.keys["1"].Tags)

	server := f.hcloud.create(typeServer, "s", with(serverIn, m{"userData": "#!/bin/sh\ntailscale up --auth-key=secret-of-key-1"}))
	_, err := f.tailscale.invoke("tailscale:index/getDevice:getDevice", m{"hostname": "homelab"})
	require.ErrorContains(t, err, "could not find device")
	require.True(t, f.tailscale.refresh(key))
	assert.Equal(t, false, key.out["invalid"])
	time.AfterFunc(50*time.Millisecond, func() { f.join(server.id, "100.64.0.7") })
	d, err := f.tailscale.invoke("tailscale:index/getDevice:getDevice", m{"hostname": "homelab", "waitFor": "10s"})
	require.NoError(t, err, "it waits for a machine that boots")
	assert.Equal(t, []any{"100.64.0.7"}, d["addresses"])
	require.True(t, f.tailscale.refresh(key))
	assert.Equal(t, true, key.out["invalid"], "it was for one machine")
	assert.Equal(t, "100.64.0.7", f.w.Machines()[0].TailnetIP)
	all, err := f.tailscale.invoke("tailscale:index/getDevices:getDevices", m{})
	require.NoError(t, err)
	assert.Len(t, all["devices"], 1, "nobody is made up")

	f.rack.since()
	require.NoError(t, f.tailscale.delete(key))
	assertAsked(t, f.rack, "delete-key 1")
	require.NoError(t, f.tailscale.delete(acl))
	assertAsked(t, f.rack)
	acl = f.tailscale.create(typeACL, "acl", m{"acl": policyBase(nil), "overwriteExistingContent": true, "resetAclOnDestroy": true})
	require.NoError(t, f.tailscale.delete(acl))
	assert.Empty(t, f.rack.policy)
}

const boxPassword = "Long-enough-1"

var boxIn = m{"storageBoxType": "bx11", "location": "fsn1", "password": boxPassword}

func TestStorageBoxesAreServed(t *testing.T) {
	f := newRealFleet(t)
	box := f.hcloud.create(typeStorageBox, "media", with(boxIn, m{
		"name": "media", "accessSettings": m{"webdavEnabled": true, "reachableExternally": true}, "snapshotPlan": m{"maxSnapshots": 7.0, "hour": 3.0, "minute": 30.0},
	}))
	sub := f.hcloud.create(typeSubaccount, "sub", m{
		"storageBoxId": box.num(t), "name": "sub", "homeDirectory": "library", "password": boxPassword, "accessSettings": m{"webdavEnabled": true, "readonly": true},
	})
	got := f.rack.boxes[box.id]
	assert.Equal(t, rehearsal.Box{
		ID: box.id, Name: "media", Location: text(boxIn, "location"), Bytes: 1 << 40, SnapshotSlots: 10, Snapshots: &rehearsal.SnapshotPlan{Max: 7, Hour: 3, Minute: 30},
		Main: rehearsal.Account{User: text(box.out, "username"), Password: text(boxIn, "password"), Server: text(box.out, "server"), WebDAV: true, External: true},
		Subaccounts: []rehearsal.Account{{
			User: text(sub.out, "username"), Password: boxPassword, Server: text(sub.out, "server"), Home: "library", WebDAV: true, ReadOnly: true,
		}},
	}, got)
	f.rack.failures["box"] = errors.New("no address left")
	require.ErrorContains(t, f.hcloud.delete(sub), "no address left")
	require.True(t, f.hcloud.refresh(sub))
	delete(f.rack.failures, "box")
	require.NoError(t, f.hcloud.delete(sub))
	assert.Empty(t, f.rack.boxes[box.id].Subaccounts)
	require.NoError(t, f.hcloud.delete(box))
	assert.Empty(t, f.rack.boxes)
}

// onMachine is a server in the tailnet with an SSH server.
func (f *realFleet) onMachine(s *shell) (*made, m) {
	server := f.hcloud.create(typeServer, "s", serverIn)
	f.join(server.id, "100.64.0.7")
	_, err := f.tailscale.invoke("tailscale:index/getDevices:getDevices", m{})
	require.NoError(f.T, err)
	f.rack.shells["100.64.0.7:22"] = s
	return server, m{"host": "100.64.0.7", "user": "deploy", "hostKey": s.key()}
}

func TestACommandRunsOnTheMachine(t *testing.T) {
	f := newRealFleet(t)
	var ran []string
	s := newShell(t, func(script, stdin string, environ map[string]string) (string, string, uint32) {
		ran = append(ran, script+"|"+stdin+"|"+environ["PULUMI_COMMAND_STDOUT"]+environ["A"])
		if strings.HasPrefix(script, "false") {
			return "some\n", "wrong\n", 3
		}
		return "out of " + script + "\n\n", "said\n", 0
	})
	_, connection := f.onMachine(s)
	c := f.connect("command", m{})
	in := m{"connection": connection, "create": "create it", "update": "update it", "delete": "delete it", "stdin": "content"}
	r := c.create(typeCommand, "file", in)
	assert.Equal(t, "out of create it\n", r.out["stdout"], "one line feed is cut off, as the provider does")
	assert.Equal(t, "said", r.out["stderr"])
	s.accepts = []string{"PULUMI_COMMAND_STDOUT", "A"}
	require.NoError(t, c.update(r, with(in, m{"stdin": "new", "environment": m{"A": "1"}})))
	assert.Equal(t, "out of update it\n", r.out["stdout"])
	require.NoError(t, c.delete(r))
	assert.Equal(t, []string{"create it|content|", "update it|new|out of create it\n1", "delete it|new|out of update it\n1"}, ran)
	recorded := f.w.Commands("100.64.0.7")
	require.Len(t, recorded, 3)
	assert.Equal(t, "deploy", recorded[0].User)
	assert.Empty(t, f.w.Inventory()[1:], "the server alone is left")

	// The two outputs come at the same time, so either may be the first.
	const failed = "Process exited with status 3: running \"false\":\n"
	assert.Contains(t, []string{failed + "some\nwrong\n", failed + "wrong\nsome\n"}, c.refuse(typeCommand, "x", with(in, m{"create": "false"})))
	r = c.create(typeCommand, "y", with(in, m{"update": "false"}))
	require.ErrorContains(t, c.update(r, with(in, m{"update": "false", "stdin": "new"})), "Process exited with status 3")
	require.NoError(t, c.update(r, with(in, m{"update": "good", "stdin": "new"})))
	assert.Equal(t, "could not set environment variable \"B\": ssh: setenv failed", c.refuse(typeCommand, "z", with(in, m{"environment": m{"B": "1"}})))
}

// A machine gets the host keys of the rehearsal's boxes, and the program sees nothing of it.
func TestPinnedHostKeysOfBoxesBecomeTheRehearsals(t *testing.T) {
	f := newRealFleet(t)
	var got []string
	s := newShell(t, func(_, stdin string, _ map[string]string) (string, string, uint32) {
		got = append(got, stdin)
		return "", "", 0
	})
	_, connection := f.onMachine(s)
	c := f.connect("command", m{})
	f.rack.since()
	declared := boxkeys.KnownHosts("u1-sub1.your-storagebox.de")
	in := m{"connection": connection, "create": "put known_hosts", "stdin": declared}
	r := c.create(typeCommand, "known", in)
	assertAsked(t, f.rack, "dial 100.64.0.7:22", "box-keys")
	want := "[u1-sub1.your-storagebox.de]:23 ssh-ed25519 AAAAed\n[u1-sub1.your-storagebox.de]:23 ssh-rsa AAAArsa\n" +
		"[u1-sub1.your-storagebox.de]:23 ecdsa-sha2-nistp521 AAAAec\n"
	assert.Equal(t, []string{want}, got)
	assert.Equal(t, declared, r.out["stdin"])
	assert.Equal(t, declared, f.w.Commands("100.64.0.7")[0].Stdin)
	require.True(t, c.refresh(r))
	assert.Equal(t, declared, r.out["stdin"], "a refresh finds no change")

	wrong := "[u1-sub1.your-storagebox.de]:23 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq0000000000000000000000000000000000000000000\n"
	f.rack.since()
	require.NoError(t, c.update(r, with(in, m{"stdin": wrong})))
	assertAsked(t, f.rack, "dial 100.64.0.7:22")
	assert.Equal(t, wrong, got[1], "a key that is not Hetzner's stays")

	f.rack.failures["box-keys"] = errors.New("gone")
	assert.Contains(t, c.refuse(typeCommand, "x", in), "asking for the host keys of the storage boxes: gone")
	assert.Len(t, got, 2, "the command does not run with keys that no box has")
}

func TestACommandNeedsTheRightMachine(t *testing.T) {
	f := newRealFleet(t)
	s, other := newShell(t, nil), newShell(t, nil)
	_, connection := f.onMachine(s)
	c := f.connect("command", m{})
	connection["dialErrorLimit"], connection["perDialTimeout"] = 2.0, 1.0
	f.rack.since()
	in := m{"connection": connection, "create": "true"}
	assert.Equal(t, "after 2 failed attempts: ssh: handshake failed: ssh: host key mismatch",
		c.refuse(typeCommand, "x", with(in, m{"connection": with(connection, m{"hostKey": other.key()})})))
	assert.Len(t, f.rack.since(), 3)
	assert.Equal(t, "after 2 failed attempts: dial tcp 100.64.9.9:2222: connect: no route to host",
		c.refuse(typeCommand, "x", with(in, m{"connection": with(connection, m{"host": "100.64.9.9", "port": 2222.0})})))
	for want, change := range map[string]m{
		"failed to parse host key": {"hostKey": "AAAA"},
		"ssh: no key found":        {"privateKey": "x"},
		"proxy: after 2 failed":    {"proxy": m{"host": "100.64.9.9", "dialErrorLimit": 2.0}},
		"not part of a rehearsal":  {"agentSocketPath": "/run/agent"},
	} {
		assert.Contains(t, c.refuse(typeCommand, "x", with(in, m{"connection": with(connection, change)})), want)
	}
}

func TestDockersResourcesAreTheEngines(t *testing.T) {
	f := newRealFleet(t)
	server, _ := f.onMachine(newShell(t, nil))
	key := newShell(t, nil).key()
	config := m{"host": "ssh://deploy@100.64.0.7", "sshOpts": []any{"-o", "KnownHostsCommand=/bin/echo 100.64.0.7 " + key}}
	d := f.connect("docker", config)
	image := "docker.io/library/busybox:1@sha256:" + strings.Repeat("a", 64)
	f.rack.answers[rehearsal.Create] = rehearsal.DockerResult{ID: "sha256:1" + image, Outputs: m{"imageId": "sha256:1", "repoDigest": "busybox@sha256:2"}}
	r := d.create(typeRemoteImage, "image", m{"name": image, "keepLocally": true})
	assert.Equal(t, "sha256:1", r.out["imageId"])
	call := f.rack.last()
	assert.Equal(t, "ssh://deploy@100.64.0.7", call.Host)
	assert.Equal(t, []string{key}, call.HostKeys)
	var inputs m
	require.NoError(t, json.Unmarshal(call.Inputs, &inputs))
	assert.Equal(t, image, inputs["name"])
	require.NoError(t, d.delete(r))
	assert.Contains(t, f.w.Residue(), Entity{typeRemoteImage, leftImage(server.id, "sha256:1"), "image"})

	networks := []any{m{"networkName": "n", "ipAddress": "172.18.0.2"}}
	f.rack.answers[rehearsal.Create] = rehearsal.DockerResult{ID: "c1", Outputs: m{"name": "app", "image": "sha256:1", "networkDatas": networks, "restart": "no"}}
	c := d.create(typeContainer, "c", m{"name": "app", "image": "sha256:1"})
	assert.Equal(t, "c1", c.id)
	assert.Equal(t, networks, c.out["networkDatas"])
	f.rack.answers[rehearsal.Read] = rehearsal.DockerResult{ID: "c1", Outputs: m{"name": "renamed", "image": "sha256:1", "restart": "always"}}
	require.True(t, d.refresh(c))
	assert.Equal(t, "renamed", c.out["name"])
	assert.Equal(t, "renamed", d.read(c.inputs)["name"].StringValue(), "what the program gave and is otherwise now")
	assert.NotContains(t, d.read(c.inputs), keyOf("restart"))
	var state m
	require.NoError(t, json.Unmarshal(f.rack.last().State, &state))
	assert.Equal(t, "app", state["name"])
	f.rack.answers[rehearsal.Update] = rehearsal.DockerResult{ID: "c1", Outputs: m{"name": "renamed", "restart": "always"}}
	require.NoError(t, d.update(c, m{"name": "renamed", "image": "sha256:1", "restart": "always"}))
	f.rack.answers[rehearsal.Read] = rehearsal.DockerResult{Gone: true}
	assert.False(t, d.refresh(c))

	f.rack.answers[rehearsal.Create] = rehearsal.DockerResult{ID: "c2", Outputs: m{"name": "app"}, NotReady: "container failed to be in healthy state"}
	sick, err := d.try(typeContainer, "c", m{"name": "app", "image": "sha256:1"})
	require.ErrorContains(t, err, "container failed to be in healthy state")
	require.NotNil(t, sick)
	assert.Equal(t, []Entity{{typeContainer, "c2", "app"}}, f.w.Unready())
	f.rack.failures["docker"] = errors.New("Error stopping container c2: conflict")
	require.ErrorContains(t, d.delete(sick), "Error stopping container c2: conflict")
	delete(f.rack.failures, "docker")
	require.NoError(t, d.delete(sick))
	assert.Empty(t, f.w.Unready())

	lost := f.connect("docker", m{"host": "ssh://deploy@100.64.9.9"})
	assert.Contains(t, lost.refuse(typeNetwork, "n", m{"name": "n"}), "Cannot connect to the Docker daemon at ssh://deploy@100.64.9.9")
}

// What a real engine says of what this project declares, on record, is no change in the
// next preview, and none after a refresh.
func TestWhatTheEngineSaysIsNoChange(t *testing.T) {
	for token, file := range map[string]string{typeContainer: "container", typeNetwork: "network"} {
		text, err := os.ReadFile("../machine/internal/engine/testdata/" + file + ".json")
		require.NoError(t, err)
		var record struct{ Inputs, Outputs m }
		require.NoError(t, json.Unmarshal(text, &record))
		delete(record.Inputs, "__defaults")
		f := newRealFleet(t)
		f.onMachine(newShell(t, nil))
		d := f.connect("docker", m{"host": "ssh://deploy@100.64.0.7"})
		f.rack.answers[rehearsal.Create] = rehearsal.DockerResult{ID: "c1", Outputs: record.Outputs}
		f.rack.answers[rehearsal.Read] = f.rack.answers[rehearsal.Create]
		r := d.create(token, "x", record.Inputs)
		assert.Empty(t, changed(d.diff(r, record.Inputs)), file)
		require.True(t, d.refresh(r))
		assert.Empty(t, changed(d.diff(r, record.Inputs)), file)
		assert.Equal(t, map[string]string{"name": "UPDATE_REPLACE"}, changed(d.diff(r, with(record.Inputs, m{"name": "other"}))), file)
	}
}

func TestAnImageIsBuiltOnTheMachine(t *testing.T) {
	f := newRealFleet(t)
	f.onMachine(newShell(t, nil))
	folder := filepath.Join(f.w.opts.ProjectDir, "images", "x")
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "sub"), 0o755))
	for name, content := range map[string]string{"Dockerfile": "FROM scratch\n", "sub/run": "#!/bin/sh\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o755))
	}
	d := f.connect("docker", m{"host": "ssh://deploy@100.64.0.7"})
	in := m{"imageName": "homelab/x:1", "skipPush": true, "build": m{"context": "images/x", "dockerfile": "images/x/Dockerfile"}}
	r := d.create(typeImage, "x", in)
	assert.Equal(t, "homelab/x:1", r.id)
	assert.Equal(t, "homelab/x:1", r.out["baseImageName"])
	call := f.rack.last()
	assert.Equal(t, "Dockerfile", call.Dockerfile)
	files := map[string]string{}
	for archive := tar.NewReader(bytes.NewReader(call.Context)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		files[header.Name] = string(content)
	}
	assert.Equal(t, map[string]string{"Dockerfile": "FROM scratch\n", "sub/run": "#!/bin/sh\n"}, files)
	f.rack.since()
	require.True(t, d.refresh(r), "the provider never reads it again")
	require.NoError(t, d.delete(r))
	assertAsked(t, f.rack)
	f.rack.failures["docker"] = errors.New("no base image")
	assert.Contains(t, d.refuse(typeImage, "x", in), "no base image")
}

func TestRealAndSimulatedMachinesDoNotMix(t *testing.T) {
	key, file := bytes.Repeat([]byte{1}, KeySize), filepath.Join(t.TempDir(), "world")
	r := newRack(t)
	require.NoError(t, New(Options{Machines: r}).Save(file, key))
	_, err := Load(file, key, Options{})
	require.ErrorIs(t, err, ErrMachines)
	_, err = Load(file, key, Options{Machines: r})
	require.NoError(t, err)
	require.NoError(t, New(Options{}).Save(file, key))
	_, err = Load(file, key, Options{Machines: r})
	require.ErrorIs(t, err, ErrMachines)
}
