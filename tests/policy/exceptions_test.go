package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"homelab/policy/audit"
	"homelab/policy/rules"
)

const excepted = "requests.example.com"

// elsewhere adds a record that leads past Cloudflare, on which nothing of the stack has a hold.
func elsewhere(s *state, kind, content string) {
	p := s.copyOf(s.get(record, "jellyseerr"), "mail")
	p.set("mail.example.com", "name").set(kind, "type").set(content, "content").set(false, "proxied")
	p.put("dependencies", []any{})
	p.put("propertyDependencies", object{})
}

// behind are the rules about what is behind the edge.
var behind = []string{
	"record-detection", "record-enforcement", "record-fail2ban", "record-firewall", "record-packet-filter", "record-portal", "record-proxy",
	"record-route", "record-upstream",
}

// A hostname leads past Cloudflare by an exception alone, and an exception frees nothing else: not
// what is behind the edge, no other hostname, and none that needs it not.
func TestExceptions(t *testing.T) {
	client := startPack(t)
	unproxied := setValue(record, "jellyseerr", false, "proxied")
	for what, c := range map[string]struct {
		do     func(*state)
		names  []string
		failed []string
	}{
		"a hostname that is excepted":                     {do: unproxied, names: []string{excepted}},
		"another hostname is excepted":                    {do: unproxied, names: []string{"other.example.com"}, failed: []string{"record-proxied"}},
		"an exception that nothing needs":                 {do: func(*state) {}, names: []string{excepted}, failed: []string{"record-proxied"}},
		"a record that leads elsewhere":                   {do: func(s *state) { elsewhere(s, "A", "203.0.113.9") }, names: []string{"mail.example.com"}},
		"a name that leads elsewhere":                     {do: func(s *state) { elsewhere(s, "CNAME", "mail.example.net") }, names: []string{"mail.example.com"}},
		"a name that leads here":                          {do: func(s *state) { elsewhere(s, "CNAME", excepted+".") }, names: []string{"mail.example.com"}, failed: behind},
		"a name that leads to itself":                     {do: func(s *state) { elsewhere(s, "CNAME", "mail.example.com") }, names: []string{"mail.example.com"}, failed: behind},
		"a record whose address nobody knows":             {do: func(s *state) { elsewhere(s, "A", ""); s.get(record, "mail").set(unknown, "content") }, names: []string{"mail.example.com"}, failed: behind},
		"a record of the server's own address":            {do: func(s *state) { elsewhere(s, "A", s.get(record, "jellyseerr").at("content").(string)) }, names: []string{"mail.example.com"}, failed: behind},
		"an exception, and no record depends on Fail2ban": {do: func(s *state) { unproxied(s); forget(command, "fail2ban-loaded")(s) }, names: []string{excepted}, failed: []string{"record-fail2ban"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := newState(t)
			c.do(s)
			var list []any
			for _, name := range c.names {
				list = append(list, object{"hostname": name, "reason": "a mail server cannot be proxied"})
			}
			export, err := rules.ReadExport(bytes.NewReader(s.text()))
			require.NoError(t, err)
			exceptions, err := rules.ReadExceptions(object{rules.ExceptionsKey: list})
			require.NoError(t, err)
			export.Except(exceptions)
			assert.Equal(t, append([]string{}, c.failed...), broken(rules.Judge(export.Graph)))

			// Without a call for each resource the pack knows outputs alone, which an export has all.
			require.NoError(t, configure(t, client, list))
			assert.Equal(t, append([]string{}, c.failed...), analyzed(t, client, s))
		})
	}
}

// The audit says of a hostname that it is excepted, and why.
func TestTheAuditShowsExceptions(t *testing.T) {
	s := changed(t, setValue(record, "jellyseerr", false, "proxied"))
	export, err := rules.ReadExport(bytes.NewReader(s.text()))
	require.NoError(t, err)
	export.Except([]rules.Exception{{Hostname: excepted, Reason: "films <b> are large"}})
	report := audit.Of(export)
	var text, page bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	assert.Contains(t, text.String(), "from the internet past Cloudflare, by an exception (films <b> are large), by group")
	require.NoError(t, report.WriteHTML(&page))
	assert.Contains(t, page.String(), "by an exception (films &lt;b&gt; are large)")
	written, err := json.Marshal(report)
	require.NoError(t, err)
	assert.Contains(t, string(written), `"exception":"films \u003cb\u003e are large"`)
	before := newState(t).audit()
	report.Compare(before)
	assert.Contains(t, strings.Join(report.Changes, "\n"), excepted+" is reachable from the internet past Cloudflare, by an exception")
}

// The pack says what can be configured, before it is, and refuses what is wrong.
func TestTheConfigurationOfThePack(t *testing.T) {
	client := startPack(t)
	info, err := client.GetAnalyzerInfo(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.Len(t, info.GetPolicies(), len(rules.All()))
	for _, p := range info.GetPolicies() {
		assert.Equal(t, pulumirpc.PolicyType_POLICY_TYPE_STACK, p.GetPolicyType(), p.GetName())
		assert.NotZero(t, p.GetSeverity(), p.GetName())
		assert.NotEmpty(t, p.GetRemediationSteps(), p.GetName())
		if p.GetName() != rules.ProxiedID {
			assert.Nil(t, p.GetConfigSchema(), p.GetName())
			continue
		}
		items := p.GetConfigSchema().GetProperties().AsMap()["unproxied"].(object)["items"].(object)
		assert.ElementsMatch(t, []any{"hostname", "reason"}, items["required"])
	}
	for what, list := range map[string][]any{
		"no reason":   {object{"hostname": excepted, "reason": " "}},
		"a wildcard":  {object{"hostname": "*.example.com", "reason": "x"}},
		"no hostname": {object{"reason": "x"}},
		"named twice": {object{"hostname": excepted, "reason": "x"}, object{"hostname": excepted, "reason": "y"}},
		"a typo":      {object{"hostname": excepted, "reasons": "x"}},
		"a text":      {excepted},
	} {
		assert.Equal(t, codes.InvalidArgument, status.Code(configure(t, client, list)), what)
	}
	_, err = client.Remediate(t.Context(), &pulumirpc.AnalyzeRequest{})
	assert.Equal(t, codes.Unimplemented, status.Code(err), "which the engine takes for: nothing to remedy")
}

// A rule that the stack has nothing for is not applicable to the engine too.
func TestThePackSaysWhatIsNotApplicable(t *testing.T) {
	answer, err := startPack(t).AnalyzeStack(t.Context(), &pulumirpc.AnalyzeStackRequest{Resources: []*pulumirpc.AnalyzerResource{
		{Urn: "urn:pulumi:prod::homelab::pulumi:pulumi:Stack::homelab-prod", Type: "pulumi:pulumi:Stack"},
	}})
	require.NoError(t, err)
	reasons := map[string]string{}
	for _, n := range answer.GetNotApplicable() {
		reasons[n.GetPolicyName()] = n.GetReason()
	}
	assert.Equal(t, "no public DNS record found", reasons["record-proxied"])
	assert.Equal(t, "no container found", reasons["container-user"])
}

func configure(t *testing.T, client pulumirpc.AnalyzerClient, list []any) error {
	t.Helper()
	properties, err := structpb.NewStruct(object{rules.ExceptionsKey: list})
	require.NoError(t, err)
	_, err = client.Configure(t.Context(), &pulumirpc.ConfigureAnalyzerRequest{PolicyConfig: map[string]*pulumirpc.PolicyConfig{
		rules.ProxiedID: {EnforcementLevel: pulumirpc.EnforcementLevel_MANDATORY, Properties: properties},
	}})
	return err
}

// analyzed are the rules that the pack finds broken, sorted.
func analyzed(t *testing.T, client pulumirpc.AnalyzerClient, s *state) []string {
	t.Helper()
	request := &pulumirpc.AnalyzeStackRequest{}
	for _, r := range s.resources() {
		of := r.(object)
		if properties, _ := of["inputs"].(object); properties != nil {
			_, err := client.Analyze(t.Context(), &pulumirpc.AnalyzeRequest{
				Urn: of["urn"].(string), Type: of["type"].(string), Properties: marshal(t, properties),
			})
			require.NoError(t, err)
		}
		request.Resources = append(request.Resources, wire(t, of))
	}
	answer, err := client.AnalyzeStack(t.Context(), request)
	require.NoError(t, err)
	out := []string{}
	for _, d := range answer.GetDiagnostics() {
		out = append(out, d.GetPolicyName())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
