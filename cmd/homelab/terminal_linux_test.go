package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal returns both ends of a new terminal: a person's, and the program's.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// typist is a person at a terminal: what is typed after each prompt.
type typist struct {
	mu     sync.Mutex
	screen strings.Builder
	master *os.File
	script [][2]string // prompt, answer
}

// Write shows text on the screen, and types the next answer when its prompt appears.
func (p *typist) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen.Write(text)
	if len(p.script) > 0 && strings.Contains(string(text), p.script[0][0]) {
		if _, err := p.master.WriteString(p.script[0][1] + "\n"); err != nil {
			return 0, err
		}
		p.script = p.script[1:]
	}
	return len(text), nil
}

func (s *realShell) runTyped(script [][2]string, args ...string) (code int, screen string) {
	s.t.Helper()
	master, slave := openTerminal(s.t)
	require.True(s.t, term.IsTerminal(int(slave.Fd())))
	person := &typist{master: master, script: script}
	a := newApp()
	a.stdin, a.stdout, a.stderr = slave, person, person
	program := func(string) pulumi.RunFunc { return leaves }
	a.program, a.real = program, program
	a.cli = func(ctx context.Context, _ io.Writer) (string, error) { return s.cli, ctx.Err() }
	code = a.run(s.t.Context(), args)
	assert.Empty(s.t, person.script, "questions that were never asked; on the screen:\n%s", &person.screen)
	return code, person.screen.String()
}

func TestAtATerminal(t *testing.T) {
	s := newRealShell(t, unprotected)
	require.NoError(t, os.Unsetenv("PULUMI_CONFIG_PASSPHRASE"))
	const passphrase, sure = "Passphrase of stack prod", "Type yes to go on: "

	code, screen := s.runTyped([][2]string{{passphrase, "wrong"}, {passphrase, "correct horse"}, {sure, "no"}}, "up")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, screen, "+ ├─ "+leafType+" one  (create)", "the preview comes before the question")
	assert.Contains(t, screen, "This changes the real clouds (3 create). Type yes to go on: ")
	assert.Contains(t, screen, "not confirmed: nothing was changed")
	assert.NotContains(t, screen, "correct horse")

	answers := [][2]string{{passphrase, "correct horse"}, {sure, "yes"}}
	code, screen = s.runTyped(answers, "up")
	require.Equal(t, exitOK, code, screen)
	code, screen = s.runTyped(answers, "refresh")
	require.Equal(t, exitOK, code, screen)
	assert.Regexp(t, regexp.MustCompile(`(?s)Previewing refresh.*Type yes to go on: .*refresh of stack prod: 3 resources`), screen)
	code, screen = s.runTyped(answers, "destroy")
	require.Equal(t, exitOK, code, screen)
	assert.Regexp(t, regexp.MustCompile(`(?s)Previewing destroy.*\(delete\).*data included \(3 delete\)\. Type yes to go on: .*destroy of stack prod: 3 delete`), screen)
}
