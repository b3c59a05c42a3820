package simcloud

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"
)

var sshKeyIn = m{"publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"}

func with(base m, more m) m {
	out := m{}
	for k, v := range base {
		out[k] = v
	}
	for k, v := range more {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

func TestDebugProvidersIsSorted(t *testing.T) {
	s, err := New(Options{}).Serve(t.Context())
	require.NoError(t, err)
	assert.Regexp(t, `^cloudflare:\d+,command:\d+,docker:\d+,hcloud:\d+,random:\d+,tailscale:\d+,tls:\d+$`, s.DebugProviders())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
}

// gRPC closes the engine's connection when nothing is asked for long, and opens another one.
func TestAConnectionThatWasClosedForIdlenessGoesOn(t *testing.T) {
	long, engines := idle, clientIdle
	idle, clientIdle = 200*time.Millisecond, 300*time.Millisecond
	t.Cleanup(func() { idle, clientIdle = long, engines })
	connect := clouds(t, New(Options{}))
	create := func(e *engine, name string) error {
		_, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{
			Urn: urnOf("hcloud:index/sshKey:SshKey", name), Properties: e.wire(with(sshKeyIn, m{"name": name})),
		})
		return err
	}
	first := connect("hcloud")
	time.Sleep(3 * clientIdle) // it is looked at times that are so far apart
	require.NoError(t, create(first, "x"))
	second := connect("hcloud", m{"token": strings.Repeat("b", 64)})
	time.Sleep(3 * clientIdle)
	require.ErrorContains(t, create(second, "y"), "several providers of this package are configured differently")
}

func TestConfigurationIsRefusedWithoutCredentials(t *testing.T) {
	connect := clouds(t, New(Options{}))
	unknown := resource.PropertyMap{"token": resource.MakeComputed(resource.NewStringProperty(""))}
	for _, c := range []struct {
		pkg  string
		args resource.PropertyMap
		want string
	}{
		{"hcloud", resource.PropertyMap{}, "the Hetzner Cloud API token is missing"},
		{"hcloud", resource.NewPropertyMapFromMap(m{"token": "short"}), "exactly 64 characters"},
		{"hcloud", unknown, ""},
		{"hcloud", resource.NewPropertyMapFromMap(m{"tokens": "x"}), "unexpected argument 'tokens'"},
		{"hcloud", resource.NewPropertyMapFromMap(m{"token": true}), "expected a string"},
		{"cloudflare", resource.PropertyMap{}, "credentials are missing"},
		{"cloudflare", resource.NewPropertyMapFromMap(m{"apiToken": "a b"}), "must only contain"},
		{"tailscale", resource.NewPropertyMapFromMap(m{"oauthClientId": "x"}), "credentials are empty"},
		{"tailscale", resource.NewPropertyMapFromMap(m{"apiKey": "x", "oauthClientSecret": "y"}), "conflicting"},
		{"docker", resource.NewPropertyMapFromMap(m{"host": "ssh://root@100.64.0.1", "sshOpts": `["-o","X"]`}), ""},
		{"tls", resource.PropertyMap{}, ""},
	} {
		e := connect(c.pkg)
		resp, err := e.client.CheckConfig(t.Context(), &pulumirpc.CheckRequest{News: e.wireMap(c.args)})
		require.NoError(t, err)
		if c.want == "" {
			assert.Empty(t, resp.GetFailures(), c.pkg)
			continue
		}
		require.Len(t, resp.GetFailures(), 1, "%s %v", c.pkg, c.args)
		assert.Contains(t, resp.GetFailures()[0].GetReason(), c.want)
	}
}

func TestEveryTypeOfTheTableIsSimulated(t *testing.T) {
	for token := range schema.Resources {
		k, ok := kinds[token]
		if assert.True(t, ok, token) {
			assert.NotNil(t, k.create, token)
			for _, name := range k.replaces {
				_, isInput := schema.Resources[token].Inputs[name]
				shared := strings.HasPrefix(token, "tls:") // its certificates share one list
				assert.True(t, isInput || shared || name == "*" || name == "id", "%s has no %s", token, name)
			}
			for _, name := range append(append([]string{}, k.computed...), k.volatile...) {
				assert.Contains(t, schema.Resources[token].Outputs, name, token)
			}
		}
	}
	for token := range kinds {
		assert.Contains(t, schema.Resources, token)
	}
	for token := range schema.Functions {
		assert.Contains(t, functions, token)
	}
}

func TestCheckIsStrict(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	assert.Equal(t, []string{"publicKey: missing required property 'publicKey'"}, e.refusals(typeSSHKey, m{}))
	assert.Equal(t, []string{"publickey: an unexpected argument 'publickey' was provided"}, e.refusals(typeFirewall, m{"publickey": "x"}))
	assert.Equal(t, []string{"publicKey: expected a string, got bool"}, e.refusals(typeSSHKey, m{"publicKey": true}))
	assert.Equal(t, []string{"labels.a: expected a string, got number"}, e.refusals(typeSSHKey, with(sshKeyIn, m{"labels": m{"a": 1.0}})))
	assert.Equal(t, []string{"rules[0].direction: missing required property 'rules[0].direction'", "rules[0].from: an unexpected argument 'rules[0].from' was provided"},
		e.refusals(typeFirewall, m{"rules": []any{m{"protocol": "tcp", "from": "x"}}}))
	assert.Equal(t, []string{"size: expected an integer, got number"}, e.refusals(typeVolume, m{"size": 10.5, "location": "fsn1"}))

	unknown := resource.PropertyMap{"publicKey": resource.MakeComputed(resource.NewStringProperty(""))}
	assert.Empty(t, e.checkMap(typeSSHKey, "x", unknown).GetFailures())
}

func TestNamesAreMadeFromTheSeedAndKept(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	key := e.create(typeSSHKey, "laptop", sshKeyIn)
	assert.Regexp(t, `^laptop-[0-9a-f]{7}$`, key.out["name"])
	again := e.checkMap(typeSSHKey, "laptop", resource.NewPropertyMapFromMap(sshKeyIn))
	assert.Equal(t, key.out["name"], e.read(again.GetInputs())["name"].StringValue())

	assert.Equal(t, pulumirpc.DiffResponse_DIFF_NONE, e.diff(key, sshKeyIn).GetChanges(), "the old name stays")
	resp, err := e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(typeSSHKey, "x"), News: e.wire(sshKeyIn),
		Autonaming: &pulumirpc.CheckRequest_AutonamingOptions{ProposedName: "proposed", Mode: pulumirpc.CheckRequest_AutonamingOptions_PROPOSE}})
	require.NoError(t, err)
	assert.Equal(t, "proposed", e.read(resp.GetInputs())["name"].StringValue())
	resp, err = e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(typeSSHKey, "x"), News: e.wire(sshKeyIn),
		Autonaming: &pulumirpc.CheckRequest_AutonamingOptions{Mode: pulumirpc.CheckRequest_AutonamingOptions_DISABLE}})
	require.NoError(t, err)
	assert.Len(t, resp.GetFailures(), 1)
}

func TestPreviewOfACreateHasUnknownsAndNoEffect(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	checked := e.checkMap(typePrimaryIP, "ip", resource.NewPropertyMapFromMap(m{"type": "ipv4", "location": "fsn1"}))
	resp, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(typePrimaryIP, "ip"), Properties: checked.GetInputs(), Preview: true})
	require.NoError(t, err)
	props := e.read(resp.GetProperties())
	assert.True(t, props["ipAddress"].IsComputed())
	assert.True(t, props["assigneeId"].IsComputed(), "the cloud fills it in")
	assert.Equal(t, "fsn1", props["location"].StringValue())
	assert.NotContains(t, props, resource.PropertyKey("autoDelete"))
	assert.Empty(t, w.Inventory())
	assert.Empty(t, w.Journal())
}

func TestSecretsStaySecret(t *testing.T) {
	w := New(Options{})
	connect := clouds(t, w)
	e := connect("random")
	pw := e.create(typePassword, "pw", m{"length": 20.0})
	props := e.read(pw.props)
	assert.True(t, props["result"].IsSecret())
	assert.True(t, props["bcryptHash"].IsSecret())
	assert.False(t, props["length"].IsSecret())
	assert.Contains(t, w.Secrets(), pw.out["result"])

	preview, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(typePassword, "pw"), Properties: pw.inputs, Preview: true})
	require.NoError(t, err)
	assert.True(t, e.read(preview.GetProperties())["result"].IsSecret())

	h := connect("hcloud")
	in := resource.NewPropertyMapFromMap(with(sshKeyIn, m{"name": "k"}))
	in["labels"] = resource.NewObjectProperty(resource.PropertyMap{"a": resource.MakeSecret(resource.NewStringProperty("hidden"))})
	created, err := h.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(typeSSHKey, "k"), Properties: h.wireMap(in)})
	require.NoError(t, err)
	assert.True(t, h.read(created.GetProperties())["labels"].IsSecret(), "an output is as secret as its input")
	read, err := h.client.Read(t.Context(), &pulumirpc.ReadRequest{Id: created.GetId(), Urn: urnOf(typeSSHKey, "k"), Properties: created.GetProperties(), Inputs: h.wireMap(in)})
	require.NoError(t, err)
	assert.True(t, h.read(read.GetProperties())["labels"].IsSecret())
	assert.True(t, h.read(read.GetInputs())["labels"].IsSecret())

	box := h.checkMap(typeStorageBox, "box", resource.NewPropertyMapFromMap(m{"location": "fsn1", "storageBoxType": "bx11", "password": "Abcdefgh1234!"}))
	assert.True(t, h.read(box.GetInputs())["password"].IsSecret())
}

func TestDiff(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	rule := m{"direction": "in", "protocol": "tcp", "port": "443", "sourceIps": []any{"10.0.0.0/8"}}
	fw := e.create(typeFirewall, "fw", m{"name": "fw", "rules": []any{rule}, "labels": m{"a": "1"}})

	same := e.diff(fw, m{"name": "fw", "rules": []any{rule}, "labels": m{"a": "1"}})
	assert.Equal(t, pulumirpc.DiffResponse_DIFF_NONE, same.GetChanges())

	d := e.diff(fw, m{"name": "fw", "rules": []any{with(rule, m{"port": "80"}), rule}, "labels": nil})
	assert.Equal(t, pulumirpc.DiffResponse_DIFF_SOME, d.GetChanges())
	assert.Equal(t, map[string]string{"rules[0]": "ADD"}, changed(d))
	assert.Empty(t, d.GetReplaces())

	news := e.read(fw.inputs)
	news["labels"] = resource.MakeComputed(resource.NewStringProperty(""))
	resp, err := e.client.Diff(t.Context(), &pulumirpc.DiffRequest{Id: fw.id, Urn: urnOf(typeFirewall, "fw"), Olds: fw.props, OldInputs: fw.inputs, News: e.wireMap(news)})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"labels": "UPDATE"}, changed(resp), "an unknown value is a change")

	key := e.create(typeSSHKey, "k", with(sshKeyIn, m{"name": "k"}))
	d = e.diff(key, m{"name": "k", "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFFl6NmqNNoJnQjaLsyoXv/JwfbJWWjnVoQTxW1xZqPb"})
	assert.Equal(t, []string{"publicKey"}, d.GetReplaces())
	assert.Equal(t, map[string]string{"publicKey": "UPDATE_REPLACE"}, changed(d))
	assert.False(t, d.GetDeleteBeforeReplace(), "providers on the newer framework create first")

	vol := e.create(typeVolume, "named", m{"name": "v", "size": 10.0, "location": "fsn1"})
	assert.True(t, e.diff(vol, m{"name": "v", "size": 10.0, "location": "nbg1"}).GetDeleteBeforeReplace(), "a name of the program's own deletes first")
	auto := e.create(typeVolume, "auto", m{"size": 10.0, "location": "fsn1"})
	assert.False(t, e.diff(auto, m{"size": 10.0, "location": "nbg1"}).GetDeleteBeforeReplace())
}

func TestDriftRemoveAndRead(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	key := e.create(typeSSHKey, "laptop", with(sshKeyIn, m{"name": "k", "labels": m{"a": "1"}}))
	require.NoError(t, w.Drift(typeSSHKey, "laptop", func(p map[string]any) { p["labels"] = map[string]any{"a": "2"} }))
	require.True(t, e.refresh(key))
	d := e.diff(key, with(sshKeyIn, m{"name": "k", "labels": m{"a": "1"}}))
	assert.Equal(t, map[string]string{"labels.a": "UPDATE"}, changed(d))
	require.NoError(t, e.update(key, with(sshKeyIn, m{"name": "k", "labels": m{"a": "1"}})))
	live, err := w.Live(typeSSHKey, "k")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": "1"}, live["labels"])

	require.NoError(t, w.Remove(typeSSHKey, "laptop"))
	assert.False(t, e.refresh(key))
	require.NoError(t, e.delete(key), "deleting what is gone is no error")
	require.Error(t, w.Remove(typeSSHKey, "laptop"))
	require.Error(t, w.Drift(typeSSHKey, "laptop", func(map[string]any) {}))
}

func TestFaults(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	w.Inject(Fault{Type: typeSSHKey, Operation: OpCreate, Times: 1, Err: "the API is down"})
	assert.Equal(t, "the API is down", e.refuse(typeSSHKey, "a", sshKeyIn))
	assert.Empty(t, w.Inventory())
	key := e.create(typeSSHKey, "a", sshKeyIn)

	w.Inject(Fault{Name: "half", Operation: OpCreate, Partial: true, Err: "timed out"})
	half, err := e.try(typeFirewall, "half", m{"name": "half"})
	require.ErrorContains(t, err, "timed out")
	require.NotNil(t, half, "the error tells the engine that the resource exists")
	assert.NotEmpty(t, half.id)
	assert.Equal(t, []Entity{{typeFirewall, half.id, "half"}}, w.Unready())

	w.ClearFaults()
	w.Inject(Fault{Type: typeSSHKey, Operation: OpDelete, Partial: true, Times: 1})
	require.ErrorContains(t, e.delete(key), "injected fault")
	require.NoError(t, e.delete(key))
	w.Inject(Fault{Operation: OpInvoke, Times: 1})
	_, err = e.invoke("hcloud:index/getLocation:getLocation", m{"name": "fsn1"})
	require.Error(t, err)
}

func TestJournal(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("hcloud")
	key := e.create(typeSSHKey, "a", sshKeyIn)
	e.refuse(typeSSHKey, "b", with(sshKeyIn, m{"name": "b"}))
	require.True(t, e.refresh(key))
	require.NoError(t, e.delete(key))
	journal := w.Journal()
	require.Len(t, journal, 4)
	for i, want := range []Kind{OpCreate, OpCreate, OpRead, OpDelete} {
		assert.Equal(t, i, journal[i].Sequence)
		assert.Equal(t, want, journal[i].Kind)
		assert.Equal(t, typeSSHKey, journal[i].Type)
		assert.Less(t, journal[i].Started, journal[i].Finished)
	}
	assert.Equal(t, key.id, journal[0].ID)
	assert.Equal(t, urnOf(typeSSHKey, "a"), journal[0].URN)
	assert.Empty(t, journal[1].ID)
	assert.Contains(t, journal[1].Err, "not unique")
}

func TestLatencyAndCancel(t *testing.T) {
	w := New(Options{Latency: map[string]time.Duration{typeFirewall: time.Hour}})
	e := clouds(t, w)("hcloud")
	e.create(typeSSHKey, "a", sshKeyIn) // not delayed

	result := make(chan error, 1)
	go func() {
		_, err := e.client.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(typeFirewall, "fw"), Properties: e.wire(m{"name": "fw"})})
		result <- err
	}()
	require.Eventually(t, func() bool { return len(w.Journal()) == 2 }, 10*time.Second, time.Millisecond)
	assert.Len(t, w.Inventory(), 1, "the world is not locked while time passes")
	e.cancel(t.Context())
	require.ErrorContains(t, <-result, "cancelled")
	assert.Len(t, w.Inventory(), 1)

	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := e.client.Create(ctx, &pulumirpc.CreateRequest{Urn: urnOf(typeFirewall, "fw"), Properties: e.wire(m{"name": "fw"})})
	require.Error(t, err)
}

func TestAnotherConnectionSurvivesACancel(t *testing.T) {
	connect := clouds(t, New(Options{}))
	one, two := connect("hcloud"), connect("hcloud")
	one.cancel(t.Context())
	two.create(typeSSHKey, "a", sshKeyIn)
	_, err := one.try(typeFirewall, "b", m{"name": "b"})
	require.Error(t, err)
}

func TestUnknownTypes(t *testing.T) {
	e := clouds(t, New(Options{}))("hcloud")
	_, err := e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf("hcloud:index/network:Network", "n"), News: e.wire(m{})})
	require.ErrorContains(t, err, "unrecognized resource type")
	_, err = e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(typePassword, "n"), News: e.wire(m{})})
	require.ErrorContains(t, err, "unrecognized resource type", "each server serves its own package")
	_, err = e.invoke("hcloud:index/getImage:getImage", m{})
	require.ErrorContains(t, err, "unrecognized data function")
	c := clouds(t, New(Options{}))("command", m{})
	_, err = c.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf("command:local:Command", "n"), News: c.wire(m{})})
	require.ErrorContains(t, err, "unrecognized resource type", "nothing runs on the laptop")
}

func TestPluginInfoAndSchema(t *testing.T) {
	connect := clouds(t, New(Options{}))
	for _, pkg := range Packages() {
		e := connect(pkg, goodConfig[pkg])
		info, err := e.client.GetPluginInfo(t.Context(), &emptypb.Empty{})
		require.NoError(t, err)
		assert.Regexp(t, `^\d+\.\d+\.\d+$`, info.GetVersion())
		s, err := e.client.GetSchema(t.Context(), &pulumirpc.GetSchemaRequest{})
		require.NoError(t, err)
		assert.Contains(t, s.GetSchema(), `"name":"`+pkg+`"`)
		d, err := e.client.DiffConfig(t.Context(), &pulumirpc.DiffRequest{OldInputs: e.wire(m{"a": "1"}), News: e.wire(m{"a": "2"})})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "UPDATE"}, changed(d))
	}
}

func TestManyOperationsAtOnce(t *testing.T) {
	w := New(Options{Latency: map[string]time.Duration{"": time.Millisecond}})
	e := clouds(t, w)("hcloud")
	results := make(chan error, 40)
	for i := range cap(results) {
		in := e.wire(m{"name": "f" + string(rune('a'+i%26)), "labels": m{"n": "1"}})
		go func() {
			_, err := e.client.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(typeFirewall, "f"), Properties: in})
			results <- err
		}()
		go func() { w.Inventory(); w.Journal(); w.Secrets(); w.Residue() }()
	}
	refused := 0
	for range cap(results) {
		if err := <-results; err != nil {
			refused++
		}
	}
	assert.Equal(t, 14, refused, "every name exists once")
	assert.Len(t, w.Inventory(), 26)
	journal := w.Journal()
	overlap := false
	for i := 1; i < len(journal); i++ {
		overlap = overlap || journal[i].Started < journal[i-1].Finished
	}
	assert.True(t, overlap, "latency passes side by side")
}

func TestPreviewOfAnUpdateHasNoEffect(t *testing.T) {
	w := New(Options{})
	e := clouds(t, w)("cloudflare")
	r := e.create(typeRuleset, "waf", rulesetIn(phaseCustom, customRule(1, nil)))
	news := e.wire(rulesetIn(phaseCustom, customRule(2, nil)))
	resp, err := e.client.Update(t.Context(), &pulumirpc.UpdateRequest{Id: r.id, Urn: urnOf(typeRuleset, "waf"), Olds: r.props, OldInputs: r.inputs, News: news, Preview: true})
	require.NoError(t, err)
	props := e.read(resp.GetProperties())
	assert.True(t, props["version"].IsComputed(), "an update changes it")
	assert.Equal(t, "r2", props["rules"].ArrayValue()[0].ObjectValue()["ref"].StringValue())
	live, err := w.Live(typeRuleset, "waf")
	require.NoError(t, err)
	assert.Equal(t, "r1", live["rules"].([]any)[0].(m)["ref"])
	assert.Len(t, w.Journal(), 1)
}

func TestDriftReachesWhatTheCloudKeeps(t *testing.T) {
	w := New(Options{})
	connect := clouds(t, w)
	e := connect("cloudflare")
	e.create(typeZoneSetting, "ssl", m{"zoneId": zoneID, "settingId": "ssl", "value": "strict"})
	e.create(typePullSettings, "pulls", m{"zoneId": zoneID, "enabled": true})
	connect("tailscale").create(typeTailnetSettings, "s", m{"devicesApprovalOn": true})
	require.NoError(t, w.Drift(typePullSettings, "pulls", func(p map[string]any) { p["enabled"] = false }))
	require.NoError(t, w.Drift(typeZoneSetting, "ssl", func(p map[string]any) { p["value"] = "off" }))
	require.NoError(t, w.Drift(typeTailnetSettings, "s", func(p map[string]any) { p["devicesApprovalOn"] = false }))
	assert.False(t, w.originPullsEnabled())
	assert.False(t, w.approvalNeeded())
	assert.Equal(t, "off", w.state.Settings[typeZoneSetting+"/ssl"].Value)
}
