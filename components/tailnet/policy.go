package tailnet

import (
	"encoding/json"
	"fmt"
	"slices"

	"homelab/components/internal/grants"
)

// Names of the policy file that other parts of the program refer to.
const (
	// ServerTag is the tag of the media server; it owns nothing and may start no connection into
	// the tailnet.
	ServerTag = grants.ServerTag
	// DeployTag is for machines that run `pulumi up` without a person, for example a CI runner.
	DeployTag = grants.DeployTag
	// DeployUser is the only Unix user that Tailscale SSH lets anybody become on the server.
	DeployUser = "deploy"

	adminGroup  = grants.AdminGroup
	memberGroup = grants.MemberGroup
)

// policy is the part of Tailscale's policy file that this program writes. Field order is the file's
// order.
type policy struct {
	Groups    map[string][]string `json:"groups"`
	TagOwners map[string][]string `json:"tagOwners"`
	Grants    []grant             `json:"grants"`
	SSH       []sshRule           `json:"ssh"`
	Tests     []policyTest        `json:"tests"`
	SSHTests  []sshTest           `json:"sshTests"`
}

type grant struct {
	Src []string `json:"src"`
	Dst []string `json:"dst"`
	IP  []string `json:"ip"`
}

type sshRule struct {
	Action string   `json:"action"`
	Src    []string `json:"src"`
	Dst    []string `json:"dst"`
	Users  []string `json:"users"`
}

type policyTest struct {
	Src    string   `json:"src"`
	Accept []string `json:"accept,omitempty"`
	Deny   []string `json:"deny,omitempty"`
}

type sshTest struct {
	Src    string   `json:"src"`
	Dst    []string `json:"dst"`
	Accept []string `json:"accept,omitempty"`
	Deny   []string `json:"deny,omitempty"`
}

// renderPolicy writes the policy file. Its tests run on Tailscale's side when the file is applied:
// a policy that would let a member reach SSH, or the server reach a person's device, is refused
// there even if this function were wrong.
func renderPolicy(args *Args) ([]byte, error) {
	admins, members := sorted(args.Admins), sorted(args.Members)
	everyone := []string{adminGroup}
	groups := map[string][]string{adminGroup: admins}
	if len(members) > 0 {
		groups[memberGroup] = members
		everyone = append(everyone, memberGroup)
	}
	document := policy{
		Groups: groups,
		TagOwners: map[string][]string{
			ServerTag: {"autogroup:admin", DeployTag},
			DeployTag: {"autogroup:admin"},
		},
		Grants: []grant{
			// A policy replaces Tailscale's default "everything may talk to everything"; people
			// keep their own devices.
			{Src: []string{"autogroup:member"}, Dst: []string{"autogroup:self"}, IP: []string{"*"}},
			{Src: []string{adminGroup, DeployTag}, Dst: []string{ServerTag}, IP: []string{"tcp:22"}},
			{Src: everyone, Dst: []string{ServerTag}, IP: []string{fmt.Sprintf("tcp:%d", args.HTTPSPort), "icmp:*"}},
		},
		// accept, not check: a deployment cannot answer a browser prompt.
		SSH: []sshRule{{Action: "accept", Src: []string{adminGroup, DeployTag}, Dst: []string{ServerTag}, Users: []string{DeployUser}}},
	}
	for _, t := range args.Extra.TagOwners {
		document.TagOwners[t.Tag] = sorted(t.Owners)
	}
	for _, g := range args.Extra.Grants {
		document.Grants = append(document.Grants, grant(g))
	}
	document.Tests, document.SSHTests = policyTests(args)
	out, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering the tailnet policy: %w", err)
	}
	return append(out, '\n'), nil
}

// policyTests are what must hold whatever the operator added: his machines do not reach the server,
// nor it them.
func policyTests(args *Args) ([]policyTest, []sshTest) {
	admins, members := sorted(args.Admins), sorted(args.Members)
	ssh, https, docker := ServerTag+":22", fmt.Sprintf("%s:%d", ServerTag, args.HTTPSPort), ServerTag+":2375"
	server := policyTest{Src: ServerTag, Deny: []string{ssh, DeployTag + ":22"}}
	var machines []policyTest
	for _, tag := range sorted(args.Extra.Tags()) {
		server.Deny = append(server.Deny, tag+":22", tag+":443")
		machines = append(machines, policyTest{Src: tag, Deny: []string{ssh, https, docker}})
	}
	tests := []policyTest{
		{Src: admins[0], Accept: []string{ssh, https}, Deny: []string{docker}},
		{Src: DeployTag, Accept: []string{ssh}, Deny: []string{https, docker}},
		server,
	}
	tests = append(tests, machines...)
	sshTests := []sshTest{{Src: admins[0], Dst: []string{ServerTag}, Accept: []string{DeployUser}, Deny: []string{"root"}}}
	for _, member := range members {
		if slices.Contains(admins, member) {
			continue
		}
		tests = append(tests, policyTest{Src: member, Accept: []string{https}, Deny: []string{ssh, docker}})
		sshTests = append(sshTests, sshTest{Src: member, Dst: []string{ServerTag}, Deny: []string{DeployUser, "root"}})
	}
	return tests, sshTests
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
