package host

import (
	"os"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every unit of the downloads, one after the other.
func TestDownloadsUnits(t *testing.T) {
	args := &DownloadsArgs{SizeGB: 40, Owner: MediaOwner, Folders: []string{"complete", "incomplete"}}
	require.NoError(t, args.Validate())
	var all strings.Builder
	for _, unit := range []string{"homelab-downloads.service", "homelab-downloads-watch.service", "homelab-downloads-watch.timer"} {
		require.NoError(t, Unit{Name: unit, Content: pulumi.String("")}.Validate())
		got, err := renderDownloads(unit, args)
		require.NoError(t, err)
		all.WriteString("### " + unit + "\n" + got)
	}
	const golden = "testdata/downloads.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(all.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err, "run: go test ./components/host -update")
	assert.Equal(t, string(want), all.String())
	_, err = renderDownloads("homelab-other.service", args)
	assert.ErrorContains(t, err, "rendering homelab-other.service")
}

// The program's places are those that the units and the containers know.
func TestDownloadsPlaces(t *testing.T) {
	program, err := files.ReadFile("files/homelab-downloads")
	require.NoError(t, err)
	assert.Contains(t, string(program), "folder=${HOMELAB_DOWNLOADS_FILES:-"+downloadsFolder+"}\n")
	assert.Contains(t, string(program), "point=${HOMELAB_DOWNLOADS_POINT:-"+downloadsPoint+"}\n")
}

func TestDownloadsThatAreRefused(t *testing.T) {
	for want, args := range map[string]*DownloadsArgs{
		"a size of 4 GB is not between 5 and 999999": {SizeGB: 4, Owner: "2000:2000", Folders: []string{"a"}},
		`owner "media:media" must be uid:gid`:        {SizeGB: 5, Owner: "media:media", Folders: []string{"a"}},
		"no folders":                                 {SizeGB: 5, Owner: "2000:2000"},
		`folder "a b" is not a plain name`:           {SizeGB: 5, Owner: "2000:2000", Folders: []string{"a b"}},
		`folder "../a" is not a plain name`:          {SizeGB: 5, Owner: "2000:2000", Folders: []string{"../a"}},
		`two folders are called "a"`:                 {SizeGB: 5, Owner: "2000:2000", Folders: []string{"a", "b", "a"}},
	} {
		assert.ErrorContains(t, args.Validate(), want)
	}
}

func TestReadyDownloads(t *testing.T) {
	assert.ErrorContains(t, (&Downloads{}).Ready(), "no downloads")
	assert.ErrorContains(t, (*Downloads)(nil).Ready(), "no downloads")
}
