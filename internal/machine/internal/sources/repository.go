package sources

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// repository is an apt repository of one suite and one component.
type repository struct {
	origin, label, suite, component string
	packages                        []deb
	key                             *openpgp.Entity
}

// files are the repository's files by their path below its address: the packages, the list of them,
// and the signed list of lists, of that date.
func (r repository) files(date time.Time) (map[string][]byte, error) {
	out := map[string][]byte{}
	var list bytes.Buffer
	for _, d := range r.packages {
		content, err := d.build()
		if err != nil {
			return nil, err
		}
		file := path.Join("pool", r.component, fmt.Sprintf("%s_%s_%s.deb", d.name, strings.ReplaceAll(d.version, ":", "%3a"), d.architecture))
		out[file] = content
		fmt.Fprintf(&list, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", d.control(), file, len(content), sha256.Sum256(content))
	}
	index := r.component + "/binary-amd64/Packages"
	out[path.Join("dists", r.suite, index)] = list.Bytes()
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: amd64\nComponents: %s\nDescription: %s, substitutes of a rehearsal\n",
		r.origin, r.label, r.suite, r.suite, date.UTC().Format(time.RFC1123), r.component, r.label)
	fmt.Fprintf(&release, "SHA256:\n %x %d %s\n", sha256.Sum256(list.Bytes()), list.Len(), index)
	var signed bytes.Buffer
	writer, err := clearsign.Encode(&signed, r.key.PrivateKey, nil)
	if err != nil {
		return nil, fmt.Errorf("signing the repository %s: %w", r.origin, err)
	}
	if _, err := writer.Write(release.Bytes()); err != nil {
		return nil, fmt.Errorf("signing the repository %s: %w", r.origin, err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("signing the repository %s: %w", r.origin, err)
	}
	out[path.Join("dists", r.suite, "InRelease")] = signed.Bytes()
	return out, nil
}
