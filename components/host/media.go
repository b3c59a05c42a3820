package host

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/internal/validate"
	"homelab/components/storage"
)

// MediaType is the type token of the media mount.
const MediaType = "homelab:host:Media"

// MediaProtocol is how the machine reaches the media box.
type MediaProtocol string

// The protocols there are.
const (
	// MediaWebDAV is WebDAV through rclone, which reads ranges and keeps what was read on the
	// machine's disk.
	MediaWebDAV MediaProtocol = "webdav"
	// MediaSFTP is SFTP through rclone.
	MediaSFTP MediaProtocol = "sftp"
	// MediaDavfs2 is WebDAV through davfs2, which fetches a file whole before it shows any of it.
	MediaDavfs2 MediaProtocol = "davfs2"
)

// Box is the protocol that the box itself must offer.
func (p MediaProtocol) Box() storage.Protocol {
	if p == MediaSFTP {
		return storage.SSH
	}
	return storage.WebDAV
}

// The media's places on the machine.
const (
	mediaPoint   = "/mnt/storagebox"
	mediaFiles   = Root + "/media"
	mediaProgram = mediaFiles + "/homelab-media"
	mediaRun     = "/run/homelab-media"
	mediaCache   = "/var/cache/homelab-media"
	knownHosts   = mediaFiles + "/known_hosts"
)

// MediaOwner is the user and group that own the library: its number is above every system user of
// Debian. Only this user writes to it.
const MediaOwner = mediaOwner + ":" + mediaOwner

const mediaOwner = "2000"

// mediaFolders are the library's folders, made once.
var mediaFolders = []string{"audiobooks", "books", "movies", "music", "tv"}

// MediaArgs describes the media mount.
type MediaArgs struct {
	// Box is the Storage Box, which must offer what Protocol needs.
	Box *storage.Box
	// Protocol is how it is mounted.
	Protocol MediaProtocol
	// DiskGB is the machine's disk; a quarter of it keeps what was read and what is not written
	// yet.
	DiskGB int
}

// Validate reports every problem of the arguments.
func (a *MediaArgs) Validate() error {
	p := validate.Of("media")
	p.Merge(a.Box.Ready())
	p.Require(a.Protocol == MediaWebDAV || a.Protocol == MediaSFTP || a.Protocol == MediaDavfs2, "unknown protocol %q", a.Protocol)
	p.Require(a.DiskGB >= 8, "a disk of %d GB has no room for a cache", a.DiskGB)
	return p.Err()
}

// Media is the mounted library. Only MountMedia makes a usable one, after the mount kept what was
// written to it.
type Media struct {
	pulumi.ResourceState

	mounted pulumi.Resource
}

// MountMedia mounts the box, now and after every boot, and makes the library's folders.
func (h *Host) MountMedia(ctx *pulumi.Context, name string, args *MediaArgs, opts ...pulumi.ResourceOption) (*Media, error) {
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if err := args.Validate(); err != nil {
		return nil, err
	}
	m := &Media{}
	if err := ctx.RegisterComponentResourceV2(MediaType, name, pulumi.Map{"protocol": pulumi.String(args.Protocol)}, m, opts...); err != nil {
		return nil, fmt.Errorf("registering the media mount: %w", err)
	}
	child := pulumi.Parent(m)
	files, err := h.mediaFiles(ctx, name, args, child)
	if err != nil {
		return nil, err
	}
	var after, started []pulumi.Resource
	for _, f := range files {
		after = append(after, f.Resource)
	}
	for _, unit := range []struct {
		name  string
		start bool
	}{
		{"homelab-media-config.service", true}, {"mnt-storagebox.mount", true}, {"homelab-media-watch.service", false},
		{"homelab-media-watch.timer", true}, {"homelab-media.service", true}, // the proof comes last
	} {
		// The machine refuses a unit whose program, or whose unit before it, is not there yet.
		written, err := h.WriteUnit(ctx, name+"-"+unit.name, Unit{Name: unit.name, Content: mediaContent(args, unit.name)}, child, pulumi.DependsOn(after))
		if err != nil {
			return nil, err
		}
		files, after = append(files, written), append(after, written.Resource)
		if !unit.start {
			continue
		}
		running, err := h.StartUnit(ctx, name+"-"+unit.name+"-started", written, files, child, pulumi.DependsOn(started))
		if err != nil {
			return nil, err
		}
		started = append(started, running)
		if unit.name == "homelab-media.service" {
			m.mounted = running
		}
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"path": pulumi.String(mediaPoint)})
}

// mediaFiles puts the program and what it reads on the machine.
func (h *Host) mediaFiles(ctx *pulumi.Context, name string, args *MediaArgs, opts ...pulumi.ResourceOption) ([]*Written, error) {
	folder, err := h.NewFolder(ctx, name+"-folder", Directory{Path: mediaFiles, Mode: 0o700, Owner: "root:root"}, opts...)
	if err != nil {
		return nil, err
	}
	program, err := files.ReadFile("files/homelab-media")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded homelab-media: %w", err)
	}
	type content struct {
		base string
		mode uint32
		text pulumi.StringInput
	}
	contents := []content{{path.Base(mediaProgram), 0o700, pulumi.String(program)}, {"password", 0o400, args.Box.Password()}}
	if args.Protocol == MediaDavfs2 {
		contents = append(contents, content{"davfs2.account", 0o400, mediaContent(args, "davfs2.account")},
			content{"davfs2.conf", 0o400, mediaContent(args, "davfs2.conf")})
	} else {
		contents = append(contents, content{"rclone.conf", 0o400, mediaContent(args, "rclone.conf")})
	}
	if args.Protocol == MediaSFTP {
		contents = append(contents, content{path.Base(knownHosts), 0o400, mediaContent(args, path.Base(knownHosts))})
	}
	var written []*Written
	for _, c := range contents {
		file, err := folder.Write(ctx, name+"-"+c.base, c.base, c.mode, c.text, opts...)
		if err != nil {
			return nil, err
		}
		written = append(written, file)
	}
	return written, nil
}

// mediaContent renders one file for the box's server and account.
func mediaContent(args *MediaArgs, file string) pulumi.StringOutput {
	return pulumi.All(args.Box.Server(), args.Box.Username()).ApplyT(func(v []any) (string, error) {
		return renderMedia(file, mediaModel{Protocol: args.Protocol, Server: v[0].(string), User: v[1].(string), CacheGB: args.DiskGB / 4})
	}).(pulumi.StringOutput)
}

// mediaModel is what the files of the mount depend on.
type mediaModel struct {
	Protocol     MediaProtocol
	Server, User string
	// CacheGB is how much of the machine's disk the mount may use.
	CacheGB int
}

// Places, for the templates.
func (mediaModel) Point() string      { return mediaPoint }
func (mediaModel) Program() string    { return mediaProgram }
func (mediaModel) Run() string        { return mediaRun }
func (mediaModel) Cache() string      { return mediaCache }
func (mediaModel) KnownHosts() string { return knownHosts }
func (mediaModel) Owner() string      { return mediaOwner }
func (mediaModel) Gate() string       { return mediaGate }
func (mediaModel) Port() int          { return storage.SSHPort }
func (mediaModel) Folders() []string  { return mediaFolders }
func (m mediaModel) CacheMiB() int    { return m.CacheGB * 1000 * 1000 * 1000 >> 20 }

// What is the mount's source, named as the setting of systemd's mount units.
func (m mediaModel) What() string {
	if m.Protocol == MediaDavfs2 {
		return "https://" + m.Server + "/"
	}
	return "media:"
}

// Type is the file system's name, by which mount(8) finds its helper.
func (m mediaModel) Type() string {
	if m.Protocol == MediaDavfs2 {
		return "davfs"
	}
	return "rclone"
}

// Options are the mount's options.
func (m mediaModel) Options() []string {
	if m.Protocol == MediaDavfs2 {
		return []string{"rw", "_netdev", "uid=" + mediaOwner, "gid=" + mediaOwner, "dir_mode=0755", "file_mode=0644", "conf=" + mediaFiles + "/davfs2.conf"}
	}
	return []string{
		"rw", "_netdev", "allow_other", "default_permissions", "args2env",
		"config=" + mediaRun + "/rclone.conf", "cache_dir=" + mediaCache,
		"uid=" + mediaOwner, "gid=" + mediaOwner, "umask=022",
		"vfs_cache_mode=full", fmt.Sprintf("vfs_cache_max_size=%dG", m.CacheGB), "vfs_cache_max_age=720h", "vfs_write_back=5s",
		// Small first reads let a film start and a seek land fast; the chunks grow while somebody
		// watches.
		"vfs_read_chunk_size=8M", "vfs_read_chunk_size_limit=128M", "vfs_read_ahead=64M", "buffer_size=16M",
		"dir_cache_time=1h", "attr_timeout=10s",
		// A Storage Box allows about ten connections.
		"transfers=2", "checkers=2",
		"contimeout=15s", "timeout=60s", "low_level_retries=3",
	}
}

var (
	mediaTemplates = template.Must(template.New("").Funcs(templateFunctions).ParseFS(files, "files/media/*.tmpl"))
	plainHostname  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	plainAccount   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// renderMedia writes one of the mount's files. Server and account come from Hetzner: what is no
// plain word would be syntax in one of them.
func renderMedia(file string, m mediaModel) (string, error) {
	if !plainHostname.MatchString(m.Server) || !plainAccount.MatchString(m.User) {
		return "", fmt.Errorf("rendering %s: %q and %q are not a host name and an account", file, m.Server, m.User)
	}
	switch file {
	case "davfs2.account":
		return m.What() + " " + m.User + "\n", nil
	case path.Base(knownHosts):
		return storage.KnownHosts(m.Server), nil
	case "homelab-media-watch.timer":
		body, err := files.ReadFile("files/media/" + file)
		return string(body), err
	}
	var out bytes.Buffer
	if err := mediaTemplates.ExecuteTemplate(&out, file+".tmpl", m); err != nil {
		return "", fmt.Errorf("rendering %s: %w", file, err)
	}
	return out.String(), nil
}

// Ready reports Media that MountMedia did not make.
func (m *Media) Ready() error {
	if m == nil || m.mounted == nil {
		return errors.New("no media: pass the value that host.Host.MountMedia returned")
	}
	return nil
}

// Parent is the folder that a container binds: the mount point's parent. So a mount that comes
// later, or again, appears inside.
func (m *Media) Parent() string { return path.Dir(mediaPoint) }

// Resource is what to depend on: it exists once the library is mounted.
func (m *Media) Resource() pulumi.Resource { return m.mounted }

// Within is where a container that binds Parent at target finds a folder of the library.
func (m *Media) Within(target, folder string) string {
	return path.Join(target, path.Base(mediaPoint), folder)
}
