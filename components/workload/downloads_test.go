package workload

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"homelab/components/host"
	"homelab/components/internal/validate"
)

// What a mount of the downloads may look like. No package but host makes a usable value of them, so
// each of these also reports that.
func TestMountsOfDownloads(t *testing.T) {
	downloads := &host.Downloads{}
	for _, c := range []struct {
		what     string
		mount    Mount
		user     string
		problems []string
	}{
		{"read", Mount{Downloads: downloads, Target: "/downloads", ReadOnly: true}, "1:1", nil},
		{"write", Mount{Downloads: downloads, Target: "/downloads", Keeps: Disposable("it can be had again")}, downloads.Owner(), nil},
		{
			"written by somebody else", Mount{Downloads: downloads, Target: "/downloads", Keeps: Disposable("it can be had again")}, "1:1",
			[]string{"mount /downloads: only a container that runs as the downloads' owner may write to them"},
		},
		{
			"backed up", Mount{Downloads: downloads, Target: "/downloads", Keeps: Files()}, downloads.Owner(),
			[]string{"mount /downloads: the downloads are not backed up: use workload.Disposable with the reason"},
		},
		{
			"nothing said", Mount{Downloads: downloads, Target: "/downloads"}, downloads.Owner(),
			[]string{"mount /downloads: the backup must know what the container keeps: use workload.Databases, workload.Files or workload.Disposable"},
		},
		{
			"two at once", Mount{Downloads: downloads, Media: &host.Media{}, Target: "/downloads", ReadOnly: true}, "1:1",
			[]string{"mount /downloads: more than one of a file, a folder, the media and the downloads"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := validate.Of("container test")
			c.mount.validate(p, c.user, nil)
			err := p.Err()
			if c.mount.Media == nil {
				assert.ErrorContains(t, err, "no downloads: pass the value that host.Host.MountDownloads returned")
			}
			for _, problem := range c.problems {
				assert.ErrorContains(t, err, problem)
			}
			want := len(c.problems)
			if c.mount.Media == nil {
				want++
			}
			assert.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), want, "%v", err)
		})
	}
}

// A container that uses the downloads waits for them at each boot.
func TestTheGateOfTheDownloads(t *testing.T) {
	s := &Spec{Mounts: []Mount{{Downloads: &host.Downloads{}, Target: "/downloads"}}}
	assert.Equal(t, []string{"/run/homelab/gates/4-services", "/run/homelab/gates/downloads"}, s.gates())
	assert.Equal(t, "/var/lib/homelab/downloads", s.Mounts[0].source())
}
