package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer bounds an answer. Prowlarr's schema of all indexers has several MiB.
const maxAnswer = 64 << 20

// statusError is an answer that is no success.
type statusError struct {
	code    int
	message string
	// property is the property that the app finds wrong, if it says so.
	property string
}

// Error returns the status, and what the app says about it.
func (e *statusError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("it answers %d", e.code)
	}
	return fmt.Sprintf("it answers %d: %s", e.code, e.message)
}

// code returns the status of an answer that is no success, or 0.
func code(err error) int {
	var answer *statusError
	if errors.As(err, &answer) {
		return answer.code
	}
	return 0
}

// why returns what an app says of a site that it has asked for us, without the app's status.
func why(err error) string {
	var answer *statusError
	if errors.As(err, &answer) && answer.message != "" {
		return strings.TrimPrefix(answer.message, answer.property+": ")
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

// api calls an app that speaks JSON.
type api struct {
	base   string
	client *http.Client
	header func(http.Header)
}

// call sends body, if there is one, and decodes the answer into into, if there is one. Forms are
// sent as forms, everything else as JSON.
func (c *api) call(ctx context.Context, method, path string, body, into any) (_ *http.Response, err error) {
	var content io.Reader
	kind := ""
	switch body := body.(type) {
	case nil:
	case url.Values:
		content, kind = strings.NewReader(body.Encode()), "application/x-www-form-urlencoded"
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content, kind = bytes.NewReader(data), "application/json"
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, plain(err)
	}
	request.Header.Set("Accept", "application/json")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if c.header != nil {
		c.header(request.Header)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, plain(err)
	}
	// A redirect is no success: it leads to a login.
	if response.StatusCode >= http.StatusMultipleChoices {
		return response, &statusError{code: response.StatusCode, message: message(data)}
	}
	if into == nil {
		return response, nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return response, fmt.Errorf("it answers something else than expected: %w", err)
	}
	return response, nil
}

// message returns what an app says about an error, in one short line.
func message(body []byte) string {
	var answer struct {
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return ""
	}
	return short(answer.Message + " " + answer.Error)
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return text
}
