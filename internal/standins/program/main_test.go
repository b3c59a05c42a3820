package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChoose(t *testing.T) {
	nothing := func(string) string { return "" }
	for _, words := range [][]string{{"/usr/bin/loki", "-health"}, {"/usr/local/bin/standin", "loki", "-health"}} {
		_, args, err := choose(words, nothing)
		require.NoError(t, err)
		assert.Equal(t, []string{"-health"}, args)
	}
	_, args, err := choose([]string{"/entrypoint.sh", "x"}, func(string) string { return "radarr" })
	require.NoError(t, err)
	assert.Equal(t, []string{"x"}, args)
	for _, words := range [][]string{nil, {"/entrypoint.sh"}, {"/entrypoint.sh", "nothing"}} {
		_, _, err := choose(words, nothing)
		require.Error(t, err, words)
	}
}
