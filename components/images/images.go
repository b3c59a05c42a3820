// Package images pins every container image the program runs: name, tag and the digest of the image
// index.
//
// An Image can only be made here, so a container with a floating tag does not compile; an
// operator's own is read by imageref, which refuses one without a digest. A tag says what a person
// meant, the digest says what runs; both move together, in one commit that a person reads.
package images

import (
	"fmt"
	"regexp"

	"homelab/components/internal/imageref"
)

// Image is one pinned image. Its zero value is refused by everything that takes an Image.
type Image struct {
	repository string
	tag        string
	digest     string
}

// Reference is what a container runtime pulls: repository:tag@digest. The digest decides; the tag
// is for people.
func (i Image) Reference() string { return fmt.Sprintf("%s:%s@%s", i.repository, i.tag, i.digest) }

// Validate reports an image that was not made by this package.
func (i Image) Validate() error {
	if i.repository == "" || i.tag == "" || !digest.MatchString(i.digest) {
		return fmt.Errorf("image %q is not pinned: use one of the images declared in components/images", i.repository)
	}
	return nil
}

// FromOperator is the image of a service of the operator's own, which names its digest.
func FromOperator(r imageref.Reference) Image {
	return Image{repository: r.Repository, tag: r.Tag, digest: r.Digest}
}

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// The images of the running system. Digests are those of the multi-platform index, as published by
// each project.
var (
	// CrowdSec is the detection engine with its local API and AppSec.
	CrowdSec = Image{"docker.io/crowdsecurity/crowdsec", "v1.7.8", "sha256:2f527c9bb8b367120eb08b82890aa912ce96bfa1ada93dda0721700e4b4e0dde"}
	// Authelia is the identity portal.
	Authelia = Image{"ghcr.io/authelia/authelia", "4.39.20", "sha256:1b363e9279e742397966333f364e0876ae02bf5c876de73e83af6d48c57ff51b"}
	// Valkey is Authelia's session store.
	Valkey = Image{"docker.io/valkey/valkey", "9.1.2-alpine", "sha256:48332870af354a799964c0012ae1194a0bf2bf894eb508f945810596dc2d8d11"}
	// Jellyfin is the media server.
	Jellyfin = Image{"docker.io/jellyfin/jellyfin", "10.11.11", "sha256:aefb67e6a7ff1debdd154a78a7bbb780fd0c873d8639210a7f6a2016ad2b35db"}
	// Jellyseerr is the request manager; the project goes by the name Seerr since 3.0.
	Jellyseerr = Image{"ghcr.io/seerr-team/seerr", "v3.5.0", "sha256:27602401178d54f1964442287b9f23f67a3fa2252645ee8065839ea1c3f69e45"}
	// Radarr and Sonarr look after films and series.
	Radarr = Image{"ghcr.io/home-operations/radarr", "6.4.4.10685", "sha256:be53998a2d39cfa3c3315b70c7509a6a1f2a10c3aee9337653efc9f4c970430e"}
	Sonarr = Image{"ghcr.io/home-operations/sonarr", "4.0.20.3012", "sha256:1f19eb5e0f421418c1a956bbe01310a0141423afe28bd9a4b1dcb8629ff2bce2"}
	// Recyclarr writes the quality profiles of the TRaSH guides into them.
	Recyclarr = Image{"ghcr.io/recyclarr/recyclarr", "8.7.2", "sha256:6e69e009e1cd7493ff6093e8e187b5d3788c75b4a2c0c5127b6a1beda1c19728"}
	// Prowlarr gives them indexers, its own and Jackett's.
	Prowlarr = Image{"ghcr.io/home-operations/prowlarr", "2.6.5.5623", "sha256:6152751c3ea2e7751564f5952173d5e83eed0e09f3fabd2cb6bdb58690c39e2f"}
	Jackett  = Image{"ghcr.io/home-operations/jackett", "0.24.2668", "sha256:ce6c935f05e3052ac006f54479aa7236e00e24a0a48daf59e371df85c76af2e2"}
	// QBittorrent is the torrent client.
	QBittorrent = Image{"ghcr.io/home-operations/qbittorrent", "5.2.4", "sha256:9307627e03981d5473aa31175ea76ed56ea3752333ca49d601b6af45e281e7ba"}
	// Gluetun is the VPN tunnel. Its settings have other names from the next version on.
	Gluetun = Image{"docker.io/qmcgaw/gluetun", "v3.41.3", "sha256:fa19cc76b2af13d57a8d3dc3066f2ada061b1c761b8aecf989b3877c0486e027"}
	// Prometheus measures, Alertmanager tells people, Blackbox asks as a client would.
	Prometheus   = Image{"docker.io/prom/prometheus", "v3.15.0", "sha256:efd719c99d83b060d9daefdcf00360461adf279f45ef5391f8d111892118753e"}
	Alertmanager = Image{"docker.io/prom/alertmanager", "v0.34.1", "sha256:e9733bafb1bdef9b00e25a21f8f99dc26a22224bf16641ad754d1649f4c3357a"}
	Blackbox     = Image{"docker.io/prom/blackbox-exporter", "v0.28.0", "sha256:e753ff9f3fc458d02cca5eddab5a77e1c175eee484a8925ac7d524f04366c2fc"}
	// NodeExporter measures the machine, CAdvisor its containers.
	NodeExporter = Image{"docker.io/prom/node-exporter", "v1.12.1", "sha256:1b4e4438faca4dd7e001dd445d161a4a2091b0fededa84093b3a8dfeae1f1be0"}
	CAdvisor     = Image{"ghcr.io/google/cadvisor", "v0.60.5", "sha256:763aecf1c32c2be8a1a75f9abfc2fc461005c9dbbaa39cb356b354aac1296dbe"}
	// Loki keeps logs. Alloy sends them there, or Promtail, which is no longer maintained.
	Loki     = Image{"docker.io/grafana/loki", "3.7.8", "sha256:1107dd5274e0ada47e42472b7a7e71f3b2a2fe878878108f3e2f9e51528f0193"}
	Alloy    = Image{"docker.io/grafana/alloy", "v1.20.1", "sha256:2aa2099af76c0098d4af7a4d6e48f86cb66dc1a000222ad927a1c67c6542d13f"}
	Promtail = Image{"docker.io/grafana/promtail", "3.6.10", "sha256:2a0f5e3e160ee5d549c585f6cc4f4e1c566ff783324a424bd75bc16503fc660e"}
	// Grafana draws.
	Grafana = Image{"docker.io/grafana/grafana", "13.2.3", "sha256:b28bae15e219c998fb0e0424ed724930cc61b1f61fb404d47c862f9a23f9e572"}
	// DockerAPI lets few of the questions through that Docker's socket answers.
	DockerAPI = Image{"docker.io/wollomatic/socket-proxy", "1.13.1", "sha256:3935b709275e4ec35d6ed5a5c4a1f0d01ed31eec5e7234efc3357ecd47689002"}
)
