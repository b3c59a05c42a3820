package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// maxAnswer bounds an answer, in bytes. What is asked for has about 200 bytes a series.
const maxAnswer = 4 << 20

// errAnswer marks a source that answers, but not as it should.
var errAnswer = errors.New("an answer that is none")

// problem says for people what is wrong. Details are for the log: they name inner addresses.
func problem(source Source, err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errAnswer):
		return source.Title() + " answers with an error"
	case errors.Is(err, context.DeadlineExceeded):
		return source.Title() + " is too slow to answer"
	}
	return source.Title() + " does not answer"
}

// newClient returns a client that goes straight to an address, and follows nobody elsewhere.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: false,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask reads the JSON at a path of a source into answer.
func (m *Monitor) ask(ctx context.Context, base, path string, parameters url.Values, answer any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", path, err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "homelab-home")
	response, err := m.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("asking %s: %w", path, err)
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("asking %s: status %d: %w", path, response.StatusCode, errAnswer)
	case kind != "application/json":
		return fmt.Errorf("asking %s: content type %q: %w", path, kind, errAnswer)
	case len(data) > maxAnswer:
		return fmt.Errorf("asking %s: more than %d bytes: %w", path, maxAnswer, errAnswer)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("asking %s: %w: %w", path, err, errAnswer)
	}
	return nil
}
