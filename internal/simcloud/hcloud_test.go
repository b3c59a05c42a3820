package simcloud

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var serverIn = m{"name": "homelab", "serverType": "cx33", "image": "debian-13", "location": "fsn1"}

func TestUniqueNames(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	for token, in := range map[string]m{
		typeFirewall: {"name": "same"}, typeVolume: {"name": "same", "size": 10.0, "location": "fsn1"},
		typePrimaryIP:  {"name": "same", "type": "ipv4", "location": "fsn1"},
		typeStorageBox: {"name": "same", "location": "fsn1", "storageBoxType": "bx11", "password": "Abcdefgh1234!"},
		typeServer:     with(serverIn, m{"name": "same"}),
	} {
		first := e.create(token, "a", in)
		assert.Contains(t, e.refuse(token, "b", in), "uniqueness_error", token)
		second := e.create(token, "c", with(in, m{"name": "other"}))
		require.ErrorContains(t, e.update(second, in), "uniqueness_error", token)
		require.NoError(t, e.update(first, in), token)
	}
}

func TestPrimaryIP(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	in := m{"name": "ip", "type": "ipv4", "location": "fsn1"}
	assert.Contains(t, e.refusals(typePrimaryIP, with(in, m{"type": "ipv5"}))[0], "expected type to be one of")
	assert.Contains(t, e.refusals(typePrimaryIP, with(in, m{"location": nil}))[0], "exactly one of")
	assert.Contains(t, e.refusals(typePrimaryIP, with(in, m{"location": nil, "assigneeId": 1.0}))[0], "configured together")
	assert.Contains(t, e.refusals(typePrimaryIP, with(in, m{"location": nil, "datacenter": "fsn1-dc14"}))[0], "removed")
	assert.Contains(t, e.refuse(typePrimaryIP, "x", with(in, m{"location": "mars"})), "location mars not found")

	ip := e.create(typePrimaryIP, "ip", with(in, m{"deleteProtection": true}))
	assert.Regexp(t, `^198\.51\.100\.\d+$`, ip.out["ipAddress"])
	assert.ElementsMatch(t, []string{"location"}, e.diff(ip, with(in, m{"location": "nbg1", "deleteProtection": true})).GetReplaces())
	require.ErrorContains(t, e.delete(ip), "protected")
	require.NoError(t, e.update(ip, in))

	six := e.create(typePrimaryIP, "six", m{"name": "six", "type": "ipv6", "location": "fsn1"})
	server := e.create(typeServer, "s", with(serverIn, m{"publicNets": []any{m{"ipv4": ip.num(t), "ipv6": six.num(t)}}}))
	assert.Equal(t, ip.out["ipAddress"], server.out["ipv4Address"])
	assert.Equal(t, six.out["ipAddress"], server.out["ipv6Address"])
	assert.Equal(t, six.out["ipNetwork"], server.out["ipv6Network"])
	require.ErrorContains(t, e.delete(ip), "must_be_unassigned")
	assert.Contains(t, e.refuse(typeServer, "t", with(serverIn, m{"name": "t", "publicNets": []any{m{"ipv4": ip.num(t)}}})), "already assigned")
	require.NoError(t, e.delete(server))
	require.NoError(t, e.delete(ip))
	require.NoError(t, e.delete(six))
	assert.Empty(t, w.Inventory())
}

func TestServerAddresses(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	ip := e.create(typePrimaryIP, "ip", m{"type": "ipv4", "location": "nbg1"})
	six := e.create(typePrimaryIP, "six", m{"type": "ipv6", "location": "fsn1"})
	net := func(v m) m { return with(serverIn, m{"publicNets": []any{v}}) }
	assert.Contains(t, e.refuse(typeServer, "s", net(m{"ipv4": ip.num(t)})), "not in the location")
	assert.Contains(t, e.refuse(typeServer, "s", net(m{"ipv4": six.num(t)})), "not of type ipv4")
	assert.Contains(t, e.refuse(typeServer, "s", net(m{"ipv4": 4.0})), "not found")

	server := e.create(typeServer, "s", net(m{"ipv4Enabled": true, "ipv6Enabled": false}))
	assert.NotEmpty(t, server.out["ipv4Address"])
	assert.Empty(t, server.out["ipv6Address"])
	own := server.out["ipv4Address"]
	require.NoError(t, e.update(server, net(m{"ipv4Enabled": true, "ipv6": six.num(t)})))
	assert.Equal(t, own, server.out["ipv4Address"])
	assert.Equal(t, six.out["ipAddress"], server.out["ipv6Address"])

	assigned := m{"type": "ipv4", "assigneeId": server.num(t), "assigneeType": "server"}
	assert.Contains(t, e.refuse(typePrimaryIP, "later", assigned), "server_has_ipv4")
	bare := e.create(typeServer, "bare", with(net(m{"ipv4Enabled": false}), m{"name": "bare"}))
	later := e.create(typePrimaryIP, "later", with(assigned, m{"assigneeId": bare.num(t)}))
	assert.Equal(t, "fsn1", later.out["location"])
	require.True(t, e.refresh(bare))
	assert.Equal(t, later.out["ipAddress"], bare.out["ipv4Address"])
}

func TestServerIsRefused(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	for want, change := range map[string]m{
		"server type cx99 not found":        {"serverType": "cx99"},
		"location moon not found":           {"location": "moon"},
		"unsupported location":              {"location": "ash"},
		"image debian-3 for architecture":   {"image": "debian-3"},
		"not a valid hostname":              {"name": "a_b"},
		"ssh key not found: nobody":         {"sshKeys": []any{"nobody"}},
		"firewall with ID '7' not found":    {"firewallIds": []any{7.0}},
		"must be at most 32 KiB":            {"userData": strings.Repeat("x", 32<<10+1)},
		"networks and placement groups are": {"placementGroupId": 1.0},
		"at most 5 firewalls":               {"firewallIds": fiveAndOne(e)},
	} {
		assert.Contains(t, e.refuse(typeServer, "s", with(serverIn, change)), want)
	}
	assert.Contains(t, e.refusals(typeServer, with(serverIn, m{"location": nil, "datacenter": "x"}))[0], "removed")
	assert.Contains(t, e.refusals(typeServer, with(serverIn, m{"sshKeys": []any{""}}))[0], "at least 1 character")

	server := e.create(typeServer, "s", with(serverIn, m{"userData": strings.Repeat("x", 32<<10), "deleteProtection": true}))
	require.ErrorContains(t, e.delete(server), "protected")
	assert.Equal(t, []string{"userData"}, e.diff(server, with(serverIn, m{"userData": "y", "deleteProtection": true})).GetReplaces())
	assert.Empty(t, e.diff(server, with(serverIn, m{"userData": strings.Repeat("x", 32<<10), "serverType": "cx43"})).GetReplaces())
	require.NoError(t, e.update(server, with(serverIn, m{"serverType": "cx43"})))
	assert.Equal(t, 160.0, server.out["primaryDiskSize"])
	require.ErrorContains(t, e.update(server, serverIn), "disk is bigger")
	require.ErrorContains(t, e.update(server, with(serverIn, m{"serverType": "cax31"})), "architecture")
	require.NoError(t, e.delete(server))
}

func fiveAndOne(e *engine) []any {
	var out []any
	for i := range 6 {
		out = append(out, e.create(typeFirewall, "f", m{"name": fmt.Sprint("f", i)}).num(e.t))
	}
	return out
}

func TestServerTakesKeysByIDAndName(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	key := e.create(typeSSHKey, "k", with(sshKeyIn, m{"name": "laptop"}))
	e.create(typeServer, "s", with(serverIn, m{"sshKeys": []any{key.id, "laptop"}}))
	assert.Contains(t, e.refuse(typeSSHKey, "k2", m{"publicKey": "nonsense"}), "invalid_input")
}

func TestFirewall(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	rule := m{"direction": "in", "protocol": "tcp", "port": "443", "sourceIps": []any{"0.0.0.0/0", "::/0"}}
	for want, change := range map[string]m{
		`one of ["in" "out"]`:        {"direction": "up"},
		`one of ["icmp" "tcp" "udp"`: {"protocol": "http"},
		"not a valid port":           {"port": "70000"},
		"not a valid port or":        {"port": nil},
		"port is not allowed":        {"protocol": "icmp"},
		"at least one address range": {"sourceIps": []any{}},
		"host bits":                  {"sourceIps": []any{"10.0.0.1/8"}},
		"invalid CIDR address":       {"sourceIps": []any{"10.0.0.1"}},
		"only be used with":          {"destinationIps": []any{"10.0.0.0/8"}},
	} {
		assert.Contains(t, strings.Join(e.refusals(typeFirewall, m{"rules": []any{with(rule, change)}}), "\n"), want)
	}
	fw := e.create(typeFirewall, "fw", m{"name": "fw", "rules": []any{rule, with(rule, m{"port": "80-85"})}})
	server := e.create(typeServer, "s", with(serverIn, m{"firewallIds": []any{fw.num(t)}}))
	require.ErrorContains(t, e.delete(fw), "resource_in_use")

	require.NoError(t, e.update(fw, m{"name": "fw"}), "taking every rule away does nothing, and says nothing")
	live, err := w.Live(typeFirewall, "fw")
	require.NoError(t, err)
	assert.Len(t, live["rules"], 2)
	require.True(t, e.refresh(fw))
	assert.Len(t, fw.out["rules"], 2, "a refresh shows it")

	at := e.create(typeFirewallAttachment, "at", m{"firewallId": fw.num(t), "serverIds": []any{server.num(t)}})
	assert.Contains(t, e.refuse(typeFirewallAttachment, "at2", m{"firewallId": fw.num(t), "serverIds": []any{server.num(t)}}), "only one may exist")
	assert.Contains(t, e.refuse(typeFirewallAttachment, "at3", m{"firewallId": 5.0, "serverIds": []any{server.num(t)}}), "not found")
	assert.NotEmpty(t, e.refusals(typeFirewallAttachment, m{"firewallId": 5.0}))
	require.NoError(t, e.update(server, serverIn))
	require.ErrorContains(t, e.delete(fw), "resource_in_use", "the attachment still holds it")
	require.NoError(t, e.delete(at))
	require.NoError(t, e.delete(fw))
	assert.Len(t, w.Inventory(), 1)
}

func TestVolumeAndRdns(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	server := e.create(typeServer, "s", serverIn)
	assert.Contains(t, e.refusals(typeVolume, m{"size": 5.0, "location": "fsn1"})[0], "10 - 10240")
	assert.Contains(t, e.refusals(typeVolume, m{"size": 10.0})[0], "exactly one of location and server_id")
	assert.Contains(t, e.refuse(typeVolume, "v", m{"size": 10.0, "serverId": 3.0}), "not found")
	vol := e.create(typeVolume, "v", m{"name": "v", "size": 20.0, "serverId": server.num(t), "deleteProtection": true})
	assert.Equal(t, "fsn1", vol.out["location"])
	require.ErrorContains(t, e.delete(vol), "protected")
	require.ErrorContains(t, e.update(vol, m{"name": "v", "size": 10.0, "serverId": server.num(t)}), "only grow")

	assert.Contains(t, e.refusals(typeRdns, m{"ipAddress": "x", "dnsPtr": "a.example.com", "serverId": 1.0})[0], "valid IP address")
	assert.Contains(t, e.refusals(typeRdns, m{"ipAddress": "1.1.1.1", "dnsPtr": "a.example.com"})[0], "exactly one of")
	assert.Contains(t, e.refuse(typeRdns, "r", m{"ipAddress": "1.1.1.1", "dnsPtr": "a.example.com", "serverId": server.num(t)}), "does not belong")
	rdns := e.create(typeRdns, "r", m{"ipAddress": server.out["ipv4Address"], "dnsPtr": "a.example.com", "serverId": server.num(t)})
	assert.Equal(t, "s-"+server.id+"-"+server.out["ipv4Address"].(string), rdns.id)
}

func TestStorageBox(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	in := m{"name": "box", "location": "fsn1", "storageBoxType": "bx11", "password": "Abcdefgh1234!"}
	for _, bad := range []string{"Short1!", "alllowercase1!", "ALLUPPERCASE1!", "NoDigitsHere!!", "NoSpecials1234", "Space in it 1!", "Only~Tilde1234"} {
		got := e.refuse(typeStorageBox, "box", with(in, m{"password": bad}))
		assert.Contains(t, got, "invalid input in field 'password'", bad)
		assert.NotContains(t, got, bad, "no error shows the password")
	}
	assert.Contains(t, e.refuse(typeStorageBox, "box", with(in, m{"storageBoxType": "bx12"})), "not found")
	assert.Contains(t, e.refuse(typeStorageBox, "box", with(in, m{"location": "ash"})), "without storage boxes")
	assert.Contains(t, e.refuse(typeStorageBox, "box", with(in, m{"sshKeys": []any{"x"}})), "ssh_keys")
	assert.Contains(t, e.refuse(typeStorageBox, "box", with(in, m{"snapshotPlan": m{"hour": 1.0, "minute": 1.0, "maxSnapshots": 11.0}})), "max_snapshots")
	assert.Contains(t, e.refusals(typeStorageBox, with(in, m{"snapshotPlan": m{"hour": 24.0, "minute": 1.0, "maxSnapshots": 1.0}}))[0], "between 0 and 23")

	box := e.create(typeStorageBox, "box", with(in, m{"deleteProtection": true}))
	assert.Equal(t, box.out["username"].(string)+".your-storagebox.de", box.out["server"])
	assert.Equal(t, []string{"sshKeys"}, e.diff(box, with(in, m{"deleteProtection": true, "sshKeys": []any{sshKeyIn["publicKey"]}})).GetReplaces())
	assert.Contains(t, w.Secrets(), "Abcdefgh1234!")

	sub := m{"storageBoxId": box.num(t), "homeDirectory": "media", "password": "Abcdefgh1234!", "name": "media"}
	for _, bad := range []string{"/media", "", "a/../b"} {
		assert.NotEmpty(t, e.refusals(typeSubaccount, with(sub, m{"homeDirectory": bad})), bad)
	}
	assert.Contains(t, e.refuse(typeSubaccount, "s", with(sub, m{"storageBoxId": 9.0})), "not found")
	account := e.create(typeSubaccount, "s", sub)
	assert.True(t, strings.HasPrefix(account.out["username"].(string), box.out["username"].(string)+"-sub"))
	assert.Contains(t, e.refuse(typeSubaccount, "s2", sub), "uniqueness_error")
	require.NoError(t, e.update(account, with(sub, m{"homeDirectory": "films"})))

	require.NoError(t, e.delete(box), "the provider lifts its own lock")
	assert.False(t, e.refresh(account), "a box takes its subaccounts with it")
	assert.Empty(t, w.Inventory())
}

func TestHetznerInvokes(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	typ, err := e.invoke("hcloud:index/getServerType:getServerType", m{"name": "cx33"})
	require.NoError(t, err)
	assert.Equal(t, 8.0, typ["memory"])
	assert.Equal(t, "x86", typ["architecture"])
	assert.Len(t, typ["locations"], 3)
	box, err := e.invoke("hcloud:index/getStorageBoxType:getStorageBoxType", m{"name": "bx21"})
	require.NoError(t, err)
	assert.Equal(t, 5.0*(1<<40), box["size"])
	loc, err := e.invoke("hcloud:index/getLocation:getLocation", m{"id": 3.0})
	require.NoError(t, err)
	assert.Equal(t, "hel1", loc["name"])
	for token, args := range map[string]m{"getServerType": {"name": "cx1"}, "getStorageBoxType": {"name": "bx1"}, "getLocation": {"name": "x"}} {
		_, err := e.invoke("hcloud:index/"+token+":"+token, args)
		require.ErrorContains(t, err, "not found")
	}
}
