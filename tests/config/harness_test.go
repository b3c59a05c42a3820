//go:build chain

package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/internal/toolchain"
)

var (
	caddyTool    = toolchain.Tool{Name: "caddy", Dir: "images/caddy", Package: ".", LDFlags: []string{"-s", "-w"}}
	crowdsecTool = crowdsecProgram("crowdsec")
	cscliTool    = crowdsecProgram("crowdsec-cli")
	schemaTool   = toolchain.Tool{Name: "schemacheck", Dir: "tests/config/schemacheck", Package: "."}
)

func crowdsecProgram(name string) toolchain.Tool {
	return toolchain.Tool{
		Name: name, Dir: "internal/toolchain/tools/crowdsec", Package: "github.com/crowdsecurity/crowdsec/cmd/" + name,
		LDFlags: []string{"-s", "-w"}, Tags: []string{"sqlite_modernc"},
	}
}

// built returns the path of a program of ours, which it builds unless it is in the cache.
func built(t *testing.T, tool toolchain.Tool) string {
	t.Helper()
	path, err := toolchain.Build(t.Context(), tool, os.Stderr)
	require.NoError(t, err)
	return path
}

// installed returns the path of a program that the machine must have.
func installed(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "install Debian's package %s", debianPackage)
	return path
}

// run runs a program and returns what it wrote, and whether it ended well.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("%s did not end in time", program), err)
	}
	return out.String(), err
}

// accepted runs a program that must end well.
func accepted(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run(t, program, args...)
	require.NoError(t, err, "%s %s\n%s", program, strings.Join(args, " "), out)
	return out
}

// rendered returns a golden of one of the gateway's renderers.
func rendered(t *testing.T, renderer, name string) string {
	t.Helper()
	root, err := toolchain.Root()
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(root, "components/gateway/internal", renderer, "testdata", name+".golden"))
	require.NoError(t, err)
	return string(data)
}

// write writes a file, with the folders above it.
func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// replaced replaces each old text by its new one. Each old text must be there: a substitution that
// no longer matches would let a test judge something else.
func replaced(t *testing.T, text string, oldnew ...string) string {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, text, oldnew[i])
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// freePort returns a port of the loopback address that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().(*net.TCPAddr).Port
}

// start starts a program that runs until the test ends, and shows what it wrote if the test fails.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stopping := time.AfterFunc(15*time.Second, func() { _ = cmd.Process.Kill() })
		defer stopping.Stop()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s ended by itself: %v", program, err)
		}
		// The signal decides how it ends.
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", program, out.String())
		}
	})
}

// answers waits until somebody listens at an address.
func answers(t *testing.T, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		return err == nil && conn.Close() == nil
	}, 30*time.Second, 100*time.Millisecond, "nobody listens at %s", address)
}
