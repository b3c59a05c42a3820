package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxParts bounds the parts of a form: each costs the inspection more than its bytes.
const maxParts = 1000

// content is what a request says about its body.
type content struct {
	kind     string
	boundary string
}

// readContentType returns what the headers say about the body, or an error if the inspection could
// read the body otherwise than the service, or not at all.
func readContentType(h http.Header) (content, error) {
	for _, coding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return content{}, fmt.Errorf("the body is encoded: %q", coding)
		}
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return content{}, fmt.Errorf("%d content types", len(types))
	}
	// The name of a parameter with a * is another way to write the one without it.
	if strings.Contains(types[0], "*") {
		return content{}, fmt.Errorf("a content type with an extended parameter: %q", types[0])
	}
	kind, parameters, err := mime.ParseMediaType(types[0])
	if err != nil {
		return content{}, fmt.Errorf("the content type: %w", err)
	}
	if charset, ok := parameters["charset"]; ok && !isUTF8(charset) {
		return content{}, fmt.Errorf("the charset %q", charset)
	}
	if strings.HasPrefix(kind, "multipart/") {
		if kind != "multipart/form-data" || parameters["boundary"] == "" {
			return content{}, fmt.Errorf("%q is not a form with a boundary", types[0])
		}
		return content{kind, parameters["boundary"]}, nil
	}
	return content{kind: kind}, nil
}

func isUTF8(charset string) bool {
	return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8") || strings.EqualFold(charset, "us-ascii")
}

// check returns an error if the body is not what its type says, so that the inspection and the
// service could read it differently.
func (c content) check(body []byte) error {
	switch {
	case c.kind == "multipart/form-data":
		return checkForm(body, c.boundary)
	case isText(c.kind) && !utf8.Valid(body):
		return errors.New("the text is not in UTF-8")
	case isXML(c.kind):
		return checkXML(body)
	}
	return nil
}

func isXML(kind string) bool {
	return kind == "text/xml" || kind == "application/xml" || strings.HasSuffix(kind, "+xml")
}

// isText reports whether a service reads text from a body of this type.
func isText(kind string) bool {
	return strings.HasPrefix(kind, "text/") || isXML(kind) || kind == "application/json" || strings.HasSuffix(kind, "+json") ||
		kind == "application/x-www-form-urlencoded" || kind == "application/javascript" || kind == "application/graphql"
}

// checkXML returns an error for a document that declares another encoding than the one it was read
// in.
func checkXML(body []byte) error {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if !bytes.HasPrefix(body, []byte("<?xml")) {
		return nil
	}
	declaration, _, ok := bytes.Cut(body, []byte("?>"))
	if !ok {
		return errors.New("the XML declaration does not end")
	}
	_, rest, ok := bytes.Cut(declaration, []byte("encoding"))
	if !ok {
		return nil
	}
	rest = bytes.TrimLeft(rest, " \t\r\n=")
	if len(rest) < 2 || (rest[0] != '"' && rest[0] != '\'') {
		return errors.New("the XML declaration's encoding is not quoted")
	}
	encoding, _, ok := bytes.Cut(rest[1:], rest[:1])
	if !ok || !isUTF8(string(encoding)) {
		return fmt.Errorf("the XML declaration's encoding %q", encoding)
	}
	return nil
}

// checkForm walks the parts of a form. A part whose content is encoded once more would be inspected
// encoded and used decoded.
func checkForm(body []byte, boundary string) error {
	// What follows the last boundary is inspected by nobody, and read by some.
	last := []byte("--" + boundary + "--")
	end := bytes.LastIndex(body, last)
	if end < 0 || len(bytes.Trim(body[end+len(last):], " \t\r\n")) > 0 || !bytes.HasPrefix(body, []byte("--"+boundary)) {
		return errors.New("the form does not begin or end with its boundary")
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for parts := 0; ; parts++ {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the form: %w", err)
		}
		if parts == maxParts {
			return fmt.Errorf("the form has more than %d parts", maxParts)
		}
		if err := checkPart(part); err != nil {
			return err
		}
	}
}

func checkPart(part *multipart.Part) error {
	if coding := part.Header.Get("Content-Transfer-Encoding"); coding != "" {
		switch strings.ToLower(coding) {
		case "7bit", "8bit", "binary":
		default:
			return fmt.Errorf("a part is encoded: %q", coding)
		}
	}
	if len(part.Header.Values("Content-Disposition")) != 1 || part.FormName() == "" || strings.EqualFold(part.FormName(), "_charset_") {
		return errors.New("a part without one disposition and one name")
	}
	kind := part.Header.Get("Content-Type")
	if kind == "" {
		return nil
	}
	parsed, parameters, err := mime.ParseMediaType(kind)
	if err != nil {
		return fmt.Errorf("a part's content type: %w", err)
	}
	if charset, ok := parameters["charset"]; ok && !isUTF8(charset) {
		return fmt.Errorf("a part in the charset %q", charset)
	}
	if strings.HasPrefix(parsed, "multipart/") {
		return errors.New("a form within the form")
	}
	return nil
}
