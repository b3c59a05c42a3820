package substitute

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// searchPath is PATH in an image that does not say another one.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// users are those of every image. What a container runs as is a number.
const (
	users  = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
	groups = "root:x:0:\nnobody:x:65534:\nnogroup:x:65533:\n"
)

// base is what images have without a shell: certificates, time zones, users, /tmp.
func (b *builder) base(ctx context.Context) (layer, error) {
	l := layer{}
	if err := b.addCertificates(ctx, l); err != nil {
		return nil, err
	}
	// Debian keeps three copies; the one for computers that never jump over a second is enough.
	if err := l.tree("/usr/share/zoneinfo", filepath.Join(b.debian.tree, "usr/share/zoneinfo"), 0o644); err != nil {
		return nil, err
	}
	for name := range l {
		if rest, ok := strings.CutPrefix(name, "/usr/share/zoneinfo/"); ok && (strings.HasPrefix(rest, "right/") || strings.HasPrefix(rest, "posix/")) {
			delete(l, name)
		}
	}
	l.file("/etc/passwd", 0o644, []byte(users))
	l.file("/etc/group", 0o644, []byte(groups))
	l.folder("/tmp", 0o1777, 0, 0)
	l.folder("/root", 0o700, 0, 0)
	return l, nil
}

// addCertificates adds those of Debian's authorities, and of the rehearsal's own: whom a program
// asks on the rehearsal's internet, it asks as it would on the real one.
func (b *builder) addCertificates(ctx context.Context, l layer) error {
	source, err := b.debian.file(ctx, certificates)
	if err != nil {
		return err
	}
	known, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	l.file(certificates, 0o644, append(known, b.Authority...))
	return nil
}

// shell is busybox with its applets, as Alpine's images have it.
func (b *builder) shell(ctx context.Context) (layer, error) {
	source, err := b.debian.file(ctx, "/usr/bin/busybox")
	if err != nil {
		return nil, err
	}
	applets, err := b.debian.run(ctx, "busybox", "--list")
	if err != nil {
		return nil, err
	}
	l := layer{}
	for _, applet := range strings.Fields(applets) {
		l.link("/bin/"+applet, "/bin/busybox")
	}
	l.program("/bin/busybox", source)
	l.link("/usr/bin/env", "/bin/busybox")
	return l, nil
}
