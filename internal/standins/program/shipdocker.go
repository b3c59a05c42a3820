package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// batch is how many lines are sent at once.
const batch = 500

func encode(value any) ([]byte, error) { return json.Marshal(value) }

// decodeIfThere reads JSON, unless there is none.
func decodeIfThere(content []byte, into any) error {
	if content == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}

// ask asks Docker, and returns the answer and whether it is in frames.
func (s *shipper) ask(ctx context.Context, path string) (content []byte, framed bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.TrimPrefix(s.engine, "tcp://")+path, nil)
	if err != nil {
		return nil, false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	content, err = io.ReadAll(io.LimitReader(response.Body, 32<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("docker answers %s to %s", response.Status, path)
	}
	return content, response.Header.Get("Content-Type") != "application/vnd.docker.raw-stream", err
}

// fromContainers sends what the running containers have printed.
func (s *shipper) fromContainers(ctx context.Context) error {
	content, _, err := s.ask(ctx, "/containers/json")
	if err != nil {
		return fmt.Errorf("looking for containers: %w", err)
	}
	var all []struct {
		ID    string `json:"Id"`
		Names []string
	}
	if err := json.Unmarshal(content, &all); err != nil {
		return fmt.Errorf("looking for containers: %w", err)
	}
	var problems []error
	for _, container := range all {
		if len(container.Names) == 0 {
			continue
		}
		labels := map[string]string{"__meta_docker_container_id": container.ID, "__meta_docker_container_name": container.Names[0]}
		for _, rule := range s.rules {
			rule.apply(labels)
		}
		problems = append(problems, s.fromContainer(ctx, container.ID, labels))
	}
	return errors.Join(problems...)
}

func (s *shipper) fromContainer(ctx context.Context, id string, labels map[string]string) error {
	last := s.seen.Containers[id]
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "timestamps": {"1"}}
	if !last.IsZero() {
		query.Set("since", fmt.Sprintf("%d.%09d", last.Unix(), last.Nanosecond()))
	}
	content, framed, err := s.ask(ctx, "/containers/"+id+"/logs?"+query.Encode())
	if err != nil {
		return fmt.Errorf("reading the lines of %s: %w", labels["service"], err)
	}
	if framed {
		if content, err = unframe(content); err != nil {
			return fmt.Errorf("reading the lines of %s: %w", labels["service"], err)
		}
	}
	var found []logLine
	for text := range strings.Lines(string(content)) {
		stamp, line, _ := strings.Cut(strings.TrimRight(text, "\r\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil || !at.After(last) {
			continue // Docker answers with what is as old, too
		}
		found = append(found, logLine{Time: at, Labels: labels, Text: line})
	}
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b logLine) int { return a.Time.Compare(b.Time) })
	s.containers.Add(float64(len(found)))
	if err := s.send(ctx, found); err != nil {
		return err
	}
	s.seen.Containers[id] = found[len(found)-1].Time
	return nil
}

// unframe takes the output of a container out of the frames in which Docker sends it: one of eight
// bytes before each piece, of which the last four are its length.
func unframe(content []byte) ([]byte, error) {
	var out []byte
	for len(content) > 0 {
		if len(content) < 8 || content[0] > 2 {
			return nil, errors.New("docker's answer is in no frames")
		}
		size := int(binary.BigEndian.Uint32(content[4:8]))
		if len(content) < 8+size {
			return nil, errors.New("docker's answer ends within a frame")
		}
		out = append(out, content[8:8+size]...)
		content = content[8+size:]
	}
	return out, nil
}

// send sends lines with the labels that are kept, and without what is secret.
func (s *shipper) send(ctx context.Context, all []logLine) error {
	for part := range slices.Chunk(all, batch) {
		var body pushed
		for _, line := range part {
			labels := map[string]string{}
			for _, name := range s.keep {
				if value := line.Labels[name]; value != "" {
					labels[name] = value
				}
			}
			for _, stage := range s.stages {
				line.Text = stage.apply(line.Text)
			}
			if err := body.add(labels, line); err != nil {
				return err
			}
		}
		if err := s.pushAll(ctx, body, len(part)); err != nil {
			return fmt.Errorf("sending to Loki: %w", err)
		}
	}
	return nil
}

// add adds a line as a stream of its own.
func (p *pushed) add(labels map[string]string, line logLine) error {
	stamp, err := json.Marshal(strconv.FormatInt(line.Time.UnixNano(), 10))
	text, textErr := json.Marshal(line.Text)
	if err := errors.Join(err, textErr); err != nil {
		return err
	}
	value := []json.RawMessage{stamp, text}
	if len(line.Extra) > 0 {
		extra, err := json.Marshal(line.Extra)
		if err != nil {
			return err
		}
		value = append(value, extra)
	}
	p.Streams = append(p.Streams, pushedStream{Stream: labels, Values: [][]json.RawMessage{value}})
	return nil
}

// pushAll sends a batch. One that Loki refuses is lost, as it is with the real one.
func (s *shipper) pushAll(ctx context.Context, body pushed, count int) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.push, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusNoContent:
		s.sent.Add(float64(count))
	case response.StatusCode == http.StatusBadRequest:
		s.refusedLines.Add(float64(count))
		s.log.printf("ts=%s level=error msg=%q", time.Now().UTC().Format(time.RFC3339Nano), strings.TrimSpace(string(said)))
	default:
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
