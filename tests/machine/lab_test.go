//go:build machine

package machine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"homelab/internal/rehearsal"
	"homelab/tests/internal/checkout"
)

// keepVariable names a folder that keeps the deployment between runs of these tests: what is there
// is deployed to again. Without it each run begins with nothing, and leaves nothing.
const keepVariable = "HOMELAB_REHEARSAL"

// stack is the stack's name.
const stack = "rehearsal"

const (
	// boots is how long a machine may take until all runs again: emulated, with a container's start
	// at a time.
	boots = 15 * time.Minute
	// deploys is how long one command of homelab may take; a first boot and all images are in it.
	deploys = 90 * time.Minute
	// asks is how long a question to the machine may take, a backup or a restore among them.
	asks = 10 * time.Minute
)

// lab is a deployment on a machine, and the commands that act on it.
type lab struct {
	t       *testing.T
	program string // homelab
	project string
	state   string
	images  string
	log     *os.File
	client  *rehearsal.Client
}

// newLab opens the deployment that is kept, or an empty one.
func newLab(t *testing.T) *lab {
	t.Helper()
	folder := os.Getenv(keepVariable)
	kept := folder != ""
	if !kept {
		folder = t.TempDir()
	}
	require.NoError(t, os.MkdirAll(folder, 0o700))
	l := &lab{
		t: t, program: filepath.Join(folder, "homelab"), project: filepath.Join(folder, "project"), state: filepath.Join(folder, "state"),
		images: filepath.Join(folder, "images"),
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	checkout.Copy(t, root, l.project)
	build := exec.CommandContext(t.Context(), "go", "run", "./internal/toolchain/tool", "build", l.program, "./cmd/homelab")
	build.Dir = root
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	l.log, err = os.OpenFile(filepath.Join(folder, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.log.Close()) })
	l.client, err = rehearsal.NewClient(filepath.Join(l.state, "machines"))
	require.NoError(t, err)
	t.Cleanup(l.client.Close)
	if !kept {
		t.Cleanup(func() {
			if l.client.Ping(context.Background()) == nil {
				assert.NoError(t, l.client.End(context.Background()))
			}
		})
	}
	if _, err := os.Stat(l.settingsFile()); os.IsNotExist(err) {
		l.configure(func(map[string]any) {})
	}
	return l
}

func (l *lab) settingsFile() string { return filepath.Join(l.project, "Pulumi."+stack+".yaml") }

// configure changes the stack's settings; the first time, those of Pulumi.prod.yaml.
func (l *lab) configure(change func(config map[string]any)) {
	l.t.Helper()
	text, err := os.ReadFile(l.settingsFile())
	if os.IsNotExist(err) {
		text, err = os.ReadFile(filepath.Join(l.project, "Pulumi.prod.yaml"))
	}
	require.NoError(l.t, err)
	var file struct {
		Config map[string]any `yaml:"config"`
	}
	require.NoError(l.t, yaml.Unmarshal(text, &file))
	change(file.Config)
	text, err = yaml.Marshal(file)
	require.NoError(l.t, err)
	require.NoError(l.t, os.WriteFile(l.settingsFile(), text, 0o600))
}

// command is homelab with its arguments, whose output goes to the log as well.
func (l *lab) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	out := &bytes.Buffer{}
	cmd := exec.CommandContext(ctx, l.program, args...)
	cmd.Dir = l.project
	both := io.MultiWriter(l.log, out) // one value, so that exec writes to it once at a time
	cmd.Stdout, cmd.Stderr = both, both
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Minute
	fmt.Fprintf(l.log, "%s $ homelab %s\n", time.Now().Format(time.TimeOnly), strings.Join(args, " "))
	return cmd, out
}

// deployment are the arguments of a command that works on the whole deployment.
func (l *lab) deployment(command string, args ...string) []string {
	return append([]string{command, "--simulate", "--machine", "--stack", stack, "--state", l.state, "--offline", l.images}, args...)
}

// run runs a command on the whole deployment, which must succeed.
func (l *lab) run(command string, args ...string) string {
	l.t.Helper()
	out, err := l.try(command, args...)
	require.NoError(l.t, err, "homelab %s: %s", command, tail(out))
	return out
}

// try runs a command on the whole deployment.
func (l *lab) try(command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), deploys)
	defer cancel()
	cmd, out := l.command(ctx, l.deployment(command, args...)...)
	err := cmd.Run()
	return out.String(), err
}

// tail is the end of what a command has said.
func tail(text string) string {
	const most = 6000
	return text[max(0, len(text)-most):]
}

// machine runs a command of homelab machine, which must succeed.
func (l *lab) machine(command string, args ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), boots)
	defer cancel()
	cmd, out := l.command(ctx, append([]string{"machine", command, "--simulate", "--state", l.state}, args...)...)
	require.NoError(l.t, cmd.Run(), "homelab machine %s: %s", command, out)
}

// shell runs a script on the machine as the user who deploys, and returns what it prints.
func (l *lab) shell(script string) (string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), asks)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.program, "machine", "shell", "--simulate", "--state", l.state, "bash", "-s")
	cmd.Dir = l.project
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("on the machine: %w: %s", err, said.String())
	}
	return out.String(), nil
}

// root runs a script on the machine as root, which whoever may use Docker can be. It must succeed.
// Until its program has left the container's control group, and with it what a probe takes for
// containers, it has an empty network and not the machine's: that is what the probe would find.
func (l *lab) root(script string) string {
	l.t.Helper()
	const become = `image=$(docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' | sort | awk '/^homelab.invalid\/substitute:/ {print $1}')
for each in $image; do
	if docker run --rm --network none --entrypoint /bin/busybox "$each" true 2>/dev/null; then
		exec docker run --rm --interactive --privileged --pid host --cgroupns host --network none --user 0 --log-driver none --entrypoint /bin/busybox "$each" \
			sh -ec 'echo $$ >/sys/fs/cgroup/cgroup.procs; exec nsenter -t 1 -m -u -i -n -- /bin/bash -euo pipefail -s' <<'HOMELAB_ROOT'
%s
HOMELAB_ROOT
	fi
done
echo "no image has busybox" >&2
exit 1
`
	out, err := l.shell(fmt.Sprintf(become, script))
	require.NoError(l.t, err, "as root: %s", script)
	return out
}

// declared are the containers of the stack's state.
func (l *lab) declared() map[string]container {
	l.t.Helper()
	file, err := os.Open(filepath.Join(l.state, "backend", ".pulumi", "stacks", "homelab", stack+".json"))
	require.NoError(l.t, err)
	defer func() { _ = file.Close() }() // it was only read
	out, err := readDeclared(file)
	require.NoError(l.t, err)
	require.NotEmpty(l.t, out)
	return out
}

// running are all containers of the machine, also those that have stopped.
func (l *lab) running(declared map[string]container) (map[string]container, map[string]state, error) {
	out, err := l.shell("docker ps --all --quiet | xargs --no-run-if-empty docker inspect")
	if err != nil {
		return nil, nil, err
	}
	return readRunning(strings.NewReader(out), declared)
}

// unwell names the containers that are not healthy, and why.
func (l *lab) unwell(declared map[string]container) ([]string, map[string]state) {
	_, states, err := l.running(declared)
	if err != nil {
		return []string{err.Error()}, nil
	}
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		s, there := states[name]
		switch {
		case !there:
			out = append(out, name+" is not there")
		case s.Status != "running" || s.Health != "healthy":
			out = append(out, fmt.Sprintf("%s is %s and %s", name, s.Status, s.Health))
		}
	}
	return out, states
}

// healthy waits until all that is declared is healthy, and returns how it does.
func (l *lab) healthy() map[string]state {
	l.t.Helper()
	declared := l.declared()
	var states map[string]state
	l.eventually(boots, func() []string {
		var problems []string
		problems, states = l.unwell(declared)
		return problems
	})
	return states
}

// settled waits until all runs: containers, units, and the machine's own checks.
func (l *lab) settled() map[string]state {
	l.t.Helper()
	states := l.healthy()
	l.eventually(boots, func() []string {
		out, err := l.shell("systemctl is-system-running || systemctl list-units --failed --plain --no-legend; systemctl list-jobs --plain --no-legend")
		if err != nil {
			return []string{err.Error()}
		}
		if out = strings.TrimSpace(out); out != "running" && out != "running\nNo jobs running." {
			return []string{out}
		}
		return nil
	})
	return states
}

// eventually asks until there is no problem any more, and says how long that took.
func (l *lab) eventually(patience time.Duration, problems func() []string) {
	l.t.Helper()
	began := time.Now()
	for {
		now := problems()
		if len(now) == 0 {
			l.t.Logf("after %s all was well", time.Since(began).Round(time.Second))
			return
		}
		if time.Since(began) > patience {
			require.Empty(l.t, now, "after %s", patience)
		}
		fmt.Fprintf(l.log, "%s waiting: %s\n", time.Now().Format(time.TimeOnly), strings.Join(now, "; "))
		time.Sleep(5 * time.Second)
	}
}

// restarted are the containers that have another start now than before, sorted.
func restarted(before, now map[string]state) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name].StartedAt != now[name].StartedAt {
			out = append(out, name)
		}
	}
	return out
}

// box is the ID of the storage box with the name in the state.
func (l *lab) box(name string) string {
	l.t.Helper()
	boxes, err := rehearsal.SavedBoxes(filepath.Join(l.state, "machines"))
	require.NoError(l.t, err)
	names := []string{}
	for _, b := range boxes {
		if strings.Contains(b.Name, name) {
			return b.ID
		}
		names = append(names, b.Name)
	}
	require.Failf(l.t, "no such box", "%s is none of %v", name, names)
	return ""
}

// away takes somebody off the network until back is called, or the test ends.
func (l *lab) away(who rehearsal.Party) (back func()) {
	l.t.Helper()
	require.NoError(l.t, l.client.SetAway(l.t.Context(), who, true))
	back = func() { assert.NoError(l.t, l.client.SetAway(context.Background(), who, false)) }
	l.t.Cleanup(back)
	return back
}

// on is the same lab with another test.
func (l *lab) on(t *testing.T) *lab {
	out := *l
	out.t = t
	return &out
}
