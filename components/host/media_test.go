package host

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everything that a protocol puts on the machine, one after the other.
func TestMediaFiles(t *testing.T) {
	units := []string{"homelab-media-config.service", "mnt-storagebox.mount", "homelab-media.service", "homelab-media-watch.service", "homelab-media-watch.timer"}
	for protocol, files := range map[MediaProtocol][]string{
		MediaWebDAV: append([]string{"rclone.conf"}, units...),
		MediaSFTP:   append([]string{"rclone.conf", "known_hosts"}, units...),
		MediaDavfs2: append([]string{"davfs2.account", "davfs2.conf"}, units...),
	} {
		t.Run(string(protocol), func(t *testing.T) {
			var all strings.Builder
			for _, file := range files {
				got, err := renderMedia(file, mediaModel{Protocol: protocol, Server: "u123456-sub1.your-storagebox.de", User: "u123456-sub1", CacheGB: 20})
				require.NoError(t, err)
				all.WriteString("### " + file + "\n" + got)
			}
			golden := "testdata/media-" + string(protocol) + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(all.String()), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), all.String())
		})
	}
}

func TestMediaAccountsThatAreSyntax(t *testing.T) {
	for _, m := range []mediaModel{
		{Server: "box.example\nuser = root", User: "u1"}, {Server: "box.example", User: "u1 other"}, {Server: "", User: "u1"}, {Server: "box.example", User: ""},
	} {
		_, err := renderMedia("rclone.conf", m)
		assert.ErrorContains(t, err, "are not a host name and an account")
	}
}

func TestReadyMedia(t *testing.T) {
	assert.ErrorContains(t, (&Media{}).Ready(), "no media")
	assert.ErrorContains(t, (*Media)(nil).Ready(), "no media")
	assert.ErrorContains(t, (&MediaArgs{Protocol: "nfs"}).Validate(), "unknown protocol")
}
