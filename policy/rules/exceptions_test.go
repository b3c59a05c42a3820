package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadPolicyConfig(t *testing.T) {
	list, err := ReadPolicyConfig(strings.NewReader(`{"all": "mandatory", "container-orphan": "disabled", "zone-hsts": {"enforcementLevel": "mandatory"},
	  "record-proxied": {"enforcementLevel": "mandatory", "unproxied": [{"hostname": "_dmarc.mail.example.com", "reason": "mail"}]}}`))
	require.NoError(t, err)
	assert.Equal(t, []Exception{{Hostname: "_dmarc.mail.example.com", Reason: "mail"}}, list)
	list, err = ReadPolicyConfig(strings.NewReader(`{}`))
	require.NoError(t, err)
	assert.Empty(t, list)

	for text, want := range map[string]string{
		"":                                     "an object with a level or an object for each rule is needed",
		"[]":                                   "an object with a level or an object for each rule is needed",
		`{"record-proxed": "x"}`:               "record-proxed: there is no such rule",
		`{"zone-hsts": 3}`:                     "zone-hsts: a level or an object is needed",
		`{"zone-hsts": {"x": 3}}`:              "zone-hsts: nothing but its level is configured, and x is given",
		`{"record-proxied": null}`:             "record-proxied: a level or an object is needed",
		`{"record-proxied": {"unproxed": []}}`: "record-proxied: unproxed is unknown",
		`{"record-proxied": {"unproxied": "mail.example.com"}}`:                                                                     "record-proxied.unproxied: a list of objects",
		`{"record-proxied": {"unproxied": [{"hostname": "a.b", "reason": "x", "why": 1}]}}`:                                         `unknown field "why"`,
		`{"record-proxied": {"unproxied": [{"hostname": "Mail.example.com", "reason": "x"}]}}`:                                      `unproxied[0].hostname: "Mail.example.com" is no full name in lower case`,
		`{"record-proxied": {"unproxied": [{"hostname": "mail", "reason": "x"}]}}`:                                                  `"mail" is no full name`,
		`{"record-proxied": {"unproxied": [{"hostname": "a.example.com"}]}}`:                                                        "unproxied[0].reason: why a.example.com leads past Cloudflare is needed",
		`{"record-proxied": {"unproxied": [{"hostname": "a.b.cc", "reason": "` + strings.Repeat("x", 501) + `"}]}}`:                 "in 500 characters at most",
		`{"record-proxied": {"unproxied": [{"hostname": "a.b.cc", "reason": "x"}, {"hostname": "a.b.cc", "reason": "y"}]}}`:         "unproxied[1].hostname: a.b.cc is named twice",
		`{"record-proxied": {"unproxied": [{"hostname": "` + strings.Repeat("abcdefgh.", 30) + `example.com", "reason": "long"}]}}`: "is no full name",
	} {
		_, err := ReadPolicyConfig(strings.NewReader(text))
		require.ErrorContains(t, err, want, text)
	}
}

// What the engine sends marks values as a state does; a secret's value is there, and is not kept.
func TestReadSent(t *testing.T) {
	g, err := ReadSent([]Sent{{
		URN: "urn:a", Type: "x:y:Z", Provider: "urn:p", Dependencies: []string{"urn:gone", "urn:a"},
		Inputs: map[string]any{"asked": "in", "both": "in"},
		Outputs: map[string]any{
			"both": "out", "number": "3eeb2bf0-c639-47a8-9e75-3b44932eb421", "list": []any{"6a19a0b0-7e62-4c92-b797-7f8e31da9cc2"},
			"secret": map[string]any{signatureKey: signatureSecret, "value": "hunter2"},
		},
	}})
	require.NoError(t, err)
	a := g.Get("urn:a")
	assert.Equal(t, "in", a.Text("asked"))
	assert.Equal(t, "out", a.Text("both"))
	assert.True(t, a.At("number").Unknown())
	assert.True(t, a.At("list").List()[0].Unknown())
	assert.Equal(t, Secret{}, a.Properties["secret"])
	assert.Equal(t, "urn:p", a.Provider)
	assert.Equal(t, []string{"urn:a"}, a.Dependencies)
	_, err = ReadSent([]Sent{{URN: "urn:a"}})
	require.ErrorContains(t, err, "a resource without URN or type")
}
