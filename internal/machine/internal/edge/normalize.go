package edge

import (
	"strings"
)

// normalized writes a path as RFC 3986 (section 6.2.2) normalizes it: what needs no percent encoding
// has none, its digits are in upper case, and there are no dot segments. Cloudflare's own way also
// takes backslashes for slashes, and several slashes for one.
// https://developers.cloudflare.com/rules/normalization/how-it-works
func normalized(path string, cloudflares bool) string {
	path = reencoded(path)
	if cloudflares {
		path = strings.ReplaceAll(path, `\`, "/")
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
	}
	return withoutDots(path)
}

// reencoded writes percent encodings alike.
func reencoded(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			out.WriteByte(path[i])
			continue
		}
		b := unhex(path[i+1])<<4 | unhex(path[i+2])
		if unreserved(b) {
			out.WriteByte(b)
		} else {
			out.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return out.String()
}

func isHex(b byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", b) >= 0 }

func unhex(b byte) byte {
	return byte(strings.IndexByte("0123456789abcdef", b|0x20)) // digits have that bit already
}

// unreserved are the bytes that mean the same encoded and not (RFC 3986, section 2.3).
func unreserved(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-._~", b) >= 0
}

// withoutDots removes the segments . and .. (RFC 3986, section 5.2.4).
func withoutDots(path string) string {
	var out []string
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "." || part == "..":
			if part == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "") // it names a folder
			}
		default:
			out = append(out, part)
		}
	}
	return "/" + strings.Join(out, "/")
}
