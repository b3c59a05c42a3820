package grants

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestExtraRulesThatAreFine(t *testing.T) {
	e := Extra{
		TagOwners: []TagOwner{{"tag:printer", []string{"tag:nas", AdminGroup}}, {"tag:nas", []string{"autogroup:admin", "a@example.com"}}},
		Grants: []Grant{
			{Src: []string{"autogroup:member", "tag:printer"}, Dst: []string{"tag:nas"}, IP: []string{"tcp:443", "445", "5000-5010"}},
			{Src: []string{"a@example.com", AdminGroup, DeployTag}, Dst: []string{"192.168.1.0/24", "10.1.2.3"}, IP: []string{"*"}},
			{Src: []string{MemberGroup}, Dst: []string{"autogroup:internet", "autogroup:self"}, IP: []string{"icmp:*"}},
		},
	}
	assert.Empty(t, e.Problems(true))
	assert.Equal(t, []string{"tag:nas", "tag:printer"}, e.Tags())
	assert.Empty(t, Extra{}.Problems(false))
}

func TestExtraRulesThatWouldReachTheServer(t *testing.T) {
	for _, dst := range []string{"*", "tag:homelab", "autogroup:tagged", "autogroup:danger-all", "100.100.1.1", "100.64.0.0/10", "0.0.0.0/0", "::/0", "fd7a:115c:a1e0::1"} {
		e := Extra{Grants: []Grant{{Src: []string{"autogroup:member"}, Dst: []string{dst}, IP: []string{"*"}}}}
		problems := e.Problems(false)
		if assert.Len(t, problems, 1, dst) {
			assert.Contains(t, problems[0], "extraGrants[0].dst[0]")
			assert.Contains(t, problems[0], "server")
		}
	}
	for _, src := range []string{"*", "tag:homelab", "autogroup:tagged", "autogroup:danger-all"} {
		e := Extra{Grants: []Grant{{Src: []string{src}, Dst: []string{"autogroup:internet"}, IP: []string{"*"}}}}
		problems := e.Problems(false)
		if assert.Len(t, problems, 1, src) {
			assert.Contains(t, problems[0], "may start no connection")
		}
	}
}

func TestExtraRulesThatMakeNoSense(t *testing.T) {
	e := Extra{
		TagOwners: []TagOwner{
			{"tag:homelab", []string{"autogroup:admin"}},
			{"nas", nil},
			{"tag:a", []string{"tag:unknown", "*"}},
			{DeployTag, []string{"bob"}},
			{"tag:a", []string{"autogroup:admin"}},
		},
		Grants: []Grant{
			{},
			{
				Src: []string{"tag:unknown", "group:others", MemberGroup, "192.168.1.0/24"},
				Dst: []string{"tag:unknown", DeployTag, "192.168.1.1/24", "nas.example.com"},
				IP:  []string{"", "tcp", "tcp:", "70000", "443-80", "quic:443", "tcp:443,80"},
			},
		},
	}
	var fields []string
	for _, p := range e.Check(false) {
		assert.NotEmpty(t, p.What)
		assert.NotEmpty(t, p.Remedy)
		fields = append(fields, p.Field)
	}
	assert.Equal(t, []string{
		"extraGrants[0].src", "extraGrants[0].dst", "extraGrants[0].ip",
		"extraGrants[1].src[0]", "extraGrants[1].src[1]", "extraGrants[1].src[2]", "extraGrants[1].src[3]",
		"extraGrants[1].dst[0]", "extraGrants[1].dst[1]", "extraGrants[1].dst[2]", "extraGrants[1].dst[3]",
		"extraGrants[1].ip[0]", "extraGrants[1].ip[1]", "extraGrants[1].ip[2]", "extraGrants[1].ip[3]", "extraGrants[1].ip[4]",
		"extraGrants[1].ip[5]", "extraGrants[1].ip[6]",
		"extraTagOwners[0].tag", "extraTagOwners[1].tag", "extraTagOwners[1].owners", "extraTagOwners[2].owners[0]", "extraTagOwners[2].owners[1]",
		"extraTagOwners[3].tag", "extraTagOwners[3].owners[0]", "extraTagOwners[4].tag",
	}, fields)
}
