package terminal_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/charmbracelet/bubbletea" // what the package must come before
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/cmd/homelab/internal/terminal"
)

// reportVariable makes the test binary print TERM before and after Restore, instead of testing.
const reportVariable = "HOMELAB_REPORT_TERM"

func TestMain(m *testing.M) {
	if os.Getenv(reportVariable) == "" {
		os.Exit(m.Run())
	}
	before, _ := os.LookupEnv("TERM")
	terminal.Restore()
	after, found := os.LookupEnv("TERM")
	if !found {
		after = "absent"
	}
	_, _ = os.Stdout.WriteString(before + " " + after)
}

func report(t *testing.T, environment ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(environment, reportVariable+"=1")
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Run())
	return out.String(), errOut.String()
}

func TestTerminalIsDumbUntilRestored(t *testing.T) {
	shown, _ := report(t, "TERM=xterm-256color")
	assert.Equal(t, "dumb xterm-256color", shown)
	shown, _ = report(t)
	assert.Equal(t, " absent", shown, "a process without TERM gets none")
}

// The runtime tells the order in which it initialises packages when asked to.
func TestComesBeforeTheLibraryThatAsks(t *testing.T) {
	_, trace := report(t, "TERM=xterm", "GODEBUG=inittrace=1")
	ours := strings.Index(trace, "init homelab/cmd/homelab/internal/terminal ")
	theirs := strings.Index(trace, "init github.com/charmbracelet/bubbletea ")
	require.Positive(t, ours)
	require.Positive(t, theirs)
	assert.Less(t, ours, theirs)
}
