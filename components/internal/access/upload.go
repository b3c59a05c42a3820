package access

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	// InspectedMB is the largest request body, in megabytes, that is inspected whole. CrowdSec's
	// AppSec takes no body of more than 10 MiB (1.7.8, DefaultMaxBodySize).
	InspectedMB = 10
	// MaxUploadMB is the largest upload that can be declared, in megabytes.
	MaxUploadMB = 10_000
)

// Upload is a path of a service that takes files larger than InspectedMB. Of a file only the
// beginning is inspected there, so a file is what no service reads as text, a form or a document: a
// body of the type application/octet-stream, application/offset+octet-stream, image, audio or
// video.
type Upload struct {
	// Path begins the paths: itself, and everything below it. Required, and not all of the service.
	Path string
	// Methods are the request methods that upload; empty means all of UploadMethods.
	Methods []string
	// MaxMB is the largest file, in megabytes (11 to 10000); required.
	MaxMB int
	// Reason says why the service needs it; required.
	Reason string
}

// UploadMethods returns the methods that an upload may name.
func UploadMethods() []string { return []string{"PATCH", "POST", "PUT"} }

// Admitted returns the methods that upload, sorted.
func (u Upload) Admitted() []string {
	if len(u.Methods) == 0 {
		return UploadMethods()
	}
	return slices.Sorted(slices.Values(u.Methods))
}

var uploadPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

// Check returns everything wrong with u.
func (u Upload) Check() []Problem {
	var out []Problem
	if !uploadPath.MatchString(u.Path) || path.Clean(u.Path) != u.Path {
		out = append(out, Problem{
			"path", fmt.Sprintf("%q is not a plain path below /", u.Path),
			"write the path itself and no pattern, such as /api/upload; what is below it is meant too",
		})
	}
	out = append(out, methodProblems(u.Methods, UploadMethods(), "uploads")...)
	if u.MaxMB <= InspectedMB || u.MaxMB > MaxUploadMB {
		out = append(out, Problem{
			"maxMB", fmt.Sprintf("must be between %d and %d, is %d", InspectedMB+1, MaxUploadMB, u.MaxMB),
			fmt.Sprintf("give the largest file in megabytes; up to %d MB needs no entry", InspectedMB),
		})
	}
	if strings.TrimSpace(u.Reason) == "" {
		out = append(out, Problem{"reason", "is missing: a path whose files are not inspected to their end needs a reason", "say why"})
	}
	return out
}

// Problems returns everything wrong with u, one line each; none means valid.
func (u Upload) Problems() []string { return lines(u.Check()) }

// Covers reports whether a path of one is a path of the other too.
func (u Upload) Covers(o Upload) bool {
	a, b := u.Path+"/", o.Path+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// methodProblems reports methods that are not in allowed, and those listed twice. What says what
// the allowed ones are for.
func methodProblems(methods, allowed []string, what string) []Problem {
	var out []Problem
	for i, m := range methods {
		field := fmt.Sprintf("methods[%d]", i)
		switch {
		case !slices.Contains(allowed, m):
			out = append(out, Problem{field, fmt.Sprintf("%q is not a method that %s", m, what), "use one of " + list(allowed)})
		case slices.Index(methods, m) < i:
			out = append(out, Problem{field, fmt.Sprintf("%q is listed twice", m), "remove one"})
		}
	}
	return out
}
