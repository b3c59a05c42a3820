// Package imageref reads the reference of a container image that an operator wrote, and accepts
// only one whose digest says what will run.
package imageref

import (
	"fmt"

	"github.com/distribution/reference"
)

// Reference names one image: what is pulled, and the digest of its index or manifest.
type Reference struct {
	// Repository is the full name, registry included, such as docker.io/library/nginx.
	Repository string
	// Tag is the version for people to read.
	Tag string
	// Digest is sha256: and 64 hexadecimal digits.
	Digest string
}

// Parse reads repository:tag@digest. Both tag and digest are required: the digest decides what
// runs, the tag lets a person read which version that is. A repository without a registry is Docker
// Hub's.
func Parse(text string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Reference{}, fmt.Errorf("it is not the name of an image: %w", err)
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		return Reference{}, fmt.Errorf("it has no digest, so what runs could change: append @sha256:…")
	}
	tagged, ok := named.(reference.Tagged)
	if !ok {
		return Reference{}, fmt.Errorf("it has no tag, so nobody could read which version runs: write %s:VERSION@%s", named.Name(), digested.Digest())
	}
	if digested.Digest().Algorithm() != "sha256" {
		return Reference{}, fmt.Errorf("its digest is not a sha256 digest")
	}
	return Reference{Repository: named.Name(), Tag: tagged.Tag(), Digest: digested.Digest().String()}, nil
}
