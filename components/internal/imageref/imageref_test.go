package imageref

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var digest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

func TestParse(t *testing.T) {
	for text, want := range map[string]Reference{
		"nginx:1.29@" + digest:                           {"docker.io/library/nginx", "1.29", digest},
		"ghcr.io/owner/app:v2@" + digest:                 {"ghcr.io/owner/app", "v2", digest},
		"registry.example.com:5000/app:edge-1@" + digest: {"registry.example.com:5000/app", "edge-1", digest},
	} {
		got, err := Parse(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for text, want := range map[string]string{
		"":                                    "is not the name of an image",
		"nginx":                               "has no digest",
		"nginx:latest":                        "has no digest",
		"nginx@" + digest:                     "has no tag",
		"Nginx:1@" + digest:                   "is not the name of an image",
		"nginx:1@sha256:abc":                  "is not the name of an image",
		"nginx:1@" + digest + " --privileged": "is not the name of an image",
		"nginx:1@sha512:" + strings.Repeat("0123456789abcdef", 8): "is not a sha256 digest",
	} {
		_, err := Parse(text)
		assert.ErrorContains(t, err, want, text)
	}
}
