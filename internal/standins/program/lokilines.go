package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// keptLines is how many lines the stand-in keeps, the newest ones.
const keptLines = 200_000

// logLine is a line of a stream.
type logLine struct {
	Time   time.Time
	Labels map[string]string
	Text   string
	Extra  map[string]string `json:",omitempty"` // structured metadata
}

// lineLimits are how much may be sent.
type lineLimits struct {
	oldest, retention     time.Duration
	line, labels, streams int
}

// lineStore keeps lines in memory, and in a file from which they come back after a restart.
type lineStore struct {
	limits lineLimits
	mutex  sync.Mutex
	lines  []logLine
	file   *os.File
}

// openLineStore reads what was kept, and begins a file with what is left of it.
func openLineStore(folder string, limits lineLimits) (*lineStore, error) {
	s := &lineStore{limits: limits}
	path := filepath.Join(folder, "standin.jsonl")
	old, err := os.Open(path)
	if err == nil {
		err = errors.Join(s.read(old), old.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the lines that are kept: %w", err)
	}
	s.forget(time.Now())
	if s.file, err = os.Create(path + ".new"); err != nil {
		return nil, err
	}
	if err := errors.Join(s.write(s.lines), os.Rename(path+".new", path)); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *lineStore) read(from *os.File) error {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line logLine
		if json.Unmarshal(scanner.Bytes(), &line) != nil {
			continue // the last one, when the power was cut
		}
		s.lines = append(s.lines, line)
	}
	return scanner.Err()
}

func (s *lineStore) write(lines []logLine) error {
	var content []byte
	for _, line := range lines {
		encoded, err := json.Marshal(line)
		if err != nil {
			return err
		}
		content = append(append(content, encoded...), '\n')
	}
	_, err := s.file.Write(content)
	return err
}

func (s *lineStore) forget(now time.Time) {
	s.lines = slices.DeleteFunc(s.lines, func(l logLine) bool { return now.Sub(l.Time) > s.limits.retention })
	if much := len(s.lines) - keptLines; much > 0 {
		s.lines = slices.Clone(s.lines[much:])
	}
}

func (s *lineStore) close() error { return s.file.Close() }

// add keeps lines, and returns how many were refused by the reason.
func (s *lineStore) add(lines []logLine) (refused map[string]int, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := time.Now()
	refused = map[string]int{}
	streams := map[string]bool{}
	for _, line := range s.lines {
		streams[stream(line.Labels)] = true
	}
	var taken []logLine
	for _, line := range lines {
		name := stream(line.Labels)
		switch {
		case len(line.Labels) == 0:
			refused["missing_labels"]++
		case len(line.Labels) > s.limits.labels:
			refused["max_label_names_per_series"]++
		case now.Sub(line.Time) > s.limits.oldest:
			refused["greater_than_max_sample_age"]++
		case line.Time.Sub(now) > 10*time.Minute:
			refused["too_far_in_future"]++
		case !streams[name] && len(streams) >= s.limits.streams:
			refused["stream_limit"]++
		default:
			streams[name] = true
			line.Text = line.Text[:min(len(line.Text), s.limits.line)]
			taken = append(taken, line)
		}
	}
	if err := s.write(taken); err != nil {
		return refused, err
	}
	s.lines = append(s.lines, taken...)
	s.forget(now)
	return refused, nil
}

// stream names a set of labels.
func stream(labels map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&out, "%s=%q,", name, labels[name])
	}
	return "{" + strings.TrimSuffix(out.String(), ",") + "}"
}

// pushed is the body of a push, in JSON. The real one takes protobuf, too.
type pushed struct {
	Streams []pushedStream `json:"streams"`
}

// pushedStream is lines with the same labels: of each the time in nanoseconds, the line, and maybe
// metadata.
type pushedStream struct {
	Stream map[string]string   `json:"stream"`
	Values [][]json.RawMessage `json:"values"`
}

func (p pushed) lines() ([]logLine, error) {
	var out []logLine
	for _, sent := range p.Streams {
		for _, value := range sent.Values {
			if len(value) != 2 && len(value) != 3 {
				return nil, errors.New("an entry has a time, a line, and maybe metadata")
			}
			line := logLine{Labels: sent.Stream}
			var stamp string
			err := errors.Join(json.Unmarshal(value[0], &stamp), json.Unmarshal(value[1], &line.Text))
			if len(value) == 3 {
				err = errors.Join(err, json.Unmarshal(value[2], &line.Extra))
			}
			nanoseconds, numberErr := strconv.ParseInt(stamp, 10, 64)
			if err = errors.Join(err, numberErr); err != nil {
				return nil, err
			}
			line.Time = time.Unix(0, nanoseconds)
			out = append(out, line)
		}
	}
	return out, nil
}

func (l *lokiServer) push(r *http.Request) (int, any) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		return http.StatusBadRequest, fmt.Sprintf("the stand-in takes lines as JSON, not as %q", kind)
	}
	var body pushed
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 8<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return http.StatusBadRequest, err.Error()
	}
	sent, err := body.lines()
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	l.received.Add(float64(len(sent)))
	refused, err := l.lines.add(sent)
	for reason, count := range refused {
		l.discarded.WithLabelValues(reason, tenant).Add(float64(count))
	}
	switch {
	case err != nil:
		return http.StatusInternalServerError, err.Error()
	case len(refused) > 0:
		return http.StatusBadRequest, fmt.Sprintf("lines were refused: %v", refused)
	}
	return http.StatusNoContent, nil
}

func (l *lokiServer) labels(*http.Request) (int, any) {
	names := map[string]bool{}
	l.lines.each(func(line logLine) {
		for name := range line.Labels {
			names[name] = true
		}
	})
	return success(slices.Sorted(maps.Keys(names)))
}

func (l *lokiServer) values(r *http.Request) (int, any) {
	values := map[string]bool{}
	l.lines.each(func(line logLine) {
		if value, has := line.Labels[r.PathValue("name")]; has {
			values[value] = true
		}
	})
	return success(slices.Sorted(maps.Keys(values)))
}

func (s *lineStore) each(look func(logLine)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, line := range s.lines {
		look(line)
	}
}

func success(data any) (int, any) {
	return http.StatusOK, map[string]any{"status": "success", "data": data}
}

var (
	selector = regexp.MustCompile(`^\{((?:[a-z_]+="[^"\\]*",?\s*)+)\}(?:\s*\|=\s*"([^"\\]*)")?$`)
	matcher  = regexp.MustCompile(`([a-z_]+)="([^"\\]*)"`)
)

// queryRange answers a selector of labels that are equal, and maybe a text that the line holds.
func (l *lokiServer) queryRange(r *http.Request) (int, any) {
	query := selector.FindStringSubmatch(r.URL.Query().Get("query"))
	if query == nil {
		return http.StatusBadRequest, "parse error: the stand-in knows {label=\"value\"} |= \"text\""
	}
	limit := 100
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return http.StatusBadRequest, "the limit is no number"
		}
	}
	var found []logLine
	l.lines.each(func(line logLine) {
		for _, m := range matcher.FindAllStringSubmatch(query[1], -1) {
			if line.Labels[m[1]] != m[2] {
				return
			}
		}
		if strings.Contains(line.Text, query[2]) {
			found = append(found, line)
		}
	})
	found = found[max(0, len(found)-limit):]
	streams := map[string]map[string]any{}
	for _, line := range slices.Backward(found) {
		name := stream(line.Labels)
		if streams[name] == nil {
			streams[name] = map[string]any{"stream": line.Labels, "values": [][]string{}}
		}
		values, _ := streams[name]["values"].([][]string)
		streams[name]["values"] = append(values, []string{strconv.FormatInt(line.Time.UnixNano(), 10), line.Text})
	}
	result := make([]any, 0, len(streams))
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		result = append(result, streams[name])
	}
	return success(map[string]any{"resultType": "streams", "result": result})
}

// respond writes an answer: a text as it is, nil as nothing, everything else as JSON.
func respond(w http.ResponseWriter, status int, answer any) {
	switch answer := answer.(type) {
	case nil:
		w.WriteHeader(status)
	case string:
		http.Error(w, answer, status)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // who asked may have gone
	}
}
