// Package workflows runs the commands of the GitHub workflows, with strict stand-ins for the programs
// that would reach out: they take only the arguments that the real ones take, and note them.
package workflows

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// standIns are the programs, each a script that refuses what it does not know.
var standIns = map[string]string{
	// As root, with the environment that is asked for.
	"sudo": `while [[ $1 == --preserve-env ]]; do shift; done; exec "$@"`,
	"make": `[[ $* == bin/homelab ]]`,
	// The project's tools: what pulumi and govulncheck would be asked.
	"go": `case "$*" in
"run ./internal/toolchain/tool pulumi refresh --stack prod --preview-only --expect-no-changes --non-interactive --color never") cat "$STANDINS/drift" 2>/dev/null || :; [[ ! -e $STANDINS/drift ]] ;;
"run ./internal/toolchain/tool govulncheck ./cmd/... ./policy/...") ;;
"-C ../.. run ./internal/toolchain/tool path govulncheck") echo "$STANDINS/govulncheck" ;;
*) exit 64 ;; esac`,
	"govulncheck": `[[ $* == ./... && $PWD == */images/* ]]`,
	"docker": `[[ $* == "buildx create --use --driver docker-container" ]] && exit
[[ $* =~ ^buildx\ build\ --platform\ linux/amd64\ --provenance=mode=max\ --sbom=true\ --output\ type=oci,dest=$RUNNER_TEMP/([a-z]+)\.tar\ images/([a-z]+)$ ]]
[[ ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]]`,
	"curl":    `[[ $* =~ ^--fail\ --silent\ --show-error\ --location\ https://pkgs\.tailscale\.com/stable/ubuntu/noble\.[a-z.-]+\ -o\ /(usr/share/keyrings|etc/apt/sources.list.d)/[a-z.-]+$ ]]`,
	"apt-get": `case "$*" in "update -qq"|"install -qq --yes tailscale") ;; *) exit 64 ;; esac`,
	"tailscale": `[[ $* =~ ^up\ --auth-key\ file:(/[^ ]+)\ --advertise-tags\ tag:homelab-deploy\ --timeout\ 60s$ ]]
[[ $(stat -c %a "${BASH_REMATCH[1]}") == 600 && $(<"${BASH_REMATCH[1]}") == 'a-secret?ephemeral=true&preauthorized=true' ]]`,
	"gh": `case "$1 $2" in
"issue list") [[ $3 == --state && $4 == open && $5 == --search && $7 == --json && $9 == --jq ]]; cat "$STANDINS/issue" 2>/dev/null || : ;;
"issue create") [[ $3 == --title && $5 == --body-file && -r $6 ]] ;;
"issue edit"|"issue close") [[ $3 =~ ^[0-9]+$ ]] ;;
"pr comment") [[ $3 == 12 && $4 == --edit-last && $5 == --create-if-none && $6 == --body-file && -r $7 ]] ;;
*) exit 64 ;; esac`,
	"homelab": `case "$*" in
"preview --stack prod --expect-no-changes"|"preview --stack prod --expect-no-changes=true"|"preview --policy"|"up --yes --policy") echo "preview of stack prod" ;;
*) exit 64 ;; esac`,
}

// runner is a machine that runs workflows.
type runner struct {
	t    *testing.T
	repo string
	dir  string
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	r := &runner{t: t, repo: t.TempDir(), dir: t.TempDir()}
	for _, image := range images(t) {
		require.NoError(t, os.MkdirAll(r.repo+"/"+image, 0o755))
	}
	require.NoError(t, os.MkdirAll(r.repo+"/bin", 0o755))
	require.NoError(t, os.CopyFS(r.repo+"/.ci", os.DirFS("../../.ci")))
	for name, script := range standIns {
		text := "#!/bin/bash\nset -eu\nprintf '%s\\n' \"" + name + " $*\" >>\"$STANDINS/calls\"\n" + script + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o755))
	}
	require.NoError(t, os.Rename(r.dir+"/homelab", r.repo+"/bin/homelab"))
	require.NoError(t, os.WriteFile(r.dir+"/exposure.md", []byte("### What this changes\n"), 0o600))
	require.NoError(t, os.WriteFile(r.dir+"/drift.md", []byte("drift\n"), 0o600))
	return r
}

// images are the folders of our images.
func images(t *testing.T) []string {
	t.Helper()
	recipes, err := filepath.Glob("../../images/*/Dockerfile")
	require.NoError(t, err)
	require.NotEmpty(t, recipes)
	var out []string
	for _, recipe := range recipes {
		out = append(out, "images/"+filepath.Base(filepath.Dir(recipe)))
	}
	return out
}

// put leaves a file that the stand-ins answer from.
func (r *runner) put(name, text string) {
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600))
}

// run runs a step as GitHub's runner does, and returns what the programs were called with.
func (r *runner) run(command string, env map[string]string) (calls, out string, err error) {
	_ = os.Remove(r.dir + "/calls")
	cmd := exec.CommandContext(r.t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command)
	cmd.Dir = r.repo
	cmd.Env = []string{"PATH=" + r.dir + ":/usr/bin:/bin", "HOME=" + r.dir, "STANDINS=" + r.dir, "RUNNER_TEMP=" + r.dir, "GITHUB_STEP_SUMMARY=" + r.dir + "/summary"}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	text, err := cmd.CombinedOutput()
	noted, _ := os.ReadFile(r.dir + "/calls") // a step may call none of them
	return string(noted), string(text), err
}

// given are the values that GitHub puts in the place of its expressions.
var given = map[string]string{
	"inputs.stack": "prod", "inputs.expect-no-changes": "true", "github.token": "token", "github.event.pull_request.number": "12",
	"github.event.pull_request.base.sha": "HEAD", "steps.drift.outcome": "failure", "secrets.TAILSCALE_OAUTH_SECRET": "a-secret",
	"vars.PULUMI_BACKEND_URL": "file://x", "secrets.PULUMI_ACCESS_TOKEN": "", "secrets.PULUMI_CONFIG_PASSPHRASE": "passphrase",
}

var expression = regexp.MustCompile(`\$\{\{ ([^ ]+) \}\}`)

// elsewhere are commands that other tests run: the whole of CI, and what a pull request exposes.
var elsewhere = []string{".ci/run", ".ci/platforms", ".ci/exposure"}

// Every command of every workflow works as it is written, and shows no secret on a command line.
func TestEveryCommandOfTheWorkflows(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	require.NoError(t, err)
	ran := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var w struct {
			Jobs map[string]struct {
				Steps []struct {
					Run string            `yaml:"run"`
					Env map[string]string `yaml:"env"`
				} `yaml:"steps"`
			} `yaml:"jobs"`
		}
		require.NoError(t, yaml.Unmarshal(text, &w))
		for job, steps := range w.Jobs {
			r := newRunner(t)
			for _, step := range steps.Steps {
				if step.Run == "" || contains(elsewhere, step.Run) {
					continue
				}
				ran++
				env := map[string]string{}
				for name, value := range step.Env {
					env[name] = expression.ReplaceAllStringFunc(value, func(e string) string {
						known, ok := given[expression.FindStringSubmatch(e)[1]]
						require.True(t, ok, "%s: %s", file, e)
						return known
					})
				}
				calls, out, err := r.run(step.Run, env)
				assert.NoError(t, err, "%s: %s: %s\n%s%s", file, job, step.Run, out, calls)
				assert.NotContains(t, calls, "a-secret", "%s: %s", file, job)
				assert.NotContains(t, out+calls, "passphrase", "%s: %s", file, job)
			}
		}
	}
	assert.GreaterOrEqual(t, ran, 12)
}

func contains(scripts []string, command string) bool {
	for _, s := range scripts {
		if strings.Contains(command, s+" ") || strings.HasSuffix(command, s) {
			return true
		}
	}
	return false
}

// Every image is built, and what is known against its program is asked for.
func TestEveryImage(t *testing.T) {
	r := newRunner(t)
	calls, out, err := r.run(`.ci/image "$RUNNER_TEMP"`, nil)
	require.NoError(t, err, "%s%s", out, calls)
	for _, image := range images(t) {
		assert.Contains(t, calls, ".tar "+image+"\n")
	}
	assert.Equal(t, len(images(t)), strings.Count(calls, "govulncheck ./...\n"))
}

// The issue about drift is one: opened, updated, closed.
func TestTheIssueAboutDrift(t *testing.T) {
	r := newRunner(t)
	for _, c := range []struct{ outcome, issue, want string }{
		{"success", "", ""},
		{"failure", "", "gh issue create --title "},
		{"failure", "7", "gh issue edit 7 --body-file "},
		{"success", "7", "gh issue close 7 --comment "},
		{"cancelled", "7", "gh issue edit 7 --body-file "},
	} {
		r.put("issue", c.issue)
		calls, out, err := r.run(fmt.Sprintf(".ci/drift-issue %s %s/drift.md", c.outcome, r.dir), nil)
		require.NoError(t, err, out)
		lines := strings.Split(strings.TrimSpace(calls), "\n")
		if c.want == "" {
			assert.Len(t, lines, 1, "it only asked")
			continue
		}
		require.Len(t, lines, 2)
		assert.True(t, strings.HasPrefix(lines[1], c.want), lines[1])
	}
}

// Drift fails the step, and says what it is.
func TestDrift(t *testing.T) {
	r := newRunner(t)
	_, out, err := r.run(".ci/drift prod", nil)
	require.NoError(t, err, out)
	assert.Equal(t, "The clouds are as the program made them.\n", out)
	r.put("drift", "~ hcloud:index:Server homelab update\n")
	calls, out, err := r.run(".ci/drift prod", nil)
	require.Error(t, err)
	assert.Contains(t, out, "not as the program made them")
	assert.Contains(t, out, "~ hcloud:index:Server homelab update")
	assert.NotContains(t, calls, "homelab preview", "what has drifted is known")
}
