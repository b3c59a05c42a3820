package qualityprofile

import (
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Two templates with one name would be one profile in Radarr or Sonarr.
func TestEachProfileIsItsOwn(t *testing.T) {
	id := regexp.MustCompile(`^[0-9a-f]{32}$`)
	sizes := map[string][]string{Radarr: {"anime", "movie", "sqp-streaming", "sqp-uhd"}, Sonarr: {"anime", "series"}}
	for service, all := range profiles {
		seen := map[string]string{}
		for _, p := range all {
			assert.Regexp(t, id, p.ID, p.Template)
			assert.Contains(t, sizes[service], p.Sizes, p.Template)
			for _, key := range []string{p.Template, p.ID, p.Name} {
				assert.Empty(t, seen[key], "%s of %s is another's, too", key, p.Template)
				seen[key] = p.Template
			}
		}
		assert.True(t, slices.IsSorted(Templates(service)), service)
	}
}

func TestFind(t *testing.T) {
	p, ok := Find(Radarr, "hd-bluray-web")
	assert.True(t, ok)
	assert.Equal(t, Profile{"hd-bluray-web", "d1d67249d3890e49bc12e275d989a7e9", "HD Bluray + WEB", "movie"}, p)
	_, ok = Find(Sonarr, "hd-bluray-web")
	assert.False(t, ok)
	assert.Empty(t, Templates("prowlarr"))
}
