package access

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUploadProblems(t *testing.T) {
	good := Upload{Path: "/api/upload", MaxMB: 100, Reason: "films"}
	assert.Empty(t, good.Problems())
	assert.Equal(t, []string{"PATCH", "POST", "PUT"}, good.Admitted())
	for _, path := range []string{"/a", "/a/b.c/~d_e-f"} {
		good.Path = path
		assert.Empty(t, good.Problems(), path)
	}
	for _, path := range []string{"", "/", "a", "/a/", "/a//b", "/a/../b", "/.", "/..", "/a b", "/a%2fb", "/a?b", "/a;b", "^/a", "/a*", `/a\b`, "/ä", "/a\n"} {
		assert.Len(t, Upload{Path: path, MaxMB: 100, Reason: "films"}.Problems(), 1, path)
	}
	assert.Equal(t, []string{
		`path "" is not a plain path below /: write the path itself and no pattern, such as /api/upload; what is below it is meant too`,
		`methods[0] "GET" is not a method that uploads: use one of PATCH, POST, PUT`,
		`methods[2] "PUT" is listed twice: remove one`,
		"maxMB must be between 11 and 10000, is 10: give the largest file in megabytes; up to 10 MB needs no entry",
		"reason is missing: a path whose files are not inspected to their end needs a reason: say why",
	}, Upload{Methods: []string{"GET", "PUT", "PUT"}, MaxMB: 10, Reason: " "}.Problems())
	assert.NotEmpty(t, Upload{Path: "/a", MaxMB: 10_001, Reason: "films"}.Problems())
}

func TestUploadsThatCoverEachOther(t *testing.T) {
	for other, want := range map[string]bool{"/a": true, "/a/b": true, "/ab": false, "/b": false, "/a/b/c": true} {
		assert.Equal(t, want, Upload{Path: "/a"}.Covers(Upload{Path: other}), other)
		assert.Equal(t, want, Upload{Path: other}.Covers(Upload{Path: "/a"}), other)
	}
}
