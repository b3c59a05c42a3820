//go:build host

package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchSize is a film of half a gigabyte: davfs2 has to fetch all of it before the first byte.
const benchSize = 512 << 20

// BenchmarkMediaMount reads a file that the machine has never seen, through rclone and through
// davfs2, from the same server in the same run: what counts are the ratios. Both keep what they
// read, so every measurement is of a fresh mount.
func BenchmarkMediaMount(b *testing.B) {
	deployment := files(b, deploy(b))
	davfs2 := files(b, commands(simulate(b, map[string]any{"homelab:storage.media.protocol": "davfs2"})))
	l := newLibrary(b, deployment)
	l.serve(deployment["/opt/homelab/media/password"])
	film, err := os.Create(l.data + "/film.mkv")
	require.NoError(b, err)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range benchSize >> 20 {
		_, err := film.Write(block)
		require.NoError(b, err)
	}
	require.NoError(b, film.Close())
	for _, client := range []struct {
		name  string
		mount func() error
	}{{"rclone", l.mount}, {"davfs2", func() error { return l.mountDavfs2(davfs2) }}} {
		for _, read := range []struct {
			name  string
			at    int64
			bytes int64
		}{{"first-byte", 0, 1}, {"middle", benchSize / 2, 1}, {"sequential", 0, benchSize}} {
			b.Run(client.name+"/"+read.name, func(b *testing.B) {
				b.SetBytes(read.bytes)
				for range b.N {
					b.StopTimer()
					l.unmount()
					require.NoError(b, os.RemoveAll(l.cache))
					require.NoError(b, client.mount())
					b.StartTimer()
					file, err := os.Open(l.point + "/film.mkv")
					require.NoError(b, err)
					_, err = file.Seek(read.at, io.SeekStart)
					require.NoError(b, err)
					_, err = io.CopyN(io.Discard, file, read.bytes)
					require.NoError(b, err)
					b.StopTimer()
					require.NoError(b, file.Close())
					b.StartTimer()
				}
			})
		}
	}
}

// mountDavfs2 mounts the box as the protocol davfs2 does, with the deployment's own settings but
// for their places and the server's address.
func (l *library) mountDavfs2(deployment map[string]string) error {
	l.write("files/davfs2.account", "http://"+l.address+"/ "+l.user+"\n")
	if err := l.program("prepare", "davfs2", "0"); err != nil {
		return err
	}
	settings := deployment["/opt/homelab/media/davfs2.conf"]
	require.NotEmpty(l.t, settings)
	options := options.FindStringSubmatch(deployment["/etc/systemd/system/mnt-storagebox.mount"])[1]
	for from, to := range map[string]string{"/run/homelab-media": l.dir + "/run", "/var/cache/homelab-media": l.cache} {
		require.Contains(l.t, settings, from)
		settings = strings.ReplaceAll(settings, from, to)
	}
	l.write("davfs2.conf", settings)
	require.Contains(l.t, options, "conf=/opt/homelab/media/davfs2.conf")
	options = strings.ReplaceAll(options, "/opt/homelab/media/davfs2.conf", l.dir+"/davfs2.conf")
	options = strings.ReplaceAll(options, "uid=2000", "uid=0") // whom this machine knows
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mount", "-t", "davfs", "-o", options, "http://"+l.address+"/", l.point).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mounting with davfs2: %w: %s", err, out)
	}
	return nil
}
