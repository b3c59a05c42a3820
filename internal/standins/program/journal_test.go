package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realJournal is a file that systemd-journald 252 has written.
func realJournal(t *testing.T) string {
	t.Helper()
	file, err := os.Open("testdata/system.journal.gz")
	require.NoError(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	require.NoError(t, err)
	content, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	return string(content)
}

func TestJournal(t *testing.T) {
	m := newMachine(t)
	m.write("/var/log/journal/machine/system.journal", realJournal(t))
	book := journals{folder: m.root + "/var/log/journal", next: map[string]uint64{}}
	found, done, err := book.since(time.Time{})
	require.NoError(t, err)
	var messages []string
	for _, line := range found {
		if line.fields["SYSLOG_IDENTIFIER"] == "test" {
			messages = append(messages, line.fields["MESSAGE"])
		}
	}
	// The second one is compressed.
	assert.Equal(t, []string{"hello journal", strings.Repeat("a", 3000), "second line"}, messages)
	later, _, err := book.since(found[0].at)
	require.NoError(t, err)
	assert.Len(t, later, len(found)-1, "what is later than a time")
	done()
	again, _, err := book.since(time.Time{})
	require.NoError(t, err)
	assert.Empty(t, again, "it has been read")

	m.write("/var/log/journal/machine/other.journal", strings.Repeat("x", 300))
	_, _, err = book.since(time.Time{})
	require.ErrorContains(t, err, "no journal")
}

func TestShippersSendTheJournal(t *testing.T) {
	for name, c := range shippers {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			var asked atomic.Int32
			sent := make(chan pushedStream, 1000)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body pushed
				assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
				for _, stream := range body.Streams {
					sent <- stream
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			defer server.Close()
			m.write("/var/log/journal/machine/system.journal", realJournal(t))
			m.write(c.config, strings.NewReplacer("docker-api:2375", printed(t, "", &asked), "http://loki:3100", server.URL,
				"48h0m0s", "876000h0m0s").Replace(golden(t, "shipper", c.golden)))
			require.NoError(t, os.MkdirAll(m.root+c.state, 0o755))
			r := m.start(nil, c.command...)
			require.EventuallyWithT(t, func(collect *assert.CollectT) {
				measured := r.answers(200, "GET", "/metrics", "")
				assert.Regexp(collect, `journal_target_lines_total [1-9]`, measured)
			}, 10*time.Second, 50*time.Millisecond, "%s", r.out)
			r.stop()
			close(sent)
			var texts []string
			for stream := range sent {
				assert.Equal(t, map[string]string{"host": "homelab", "layer": "machine", "service": "machine"}, stream.Stream)
				texts = append(texts, string(stream.Values[0][1]))
			}
			assert.Contains(t, texts, `"second line"`)
		})
	}
}
