// Package sources is where a virtual machine gets its packages: Debian's mirror, through a cache on
// this computer, and the vendors' repositories, whose packages are substitutes.
package sources

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"homelab/internal/machine/internal/disk"
)

const suite = "trixie"

// vendor is who publishes packages beside Debian.
type vendor struct {
	name string
	// host serves the repository below base, and the key at keyPath.
	host, base, keyPath string
	armored             bool // the key, and not binary
	fingerprint         string
	origin, label       string
	component           string
}

// The vendors, as components/host/files/homelab-bootstrap has them.
var (
	tailscaleVendor = vendor{
		name: "tailscale", host: "pkgs.tailscale.com", base: "/stable/debian/", keyPath: "/stable/debian/" + suite + ".noarmor.gpg",
		fingerprint: "2596A99EAAB33821893C0A79458CA832957F5868", origin: "Tailscale", label: "Tailscale", component: "main",
	}
	dockerVendor = vendor{
		name: "docker", host: "download.docker.com", base: "/linux/debian/", keyPath: "/linux/debian/gpg", armored: true,
		fingerprint: "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", origin: "Docker", label: "Docker CE", component: "stable",
	}
)

// Vendors are the vendors' repositories with substitutes in them.
type Vendors struct {
	hosts map[string]http.Handler
}

// Hosts are the names at which the vendors' repositories are served, over HTTPS.
func Hosts() []string { return []string{dockerVendor.host, tailscaleVendor.host} }

// DockerPackages are the packages of Debian's that stand for Docker's. Debian's containerd may be
// beside Docker's package of it, so that one is empty and needs it.
func DockerPackages() []disk.Substitute {
	return []disk.Substitute{{Debian: "docker.io", Name: "docker-ce", Epoch: dockerEpoch}, {Debian: "docker-cli", Name: "docker-ce-cli", Epoch: dockerEpoch}}
}

// dockerEpoch is that of Docker's own versions.
const dockerEpoch = 5

// New makes the vendors' repositories. tailscale is the package to be found at Tailscale's, and
// docker are the files of DockerPackages, as a base disk has them.
func New(keys *Keys, tailscale Tailscale, docker []string) (*Vendors, error) {
	client, err := tailscale.deb()
	if err != nil {
		return nil, err
	}
	engine := []deb{{
		name: "containerd.io", version: "1.7.99-1", architecture: "amd64", depends: []string{"containerd"}, description: "substitute of a rehearsal: Debian's containerd",
	}}
	for _, path := range docker {
		one, err := readDeb(path)
		if err != nil {
			return nil, err
		}
		engine = append(engine, one)
	}
	if want := 1 + len(DockerPackages()); len(engine) != want {
		return nil, fmt.Errorf("%d packages of Docker instead of %d", len(engine), want)
	}
	v := &Vendors{hosts: map[string]http.Handler{}}
	for _, one := range []struct {
		vendor
		packages []deb
	}{{tailscaleVendor, []deb{client}}, {dockerVendor, engine}} {
		key := keys.byVendor[one.name]
		files, err := repository{
			origin: one.origin, label: one.label, suite: suite, component: one.component, packages: one.packages, key: key,
		}.files(time.Now())
		if err != nil {
			return nil, err
		}
		served := map[string][]byte{}
		for name, content := range files {
			served[one.base+name] = content
		}
		if served[one.keyPath], err = one.publicKey(key); err != nil {
			return nil, err
		}
		v.hosts[one.host] = serveFiles(served)
	}
	return v, nil
}

// serveFiles answers with these files and nothing else.
func serveFiles(files map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[r.URL.EscapedPath()]
		if !ok {
			content, ok = files[r.URL.Path]
		}
		if !ok || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// ServeHTTP answers as the vendor whose name the request has.
func (v *Vendors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, ok := v.hosts[r.Host]
	if !ok {
		http.Error(w, "no such host in this rehearsal", http.StatusMisdirectedRequest)
		return
	}
	host.ServeHTTP(w, r)
}

// publicKey is the key as the vendor publishes it.
func (v vendor) publicKey(key *openpgp.Entity) ([]byte, error) {
	var out bytes.Buffer
	if !v.armored {
		err := key.Serialize(&out)
		return out.Bytes(), err
	}
	writer, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("writing the key of %s: %w", v.name, err)
	}
	if err := errors.Join(key.Serialize(writer), writer.Close()); err != nil {
		return nil, fmt.Errorf("writing the key of %s: %w", v.name, err)
	}
	return out.Bytes(), nil
}
