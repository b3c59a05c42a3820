package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"homelab/images/wire/internal/plan"
)

const (
	// maxAnswer bounds an answer that is one object.
	maxAnswer = 4 << 20
	// maxList bounds an answer that is a list, which is read one element after the other.
	maxList = 8 << 20
)

// look is what one round finds of an app.
type look struct {
	app      plan.App
	base     string
	header   http.Header // of every request
	client   *http.Client
	samples  []sample
	problems []string
}

// leave reports that something of the app is left out.
func (l *look) leave(what string, err error) {
	l.problems = append(l.problems, fmt.Sprintf("cannot measure %s: %v", what, err))
}

// codeError is an answer that is no success.
type codeError int

// Error returns the status.
func (e codeError) Error() string {
	if e == http.StatusUnauthorized || e == http.StatusForbidden {
		return fmt.Sprintf("it refuses our key (%d)", int(e))
	}
	return fmt.Sprintf("it answers %d", int(e))
}

// refuses reports whether an error is that the app does not take our key.
func refuses(err error) bool {
	var status codeError
	return errors.As(err, &status) && (status == http.StatusUnauthorized || status == http.StatusForbidden)
}

// get asks a question, and has the answer read if it is a success.
func (l *look) get(ctx context.Context, path string, query url.Values, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+path, nil)
	if err != nil {
		return plain(err)
	}
	request.URL.RawQuery = query.Encode()
	request.Header = l.header.Clone()
	return send(l.client, request, func(response *http.Response) error {
		// A redirect is no success: it leads to a login.
		if response.StatusCode != http.StatusOK {
			return codeError(response.StatusCode)
		}
		return read(response.Body)
	})
}

// send sends a request and has its answer read.
func send(client *http.Client, request *http.Request, read func(*http.Response) error) (err error) {
	response, err := client.Do(request)
	if err != nil {
		return plain(err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if err := read(response); err != nil {
		return plain(err)
	}
	return nil
}

// object asks for an object.
func (l *look) object(ctx context.Context, path string, query url.Values, into any) error {
	return l.get(ctx, path, query, func(body io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
		if err != nil {
			return err
		}
		if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
			return errors.New("the answer is no object of JSON")
		}
		return otherwise(json.Unmarshal(data, into))
	})
}

// list asks for a list, and hands over one element after the other, so that a long one needs no
// memory.
func list[T any](ctx context.Context, l *look, path string, query url.Values, each func(T) error) error {
	return l.get(ctx, path, query, func(body io.Reader) error {
		decoder := json.NewDecoder(io.LimitReader(body, maxList))
		start, err := decoder.Token()
		if err != nil {
			return otherwise(err)
		}
		if start != json.Delim('[') {
			return errors.New("the answer is no list of JSON")
		}
		for decoder.More() {
			var element T
			if err := decoder.Decode(&element); err != nil {
				return otherwise(err)
			}
			if err := each(element); err != nil {
				return err
			}
		}
		_, err = decoder.Token() // the end of the list
		return otherwise(err)
	})
}

// otherwise returns an error of reading JSON in few words. What the app has said is not in them.
func otherwise(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("the answer's %s is not of the expected type", kind.Field)
	case errors.As(err, &syntax):
		return errors.New("the answer is no JSON")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the answer ends early")
	}
	return err
}

// plain returns an error of the network in few words, and without the URL, which can hold a key.
func plain(err error) error {
	var dns *net.DNSError
	var outer *url.Error
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("the host %s is not known", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refuses the connection")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer in time")
	case errors.As(err, &outer):
		return outer.Err
	}
	return err
}
