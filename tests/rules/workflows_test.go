package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

type workflow struct {
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		Permissions map[string]string `yaml:"permissions"`
		Timeout     int               `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses string            `yaml:"uses"`
			Run  string            `yaml:"run"`
			With map[string]any    `yaml:"with"`
			Env  map[string]string `yaml:"env"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// Renovate finds every image that the program pins.
func TestRenovateFindsTheImages(t *testing.T) {
	var config struct {
		CustomManagers []struct {
			MatchStrings []string `json:"matchStrings"`
		} `json:"customManagers"`
	}
	text, err := os.ReadFile("../../renovate.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &config))
	pattern, err := regexp.Compile(config.CustomManagers[0].MatchStrings[0])
	require.NoError(t, err)
	images, err := os.ReadFile("../../components/images/images.go")
	require.NoError(t, err)
	pinned := strings.Count(string(images), "= Image{")
	require.Positive(t, pinned)
	assert.Len(t, pattern.FindAllString(string(images), -1), pinned)
}

// A workflow may do little, runs what is in the repository, and takes no action that could change
// under it.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	pinned := regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40}$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		assert.Equal(t, map[string]string{"contents": "read"}, w.Permissions, "%s: what every job may", file)
		assert.NotContains(t, string(text), "pull_request_target", "%s: strangers' code would run with our rights", file)
		for name, job := range w.Jobs {
			assert.Positive(t, job.Timeout, "%s: %s has no time limit", file, name)
			assert.LessOrEqual(t, len(job.Permissions), 2, "%s: %s", file, name)
			for _, step := range job.Steps {
				if step.Uses != "" {
					assert.Regexp(t, pinned, step.Uses, "%s: %s", file, name)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") {
					assert.Equal(t, false, step.With["persist-credentials"], "%s: %s leaves a token in the checkout", file, name)
				}
				// What people write goes through the environment: in the command it would be code.
				assert.NotContains(t, step.Run, "${{", "%s: %s", file, name)
				for _, script := range regexp.MustCompile(`\.ci/[a-z-]+`).FindAllString(step.Run, -1) {
					info, err := os.Stat("../../" + script)
					if assert.NoError(t, err, "%s: %s", file, name) {
						assert.NotZero(t, info.Mode()&0o100, "%s cannot be run", script)
					}
				}
			}
		}
	}
}
