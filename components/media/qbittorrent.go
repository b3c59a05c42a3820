package media

import (
	"fmt"
	"path"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"homelab/components/host"
	"homelab/components/images"
	"homelab/components/internal/access"
	"homelab/components/media/internal/torrent"
	"homelab/components/service"
	"homelab/components/vpn"
	"homelab/components/workload"
)

// TorrentPort is where qBittorrent's API answers, in the tunnel's network.
const TorrentPort = 8080

const salt = "salt"

// Where torrents are while they come in, and afterwards.
const (
	complete   = downloads + "/complete"
	incomplete = downloads + "/incomplete"
)

// DownloadFolders are the folders of the downloads' disk.
func DownloadFolders() []string { return []string{path.Base(complete), path.Base(incomplete)} }

// QBittorrent is the torrent client. Its only network is the VPN tunnel's, and it listens and
// connects on the tunnel's interface alone: without the tunnel it is mute.
func QBittorrent() service.Definition {
	return service.Definition{
		Name:         "qbittorrent",
		Title:        "qBittorrent",
		Type:         "homelab:media:QBittorrent",
		Summary:      "Downloads, behind the VPN",
		Image:        images.QBittorrent,
		Port:         TorrentPort,
		User:         host.MediaOwner,
		Program:      []string{entrypoint},
		Health:       service.Health{Path: "/api/v2/app/version"},
		Metrics:      workload.NoMetrics(measuredByWiring),
		Folders:      []service.Folder{{Base: "config", Target: "/config", Keeps: workload.Files()}},
		Scratch:      map[string]int{"/tmp": 64},
		Downloads:    downloads,
		BehindTunnel: true,
		Secrets:      []string{password, salt},
		Seeds: []service.File{{Target: "/config/qBittorrent/qBittorrent.conf", Content: func(given service.Given) (pulumi.StringInput, error) {
			return pulumi.All(given.Secrets[password], given.Secrets[salt]).ApplyT(func(v []any) (string, error) {
				return renderTorrent(v[0].(string), v[1].(string), given.Hostname)
			}).(pulumi.StringOutput), nil
		}}},
		Administrator: &service.FirstLogin{Name: administrator, Secret: password},
		Wired:         true,
		// It writes down what it has of every torrent.
		StopGrace: 2 * time.Minute,
		Default: service.Default{
			Hostname:   "qbittorrent",
			Visibility: access.Tailnet,
			Access:     access.Access{Policy: access.TwoFactor, Groups: []string{"admins"}},
			MemoryMiB:  1024,
		},
	}
}

func renderTorrent(password, salt, hostname string) (string, error) {
	const saltBytes = 16
	if len(salt) < saltBytes {
		return "", fmt.Errorf("rendering qBittorrent.conf: the salt has fewer than %d bytes", saltBytes)
	}
	return torrent.Config(torrent.Settings{
		Port: TorrentPort, Username: administrator, Password: password, Salt: []byte(salt)[:saltBytes],
		Interface: vpn.Interface, SavePath: complete, TempPath: incomplete, Names: []string{vpn.Name, hostname},
	})
}
