package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// wget is GNU's wget as the deployment calls it in Gluetun's image, where busybox's cannot speak
// HTTPS:
//
//	wget -q -T SECONDS -O - [--post-file FILE] URL
//
// Unlike GNU's it does not ask whose certificate it is shown.
func wget(ctx context.Context, p process) error {
	var url, posted string
	out := p.out
	patience := 15 * time.Minute // GNU's own
	words := p.args
	next := func() (word string) {
		if len(words) > 0 {
			word, words = words[0], words[1:]
		}
		return word
	}
	for len(words) > 0 {
		switch word := next(); {
		case word == "-q":
		case word == "-T":
			seconds, err := strconv.Atoi(next())
			if err != nil || seconds < 1 {
				return fmt.Errorf("wget: -T: no number of seconds")
			}
			patience = time.Duration(seconds) * time.Second
		case word == "-O":
			switch name := next(); name {
			case "-":
			case "/dev/null":
				out = io.Discard
			default:
				return fmt.Errorf("wget: the stand-in does not write to %q", name)
			}
		case word == "--post-file":
			posted = next()
		case url == "" && (strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://")):
			url = word
		default:
			return fmt.Errorf("wget: the stand-in does not know %q", word)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return fetch(ctx, p, url, posted, out)
}

// fetch sends a request, and copies what is answered.
func fetch(ctx context.Context, p process, url, posted string, out io.Writer) error {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if posted != "" {
		content, err := os.ReadFile(p.path(posted))
		if err != nil {
			return fmt.Errorf("wget: %w", err)
		}
		method, body = http.MethodPost, strings.NewReader(string(content))
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("wget: %w", err)
	}
	if posted != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see wget
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("wget: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("wget: %s: %s", url, answer.Status)
	}
	_, err = io.Copy(out, answer.Body)
	return err
}
