package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/images/wire/internal/plan"
)

func TestAnIndexerThatDoesNotAnswer(t *testing.T) {
	l := newLab(t)
	l.stack.Prowlarr.SetSiteDown("1337x", true)
	warning := "the indexer 1337x does not answer: Unable to connect to indexer, check the log. 1337x does not answer"
	report := l.connect()
	assert.Equal(t, []string{warning}, report.App(plan.Prowlarr).Warnings)
	assert.Contains(t, report.App(plan.Prowlarr).Changes, "indexer 1337x, disabled, added")
	assert.Contains(t, report.Lines(), "prowlarr: warning: "+warning)
	assert.Equal(t, false, l.stack.Prowlarr.Indexer("1337x")["enable"])
	assert.Equal(t, []string{"rarbg (Jackett) (Prowlarr)"}, l.stack.Radarr.Indexers())
	for range 2 {
		l.writesNothing() // and what we disabled is not taken for a change by hand
		assert.Equal(t, []string{warning}, l.connect().App(plan.Prowlarr).Warnings)
		check := l.check()
		assert.Equal(t, []string{warning}, check.App(plan.Prowlarr).Warnings)
		assert.False(t, check.Differs())
	}

	l.stack.Prowlarr.SetSiteDown("1337x", false)
	assert.Equal(t, []string{"indexer 1337x updated (enable)"}, l.check().App(plan.Prowlarr).Changes)
	report = l.connect()
	assert.Equal(t, []string{"indexer 1337x updated (enable)"}, report.App(plan.Prowlarr).Changes)
	assert.Empty(t, report.App(plan.Prowlarr).Warnings)
	assert.Equal(t, []string{"rarbg (Jackett) (Prowlarr)", "1337x (Prowlarr)"}, l.stack.Radarr.Indexers())
	l.writesNothing()

	// One that was disabled by hand stays so.
	l.stack.Prowlarr.SetIndexerField("1337x", "enable", false)
	l.stack.Prowlarr.SetSiteDown("1337x", true)
	for range 2 {
		report = l.connect()
		assert.Len(t, report.App(plan.Prowlarr).Drift, 1)
		assert.Empty(t, report.App(plan.Prowlarr).Warnings)
	}
}

func TestAnIndexerThatStopsToAnswer(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Jackett.SetSiteDown("rarbg", true)
	before := l.stack.Writes()
	report := l.connect()
	assert.Len(t, report.App(plan.Prowlarr).Warnings, 1)
	assert.Contains(t, report.App(plan.Prowlarr).Warnings[0],
		"the indexer rarbg (Jackett) does not answer: Unable to connect to indexer with key (jackett.apiKey), ")
	assert.Equal(t, true, l.stack.Prowlarr.Indexer("rarbg (Jackett)")["enable"])
	assert.Equal(t, before, l.stack.Writes(), "it stays enabled while nothing else is to be written")

	l.stack.Prowlarr.SetIndexerField("rarbg (Jackett)", "apiPath", "")
	l.plan["enforce"] = []any{"prowlarr"}
	report = l.connect()
	assert.Equal(t, []string{"indexer rarbg (Jackett) updated (enable, apiPath put back)"},
		report.App(plan.Prowlarr).Changes)
	assert.Equal(t, false, l.stack.Prowlarr.Indexer("rarbg (Jackett)")["enable"])
	l.writesNothing()
	l.stack.Jackett.SetSiteDown("rarbg", false)
	assert.Equal(t, []string{"indexer rarbg (Jackett) updated (enable)"}, l.connect().App(plan.Prowlarr).Changes)
	l.writesNothing()
}

func TestAnIndexerThatJackettCannotConfigure(t *testing.T) {
	l := newLab(t)
	l.app("jackett")["indexers"] = []any{"eztv", "rarbg", "private"}
	l.stack.Jackett.SetSiteDown("rarbg", true)
	for range 2 {
		report := l.connect()
		assert.Equal(t, []string{
			"the indexer rarbg cannot be configured: Exception (rarbg): the site does not answer",
			"the indexer private cannot be configured: bad value of username",
		}, report.App(plan.Jackett).Warnings)
		assert.Empty(t, report.App(plan.Prowlarr).Warnings)
		assert.Equal(t, []string{"1337x", "eztv (Jackett)"}, l.stack.Prowlarr.Indexers())
	}
	l.stack.Jackett.SetSiteDown("rarbg", false)
	report := l.connect()
	assert.Len(t, report.App(plan.Jackett).Warnings, 1)
	assert.Equal(t, []string{"indexer rarbg added"}, report.App(plan.Jackett).Changes)
	assert.Equal(t, []string{"indexer rarbg (Jackett) added"}, report.App(plan.Prowlarr).Changes)
	l.writesNothing()
}

func TestAnIndexerThatThereIsNot(t *testing.T) {
	l := newLab(t)
	l.app("prowlarr")["indexers"] = []any{"nope", "1337x"}
	l.app("jackett")["indexers"] = []any{"nought", "rarbg"}
	report := l.connect()
	assert.Equal(t, []string{"there is no indexer nope; correct homelab:wiring.prowlarrIndexers"},
		report.App(plan.Prowlarr).Warnings)
	assert.Equal(t, []string{"there is no indexer nought; correct homelab:wiring.jackettIndexers"},
		report.App(plan.Jackett).Warnings)
	assert.Equal(t, []string{"1337x", "rarbg (Jackett)"}, l.stack.Prowlarr.Indexers())
	l.writesNothing()
}

// TestWhatIsNotOfASite stays a problem.
func TestWhatIsNotOfASite(t *testing.T) {
	l := newLab(t)
	l.stack.Prowlarr.RefuseProfile(true)
	report := l.pass()
	assert.Contains(t, report.App(plan.Prowlarr).Problems[0],
		"testing indexer 1337x before it is saved: it answers 400: AppProfileId: App profile does not exist")
	assert.Empty(t, report.App(plan.Prowlarr).Warnings)

	l = newLab(t)
	l.stack.Prowlarr.RefuseSaving(true)
	l.stack.Prowlarr.SetSiteDown("1337x", true)
	report = l.connect()
	assert.Len(t, report.App(plan.Prowlarr).Warnings, 2)
	assert.Empty(t, l.stack.Prowlarr.Indexers(), "what cannot be saved even disabled is left out")
}

func TestAnIndexerThatIsDisabledByHandAndDoesNotAnswer(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Prowlarr.SetIndexerField("rarbg (Jackett)", "enable", false)
	l.stack.Jackett.SetSiteDown("rarbg", true)
	address := strings.Replace(l.stack.Jackett.URL(), "127.0.0.1", "localhost", 1)
	l.app("jackett")["url"] = address
	report := l.connect()
	assert.Equal(t, []string{"indexer rarbg (Jackett) updated (baseUrl)"}, report.App(plan.Prowlarr).Changes)
	assert.Len(t, report.App(plan.Prowlarr).Warnings, 1)
	for _, down := range []bool{true, false} {
		l.stack.Jackett.SetSiteDown("rarbg", down)
		report = l.connect()
		assert.Equal(t, []string{"indexer rarbg (Jackett).enable was changed by hand to false (the settings say true)"},
			report.App(plan.Prowlarr).Drift)
		assert.Empty(t, report.App(plan.Prowlarr).Changes)
	}
}
