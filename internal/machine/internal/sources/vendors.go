// Package sources is where a virtual machine gets its packages: Debian's mirror, through a cache on
// this computer, and the vendors' repositories, whose packages are substitutes.
package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/gofrs/flock"
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
	keys  map[string]*openpgp.Entity // by the vendor's name
	hosts map[string]http.Handler
}

// Hosts are the names at which the vendors' repositories are served, over HTTPS.
func Hosts() []string { return []string{dockerVendor.host, tailscaleVendor.host} }

// Open makes the vendors' repositories. Their keys are kept in the folder, because base disks know
// them. tailscale is the package to be found at Tailscale's.
func Open(folder string, tailscale Tailscale) (*Vendors, error) {
	v := &Vendors{keys: map[string]*openpgp.Entity{}, hosts: map[string]http.Handler{}}
	client, err := tailscale.deb()
	if err != nil {
		return nil, err
	}
	for _, one := range []struct {
		vendor
		packages []deb
	}{{tailscaleVendor, []deb{client}}, {dockerVendor, dockerPackages()}} {
		key, err := openKey(folder, one.name)
		if err != nil {
			return nil, err
		}
		v.keys[one.name] = key
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

// dockerPackages are substitutes of Docker's packages: empty ones, which need Debian's.
func dockerPackages() []deb {
	var out []deb
	for _, p := range []struct{ name, version, debians string }{
		{"containerd.io", "1.7.99-1", "containerd"}, {"docker-ce", "5:28.99.0-1~debian.13~" + suite, "docker.io"},
		{"docker-ce-cli", "5:28.99.0-1~debian.13~" + suite, "docker-cli"},
	} {
		out = append(out, deb{
			name: p.name, version: p.version, architecture: "amd64", depends: []string{p.debians},
			description: "substitute of a rehearsal: Debian's " + p.debians,
		})
	}
	return out
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

// Fingerprints are those of the substitutes' keys, by the vendor's fingerprint: what the first boot
// is to take for what.
func (v *Vendors) Fingerprints() map[string]string {
	out := map[string]string{}
	for _, one := range []vendor{dockerVendor, tailscaleVendor} {
		out[one.fingerprint] = strings.ToUpper(fmt.Sprintf("%x", v.keys[one.name].PrimaryKey.Fingerprint))
	}
	return out
}

// openKey returns the substitute's key of that name, and makes it at the first call.
func openKey(folder, name string) (_ *openpgp.Entity, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the substitutes' keys: %w", err)
	}
	lock := flock.New(filepath.Join(folder, name+".lock"))
	if _, err := lock.TryLockContext(context.Background(), 50*time.Millisecond); err != nil {
		return nil, fmt.Errorf("locking the substitutes' keys: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	path := filepath.Join(folder, name+".key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = createKey(name); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the substitute's key of %s: %w", name, err)
	}
	key, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return key, nil
}

func createKey(name string) ([]byte, error) {
	key, err := openpgp.NewEntity("Rehearsal substitute of "+name, "", "rehearsal@example.com", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA,
		Time:      func() time.Time { return time.Now().Add(-24 * time.Hour) }, // of use to a clock that is behind
	})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = key.SerializePrivateWithoutSigning(&out, nil)
	return out.Bytes(), err
}
