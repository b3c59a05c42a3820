package wire

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/images/wire/fake"
	"homelab/images/wire/internal/plan"
)

func TestAPasswordChangedInJellyfinIsNoError(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Jellyfin.SetPassword("x")
	l.writesNothing()
	assert.Zero(t, l.stack.Jellyfin.Failures(), "the password is not even tried")

	// Nor is it needed for anything that is added later.
	l.app("jellyfin")["libraries"] = append(l.app("jellyfin")["libraries"].([]any),
		map[string]any{"name": "More", "type": "movies", "path": l.stack.Dir})
	assert.Equal(t, []string{"library More added"}, l.connect().App(plan.Jellyfin).Changes)
	l.writesNothing()
}

func TestCredentialsAreOnlyTheKeys(t *testing.T) {
	l := newLab(t)
	l.connect()
	content, err := os.ReadFile(l.dir + "/credentials.json")
	require.NoError(t, err)
	assert.JSONEq(t, `{"version":1,"keys":{"jellyfin":"jellyfin-api-key-homelab-1","jellyseerr":"`+
		fake.JellyseerrKey+`"}}`, string(content))
}

func TestARevokedKeyOfJellyfin(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Jellyfin.RevokeKey("homelab")
	l.stack.Jellyfin.RevokeKey("sonarr")
	assert.Equal(t, []string{"API key homelab added", "API key sonarr added"}, l.check().App(plan.Jellyfin).Changes)
	report := l.connect()
	assert.Equal(t, []string{"API key homelab added", "API key sonarr added"}, report.App(plan.Jellyfin).Changes)
	assert.Equal(t, []string{"notification Jellyfin updated (apiKey)"}, report.App(plan.Sonarr).Changes)
	assert.Empty(t, report.App(plan.Radarr).Changes)
	assert.Equal(t, []string{"Seerr", "homelab", "radarr", "sonarr"}, l.stack.Jellyfin.Keys())
	l.writesNothing()

	// Neither the key nor the password works.
	l.stack.Jellyfin.RevokeKey("homelab")
	l.stack.Jellyfin.SetPassword("x")
	wirer := l.wirer(Options{})
	for _, want := range []string{"refuses the login of its administrator (401): " + notGenerated,
		notGenerated + ": jellyfin has refused the password at "} {
		report = l.passWith(t.Context(), wirer)
		require.Len(t, report.App(plan.Jellyfin).Problems, 1)
		assert.Contains(t, report.App(plan.Jellyfin).Problems[0], want)
	}
	assert.Equal(t, 1, l.stack.Jellyfin.Failures())
}

func TestLostCredentials(t *testing.T) {
	l := newLab(t)
	l.connect()
	want := l.stack.Snapshot()
	require.NoError(t, os.Remove(l.dir+"/credentials.json"))
	assert.Empty(t, l.check().App(plan.Jellyfin).Changes)
	assert.Equal(t, []string{"API key read after a login"}, l.check().App(plan.Jellyseerr).Changes,
		"a check does not log in there")
	assert.Equal(t, 1, l.stack.Jellyseerr.Logins())
	report := l.connect()
	assert.Empty(t, report.App(plan.Jellyfin).Changes, "no second key is made")
	assert.Equal(t, []string{"API key read after a login"}, report.App(plan.Jellyseerr).Changes)
	assert.Equal(t, want, l.stack.Snapshot())
	l.writesNothing()
}

func TestAKeyThatJellyseerrMadeAnew(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Jellyseerr.SetKey(otherPassword) // which is in no output
	assert.Equal(t, []string{"API key read after a login"}, l.connect().App(plan.Jellyseerr).Changes)
	assert.Equal(t, 2, l.stack.Jellyseerr.Logins())
	l.writesNothing()
	assert.Equal(t, 2, l.stack.Jellyseerr.Logins(), "the new key is kept")

	// With a changed password it cannot be read again.
	l.stack.Jellyseerr.SetKey("a key that is made anew once more")
	l.stack.Jellyfin.SetPassword("x")
	wirer := l.wirer(Options{})
	report := l.passWith(t.Context(), wirer)
	assert.Equal(t, []string{"refuses the login (401): " + notGenerated}, report.App(plan.Jellyseerr).Problems)
	assert.Empty(t, report.App(plan.Jellyfin).Problems)
	report = l.passWith(t.Context(), wirer)
	assert.Contains(t, report.App(plan.Jellyseerr).Problems[0], "it is not tried again before")
	assert.Equal(t, 1, l.stack.Jellyfin.Failures())
	l.stack.Jellyfin.SetPassword(l.app("jellyfin")["password"].(string))
	l.connect()
	l.writesNothing()
}

func TestAJellyseerrThatSomebodySetUp(t *testing.T) {
	for name, letsIn := range map[string]bool{"that lets in": true, "that does not let in": false} {
		for setting, want := range map[string]string{
			"homelab:services.jellyseerr": "deploy homelab:services.jellyseerr again",
			"":                            "deploy the plan's jellyseerr again",
		} {
			t.Run(name+setting, func(t *testing.T) {
				l := newLab(t)
				l.app("jellyseerr")["setting"] = setting
				address := plan.URL(l.stack.Jellyfin.URL())
				l.stack.Jellyseerr.SetUpBySomebody(address.Host(), address.Port(), letsIn)
				for range 2 {
					problems := l.pass().App(plan.Jellyseerr).Problems
					require.Len(t, problems, 1)
					assert.True(t, strings.HasPrefix(problems[0],
						"the login admin is not its administrator: somebody else set it up first; "), problems[0])
					assert.Contains(t, problems[0], want)
					assert.Empty(t, l.stack.Jellyseerr.Servers("radarr"))
				}
			})
		}
	}
}

func TestJellyfin12(t *testing.T) {
	l := newLab(t)
	l.stack.Jellyfin.Twelve = true
	l.connect()
	l.writesNothing()
}

func TestANotificationChangedByHand(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.SetNotification("Jellyfin", "onUpgrade", false)
	l.stack.Radarr.SetNotification("Jellyfin", "mapFrom", "/by/hand")
	l.stack.Radarr.SetNotification("Jellyfin", "mapTo", "/elsewhere")
	l.stack.Sonarr.SetNotification("Jellyfin", "apiKey", "by hand")
	report := l.connect()
	assert.Equal(t, []string{
		"notification Jellyfin.onUpgrade was changed by hand to false (the settings say true)",
		`notification Jellyfin.mapFrom was changed by hand to "/by/hand" (the settings say "")`,
		`notification Jellyfin.mapTo was changed by hand to "/elsewhere" (the settings say "")`,
	}, report.App(plan.Radarr).Drift)
	assert.Equal(t, []string{"notification Jellyfin updated (apiKey)"}, report.App(plan.Sonarr).Changes)
}

func TestANotificationThatFailsFailsNothingElse(t *testing.T) {
	l := newLab(t)
	l.connect()
	l.stack.Radarr.SetNotification("Jellyfin", "mapFrom", "/by/hand") // alone it is refused
	report := l.pass()
	assert.Equal(t, []string{"testing notification Jellyfin before it is saved: it answers 400: " +
		"Host: mapFrom and mapTo belong together with key (jellyfin API key of radarr)"}, report.App(plan.Radarr).Problems)
	for _, app := range []plan.App{plan.Sonarr, plan.Prowlarr, plan.Jellyseerr} {
		assert.Empty(t, report.App(app).Problems, app)
	}
}

func TestAKeyOfThatNameIsTaken(t *testing.T) {
	l := newLab(t)
	l.stack.Jellyfin.AddKey("radarr")
	l.connect()
	assert.Equal(t, []string{"Seerr", "homelab", "radarr", "sonarr"}, l.stack.Jellyfin.Keys())
	delete(l.plan, "radarr")
	l.connect()
	assert.Contains(t, l.stack.Jellyfin.Keys(), "radarr", "what we did not make is not removed")
	l.writesNothing()
}
