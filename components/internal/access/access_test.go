package access

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccessProblems(t *testing.T) {
	users := []string{"users"}
	for name, c := range map[string]struct {
		access     Access
		visibility Visibility
		want       []string
	}{
		"two-factor":            {Access{Policy: TwoFactor, Groups: users}, Public, nil},
		"one-factor":            {Access{Policy: OneFactor, Groups: users}, Public, nil},
		"native on the tailnet": {Access{Policy: Native}, Tailnet, nil},
		"native with a reason":  {Access{Policy: Native, Reason: "apps"}, Public, nil},
		"native without a reason": {Access{Policy: Native, Reason: " "}, Public, []string{
			"reason is missing: policy native on a public hostname lets the whole internet reach the service's own login: " +
				"use two-factor, make the service's visibility tailnet, or give a reason",
		}},
		"native with groups": {Access{Policy: Native, Groups: users}, Tailnet, []string{
			"groups cannot be used with policy native: the portal that knows the groups is not asked: " +
				"remove groups, or use two-factor or one-factor",
		}},
		"no groups": {Access{Policy: TwoFactor}, Public, []string{
			"groups is empty: policy two-factor needs to know who may enter: name at least one group",
		}},
		"odd groups": {Access{Policy: OneFactor, Groups: []string{"a", " ", "a"}}, Tailnet, []string{
			"groups[1] is empty: name a group or remove the entry",
			`groups[2] "a" is listed twice: remove one`,
		}},
		"no policy":      {Access{}, Public, []string{"policy is missing: use one of two-factor, one-factor, native"}},
		"no such policy": {Access{Policy: "none"}, Public, []string{`policy "none" is not an access policy: use one of two-factor, one-factor, native`}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ElementsMatch(t, c.want, c.access.Problems(c.visibility))
		})
	}
}

func TestBypassProblems(t *testing.T) {
	for path, want := range map[string]string{
		`^/api/status$`:     "",
		`^(/a|/b)/c`:        "",
		`^/a|^/b`:           "",
		`(^/a)`:             "",
		`(^/a){1,2}`:        "",
		`(?i)^/API/`:        "",
		`^/[^\n]{64}$`:      "",
		``:                  "path is missing: give a regular expression such as ^/api/status$",
		`/api`:              "anchored",
		`^/a|/b`:            "anchored",
		`(^/a)?/b`:          "anchored",
		`(^/a){0,2}`:        "anchored",
		`(?m)^/a`:           "anchored",
		`(^)*/b`:            "anchored",
		`.*`:                "anchored",
		`^`:                 "matches every path",
		`^/`:                "matches every path",
		`^/.*$`:             "matches every path",
		`^(/api|/[^x]*)`:    "matches every path",
		`^/(`:               "missing closing )",
		`^/(?=a)`:           "invalid or unsupported Perl syntax",
		`^/` + "\xff" + `$`: "invalid UTF-8",
	} {
		got := Bypass{Path: path, Reason: "test"}.Problems()
		if want == "" {
			assert.Empty(t, got, path)
			continue
		}
		if assert.Len(t, got, 1, path) {
			assert.Contains(t, got[0], want, path)
		}
	}
	assert.Equal(t, []string{"reason is missing: a path that skips the portal needs a reason: say why"},
		Bypass{Path: "^/a$", Reason: "\t"}.Problems())
}

func TestClosedSets(t *testing.T) {
	for _, p := range Policies() {
		assert.True(t, p.Valid())
	}
	for _, v := range Visibilities() {
		assert.True(t, v.Valid())
	}
	for _, s := range []string{"", "none", "Two-Factor", "public "} {
		assert.False(t, Policy(s).Valid())
		assert.False(t, Visibility(s).Valid())
	}
}
