package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/gofrs/flock"

	"homelab/internal/machine/internal/disk"
)

// Keys sign the substitutes' repositories.
type Keys struct {
	byVendor map[string]*openpgp.Entity
}

// OpenKeys returns the keys that are kept in the folder, and makes them at the first call: base
// disks know them.
func OpenKeys(folder string) (*Keys, error) {
	k := &Keys{byVendor: map[string]*openpgp.Entity{}}
	for _, one := range []vendor{dockerVendor, tailscaleVendor} {
		key, err := openKey(folder, one.name)
		if err != nil {
			return nil, err
		}
		k.byVendor[one.name] = key
	}
	return k, nil
}

// Fingerprints are those of the substitutes' keys, by the vendor's fingerprint: what the first boot
// is to take for what.
func (k *Keys) Fingerprints() map[string]string {
	out := map[string]string{}
	for _, one := range []vendor{dockerVendor, tailscaleVendor} {
		out[one.fingerprint] = strings.ToUpper(fmt.Sprintf("%x", k.byVendor[one.name].PrimaryKey.Fingerprint))
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

// Files are what a base disk needs for these vendors: the certificate authority of their servers,
// and a gpg that tells the first boot the vendors' fingerprints where it sees those of the
// substitutes' keys. Everything else about the keys is real: apt checks the signatures with them.
func (k *Keys) Files(authority []byte) []disk.File {
	var replacements []string
	for vendors, ours := range k.Fingerprints() {
		replacements = append(replacements, fmt.Sprintf("s/%s/%s/", ours, vendors))
	}
	slices.Sort(replacements)
	wrapper := "#!/bin/sh\n# Of a rehearsal: the fingerprints of substitutes' keys read as the vendors'.\n" +
		"/usr/bin/gpg \"$@\" | sed '" + strings.Join(replacements, "; ") + "'\n"
	return []disk.File{
		{Path: "/usr/local/share/ca-certificates/rehearsal.crt", Mode: 0o644, Content: authority},
		{Path: "/usr/local/bin/gpg", Mode: 0o755, Content: []byte(wrapper)},
	}
}
