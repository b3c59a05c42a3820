package sources

import (
	"fmt"
	"slices"
	"strings"

	"homelab/internal/machine/internal/disk"
)

// Files are what a base disk needs for these vendors: the certificate authority of their servers,
// and a gpg that tells the first boot the vendors' fingerprints where it sees those of the
// substitutes' keys. Everything else about the keys is real: apt checks the signatures with them.
func (v *Vendors) Files(authority []byte) []disk.File {
	var replacements []string
	for vendors, ours := range v.Fingerprints() {
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
