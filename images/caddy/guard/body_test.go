package guard

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const formStart = "--b\r\nContent-Disposition: form-data; name=\"a\""

// A body that the inspection could read otherwise than the service is not let in.
func TestBodiesThatCanBeInspected(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		inspected  bool
	}{
		"JSON":                         {"application/json", `{"a":"ü"}`, true},
		"JSON in UTF-8":                {"application/json; charset=UTF-8", `{}`, true},
		"JSON in UTF-16":               {"application/json; charset=utf-16", `{}`, false},
		"JSON in UTF-16, undeclared":   {"application/json", "\xff\xfe{\x00}\x00", false},
		"a form in EBCDIC":             {"application/x-www-form-urlencoded; charset=ibm037", "a=b", false},
		"a form":                       {"application/x-www-form-urlencoded", "a=b", true},
		"a picture":                    {"image/png", "\x89PNG\r\n\xff", true},
		"bytes":                        {"application/octet-stream", "\xff\xfe", true},
		"no type":                      {"", "a=b", false},
		"no type that can be read":     {"text", "a=b", true},
		"a broken type":                {"text/plain; charset", "a", false},
		"charset twice":                {"text/plain; charset=utf-8; charset=utf-16", "a", false},
		"charset in two spellings":     {"text/plain; charset*=utf-8''utf-16", "a", false},
		"XML":                          {"application/xml", `<?xml version="1.0" encoding="UTF-8"?><a/>`, true},
		"XML without a declaration":    {"text/xml", `<a/>`, true},
		"XML in UTF-7":                 {"text/xml", `<?xml version="1.0" encoding='utf-7'?><a/>`, false},
		"XML whose declaration is odd": {"application/soap+xml", `<?xml version="1.0" encoding=utf-7?><a/>`, false},
		"XML without an end":           {"application/xml", `<?xml version="1.0"`, false},
		"parts":                        {"multipart/form-data; boundary=b", formStart + "\r\n\r\n1\r\n--b--\r\n", true},
		"a file":                       {"multipart/form-data; boundary=b", formStart + "; filename=\"x\"\r\nContent-Type: image/png\r\n\r\n\xff\r\n--b--", true},
		"no boundary":                  {"multipart/form-data", formStart + "\r\n\r\n1\r\n--b--\r\n", false},
		"two boundaries":               {"multipart/form-data; boundary=b; boundary=c", formStart + "\r\n\r\n1\r\n--b--\r\n", false},
		"a boundary spelled twice":     {"multipart/form-data; boundary=b; boundary*0=c", formStart + "\r\n\r\n1\r\n--b--\r\n", false},
		"another multipart":            {"multipart/mixed; boundary=b", formStart + "\r\n\r\n1\r\n--b--\r\n", false},
		"text before the form":         {"multipart/form-data; boundary=b", "x\r\n" + formStart + "\r\n\r\n1\r\n--b--\r\n", false},
		"text behind the form":         {"multipart/form-data; boundary=b", formStart + "\r\n\r\n1\r\n--b--\r\n" + formStart, false},
		"no end":                       {"multipart/form-data; boundary=b", formStart + "\r\n\r\n1\r\n", false},
		"a part in base64":             {"multipart/form-data; boundary=b", formStart + "\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--b--\r\n", false},
		"a part quoted-printable":      {"multipart/form-data; boundary=b", formStart + "\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n=31\r\n--b--\r\n", false},
		"a part in UTF-16":             {"multipart/form-data; boundary=b", formStart + "\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n1\r\n--b--\r\n", false},
		"a form in a part":             {"multipart/form-data; boundary=b", formStart + "\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n1\r\n--b--\r\n", false},
		"a part without a name":        {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n", false},
		"a part that sets the charset": {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"_charset_\"\r\n\r\nutf-16\r\n--b--\r\n", false},
		"more parts than anybody has":  {"multipart/form-data; boundary=b", strings.Repeat(formStart+"\r\n\r\n1\r\n", maxParts+1) + "--b--\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if c.kind != "" {
				header.Set("Content-Type", c.kind)
			}
			kind, err := readContentType(header)
			if err == nil {
				err = kind.check([]byte(c.body))
			}
			if c.inspected {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
		})
	}
}

func TestEncodedBodiesAreNotInspected(t *testing.T) {
	for coding, inspected := range map[string]bool{"identity": true, "gzip": false, "br": false, "identity, gzip": false, "": false} {
		_, err := readContentType(http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {coding}})
		assert.Equal(t, inspected, err == nil, "%q: %v", coding, err)
	}
	_, err := readContentType(http.Header{"Content-Type": {"application/json", "text/plain"}})
	assert.Error(t, err, "a body with two types")
}
