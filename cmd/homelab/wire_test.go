//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The server is reached by the key that the deployment made for it, and what its program says and
// how it ends is what the command says.
func TestWire(t *testing.T) {
	s := newRealShell(t, "config:\n  homelab:server: 100.64.0.7\n")
	nobody := strings.NewReader(noStdin)
	code, _, errOut := s.runReal(nobody, "wire")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "the stack has no server yet: deploy it first (homelab up)")

	code, _, errOut = s.runReal(nobody, "up", "--yes")
	require.Equal(t, exitOK, code, errOut)
	var asked []string
	ends := 0
	s.ssh = func(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
		asked = arguments
		_, _ = io.WriteString(stdout, "radarr: nothing to do\n")
		if ends == 0 {
			return nil
		}
		return exec.CommandContext(ctx, "sh", "-c", "exit $0", map[int]string{1: "1", exitDiffers: "3", exitSSH: "255"}[ends]).Run()
	}
	code, out, errOut := s.runReal(nobody, "wire", "--check", "--json")
	require.Equal(t, exitOK, code, errOut)
	assert.Equal(t, "radarr: nothing to do\n", out)
	assert.Equal(t, "deploy@100.64.0.7 docker exec wire /usr/bin/homelab-wire once --check --json", strings.Join(asked[len(asked)-8:], " "))
	assert.Contains(t, asked, "KnownHostsCommand=/bin/echo %H "+publicKey)
	assert.Contains(t, asked, "StrictHostKeyChecking=yes")

	for code, want := range map[int]string{
		1: "the services could not all be connected", exitDiffers: "the services are not as the settings say", exitSSH: "the server does not answer over the tailnet",
	} {
		ends = code
		got, _, errOut := s.runReal(nobody, "wire")
		assert.Equal(t, exitFailed, got)
		assert.Contains(t, errOut, want)
	}
	assert.ErrorContains(t, sshFailure(errors.New("no such program")), "running ssh: no such program")

	code, _, errOut = s.runReal(nobody, "wire", "radarr")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, `wire takes no arguments, got ["radarr"]`)
}
