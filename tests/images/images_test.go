package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deployments are the production example with settings changed, by what is different.
var deployments = map[string]map[string]any{
	"production": nil,
	"Promtail":   {"homelab:monitoring": map[string]any{"shipper": "promtail"}},
	"profiles":   {"homelab:wiring": map[string]any{"qualityProfiles": map[string]any{"radarr": []any{"hd-bluray-web"}}}},
}

// standinDocker is Docker without Docker.
func standinDocker(t *testing.T) (docker, func() []asked) {
	t.Helper()
	own, err := os.Executable()
	require.NoError(t, err)
	folder := t.TempDir()
	program := filepath.Join(folder, standinName)
	require.NoError(t, os.Symlink(own, program))
	return docker{program: program, env: []string{standinFolder + "=" + folder}}, func() []asked {
		var out []asked
		text, err := os.ReadFile(filepath.Join(folder, "asked"))
		require.NoError(t, err)
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			var a asked
			require.NoError(t, json.Unmarshal([]byte(line), &a))
			out = append(out, a)
		}
		return out
	}
}

// Every container has a check, or a reason for none; and each check is a command that Docker takes,
// on files that are mounted where it looks for them.
func TestEveryCheckIsACommandThatDockerTakes(t *testing.T) {
	for name, changes := range deployments {
		t.Run(name, func(t *testing.T) {
			of := deploy(t, changes)
			d, log := standinDocker(t)
			var judged []container
			for _, c := range of.containers {
				k, known := checkOf(c.Name)
				if !assert.True(t, known, "%s has neither a check nor a reason for none", c.Name) || k.none != "" {
					continue
				}
				if assert.NoError(t, d.judge(t.Context(), of, c, k)) {
					judged = append(judged, c)
				}
			}
			all := log()
			require.Len(t, all, len(judged))
			for n, c := range judged {
				a, k := all[n], checks[c.Name]
				assert.Equal(t, k.program, a.Program, c.Name)
				assert.Empty(t, a.Unreadable, "%s: the check names what is not in its mount", c.Name)
				for _, path := range k.files {
					source, below := a.inside(path)
					require.True(t, below, "%s: nothing mounts %s", c.Name, path)
					info, err := os.Stat(source)
					require.NoError(t, err, c.Name)
					assert.Positive(t, info.Size(), "%s: %s is empty", c.Name, path)
				}
				assert.NotEmpty(t, append(a.Read, k.files...), "%s: the check reads no file of ours", c.Name)
				assert.Equal(t, []string{c.User}, a.Flags["user"])
				assert.ElementsMatch(t, c.Envs, a.Flags["env"], c.Name)
				assert.Equal(t, c.ReadOnly, len(a.Flags["read-only"]) == 1, c.Name)
				assert.Len(t, a.Mounts, len(c.Mounts), c.Name)
			}
		})
	}
}

// A check for a program that nothing runs any more would never be looked at.
func TestNoCheckIsIncomplete(t *testing.T) {
	for name, k := range checks {
		if k.none != "" {
			assert.Empty(t, k.program, name)
			assert.Nil(t, k.arguments, name)
			continue
		}
		assert.NotEmpty(t, k.program, name)
		assert.NotNil(t, k.arguments, name)
	}
}

func TestFlagsOfACommandLine(t *testing.T) {
	for _, line := range [][]string{
		{"--config.file=/etc/a.yml"}, {"-config.file=/etc/a.yml"}, {"run", "--config.file", "/etc/a.yml", "--other"}, {"--x", "-config.file", "/etc/a.yml"},
	} {
		value, err := flagOf(container{Command: line}, "config.file")
		require.NoError(t, err)
		assert.Equal(t, "/etc/a.yml", value)
	}
	for _, line := range [][]string{nil, {"--config.file"}, {"config.file=/etc/a.yml"}, {"--config.files=/etc/a.yml"}} {
		_, err := flagOf(container{Command: line}, "config.file")
		assert.ErrorContains(t, err, "no flag config.file")
	}
}

// The stand-in refuses what Docker refuses, and what no check may do.
func TestTheStandInIsStrict(t *testing.T) {
	d, _ := standinDocker(t)
	folder := t.TempDir()
	const image = "docker.io/prom/prometheus:v3.15.0@sha256:efd719c99d8388bd8e3bdb7a94c55d7e3a1dd5b0d0bbf12edf7b3ac85bdf2b65"
	good := func(change ...string) []string {
		line := []string{
			"run", "--rm", "--network", "none", "--user", "65534:65534", "--read-only", "--security-opt", "no-new-privileges", "--cap-drop", "ALL",
			"--env", "A=b", "--mount", "type=bind,source=" + folder + ",target=/etc/prometheus,readonly", "--entrypoint", "promtool", image, "check",
		}
		for i := 0; i < len(change); i += 2 {
			for n := range line {
				line[n] = strings.Replace(line[n], change[i], change[i+1], 1)
			}
		}
		return line
	}
	out, err := d.run(t.Context(), good()...)
	require.NoError(t, err, out)
	for problem, line := range map[string][]string{
		"not a docker command":                      {"ran"},
		"unknown flag: --readonly":                  good("--read-only", "--readonly"),
		"unknown flag: --privileged":                append([]string{"run", "--privileged"}, good()[1:]...),
		"unknown flag: -v":                          append([]string{"run", "-v", "/:/host"}, good()[1:]...),
		"not pinned by its digest":                  good("@sha256:efd719c99d8388bd8e3bdb7a94c55d7e3a1dd5b0d0bbf12edf7b3ac85bdf2b65", ""),
		"was not built here":                        good(image, "homelab-test/caddy"),
		"bind source path does not exist":           good("source="+folder, "source="+folder+"/missing"),
		"is not absolute":                           good("target=/etc/prometheus", "target=prometheus"),
		`unexpected field "ro=1"`:                   good(",readonly", ",ro=1"),
		"duplicate mount point":                     append([]string{"run", "--mount", "type=tmpfs,target=/etc/prometheus"}, good()[1:]...),
		"memory has no source":                      good("type=bind", "type=tmpfs"),
		`invalid argument "host" for --network`:     good("none", "host"),
		`invalid argument "nobody" for --user`:      good("65534:65534", "nobody"),
		`invalid argument "A" for --env`:            good("A=b", "A"),
		"it keeps capabilities":                     good("ALL", "CAP_CHOWN"),
		"--entrypoint is there 0 times":             good("--entrypoint", "--env", "promtool", "B=promtool"),
		"\"docker run\" requires at least 1":        {"run", "--rm"},
		"flag needs an argument: --user":            {"run", "--user"},
		"\"docker build\" requires exactly 1":       {"build", "--tag", "homelab-test/caddy"},
		"Dockerfile: no such file":                  {"build", "--tag", "homelab-test/caddy", folder},
		"base image alpine:3 is not pinned":         {"build", "--tag", "homelab-test/caddy", dockerfile(t, "FROM alpine:3\n")},
		"--rm takes no value here":                  {"run", "--rm=true"},
		`mount type "volume"`:                       good("type=bind", "type=volume"),
		"cannot mix 'tmpfs-*' options":              good(",readonly", ",tmpfs-mode=1777"),
		`invalid argument "seccomp=unconfined" for`: good("no-new-privileges", "seccomp=unconfined"),
	} {
		out, err := d.run(t.Context(), line...)
		assert.Error(t, err, problem)
		assert.Contains(t, out, problem)
	}
}

func dockerfile(t *testing.T, text string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(text), 0o600))
	return folder
}

// A program that refuses its files, or says what it must not, fails the check; an exit code that
// the check knows does not.
func TestTheVerdictOfAProgram(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "docker")
	c := container{Name: "x", Image: "x", User: "0:0"}
	judge := func(script string, k check) error {
		require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700))
		k.program, k.arguments = "x", words("check")
		return docker{program: program}.judge(t.Context(), deployment{root: folder}, c, k)
	}
	grafana := check{refused: checks["grafana"].refused}
	assert.NoError(t, judge("exit 0", check{}))
	assert.ErrorContains(t, judge("echo bad key; exit 1", check{}), "bad key")
	assert.NoError(t, judge("exit 1", check{codes: []int{1}}))
	assert.ErrorContains(t, judge("exit 2", check{codes: []int{1}}), "exit status 2")
	assert.NoError(t, judge(`echo 'logger=provisioning.dashboard t=1 level=info msg="finished to provision dashboards"'`, grafana))
	assert.ErrorContains(t, judge(`echo 'logger=provisioning.dashboard type=file t=1 level=error msg="failed to load dashboard"'`, grafana), "x says")
}
