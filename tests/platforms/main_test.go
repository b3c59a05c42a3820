package main

import (
	"strings"
	"testing"
)

const fixture = "testdata/linuxonly"

func TestWhatOneSystemLacksIsFound(t *testing.T) {
	if err := check(fixture, "linux/amd64", "./..."); err != nil {
		t.Errorf("linux has it: %v", err)
	}
	err := check(fixture, "darwin/arm64", "./...")
	if err == nil || !strings.Contains(err.Error(), "Pdeathsig") {
		t.Errorf("macOS lacks Pdeathsig, and the check says: %v", err)
	}
}

func TestBadArguments(t *testing.T) {
	for platform, pattern := range map[string]string{"linux": "./...", "linux/amd64": "./nothing/..."} {
		if check(fixture, platform, pattern) == nil {
			t.Errorf("%s %s is taken", platform, pattern)
		}
	}
}
