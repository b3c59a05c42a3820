package logs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/tests/chain/standin/internal/logs"
)

func TestLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	var out bytes.Buffer
	path := filepath.Join(t.TempDir(), "log")
	l, err := logs.Open(path, &out, logs.Info, func() time.Time { return at })
	require.NoError(t, err)
	fields := logs.Fields{"remote_ip": "203.0.113.5", "method": "POST"}
	l.Log(logs.Debug, fields, nil, "nothing")
	l.Log(logs.Error, fields, errors.New("user not found"), "by user '%s'", "a\"<\n")
	l.Log(logs.Warn, nil, nil, "two")
	assert.Len(t, fields, 2, "the fields given are not changed")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, out.String(), string(data))
	assert.Equal(t, `{"error":"user not found","level":"error","method":"POST","msg":"by user 'a\"\u003c\n'","remote_ip":"203.0.113.5","time":"2026-01-02T03:04:05+01:00"}`+"\n"+
		`{"level":"warning","msg":"two","time":"2026-01-02T03:04:05+01:00"}`+"\n", string(data))

	require.NoError(t, l.Reopen())
	l.Log(logs.Info, nil, nil, "three")
	require.NoError(t, l.Close())
	data, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, `{"level":"info","msg":"three","time":"2026-01-02T03:04:05+01:00"}`+"\n", string(data))
	_, err = logs.Open(filepath.Join(path, "x"), nil, logs.Info, time.Now)
	require.Error(t, err)
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]logs.Level{"trace": logs.Trace, "debug": logs.Debug, "info": logs.Info, "warn": logs.Warn, "error": logs.Error, "": logs.Info, "x": logs.Info} {
		assert.Equal(t, want, logs.ParseLevel(name), name)
	}
}
