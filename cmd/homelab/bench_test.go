//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"homelab/components/stack"
	"homelab/internal/toolchain"
	"homelab/internal/workspace"
)

// wholeStack opens the whole deployment on new simulated clouds.
func wholeStack(b *testing.B) *workspace.Simulation {
	b.Helper()
	cli, err := pulumiCLI()
	require.NoError(b, err)
	root, err := toolchain.Root()
	require.NoError(b, err)
	w, err := workspace.Simulated(b.Context(), workspace.Options{
		Project: root, Program: stack.From, CLI: cli, Secrets: secrets(),
	})
	require.NoError(b, err)
	return w
}

func BenchmarkPreview(b *testing.B) {
	for b.Loop() {
		w := wholeStack(b)
		_, err := w.Preview(b.Context())
		require.NoError(b, err)
		require.NoError(b, w.Close())
	}
}

// BenchmarkPolicies measures what judging a preview by the rules adds to it, in turns: by homelab, by
// the policy pack, and by a pack that looks at nothing, which is what the engine's questions take.
func BenchmarkPolicies(b *testing.B) {
	w := wholeStack(b)
	pack, empty := filepath.Join(b.TempDir(), "policy"), filepath.Join(b.TempDir(), "empty")
	root, err := toolchain.Root()
	require.NoError(b, err)
	for path, of := range map[string]string{pack: "./policy", empty: "./tests/internal/emptypack"} {
		build := exec.Command("go", "build", "-trimpath", "-o", path, of)
		build.Dir = root
		out, err := build.CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	plan := filepath.Join(b.TempDir(), "plan.json")
	var without, judged, packed, asked time.Duration
	spend := func(sum *time.Duration, after func(*workspace.Summary) error, options ...workspace.Option) {
		began := time.Now()
		summary, err := w.Preview(b.Context(), options...)
		require.NoError(b, err)
		require.NoError(b, after(summary))
		*sum += time.Since(began)
	}
	none := func(*workspace.Summary) error { return nil }
	for b.Loop() {
		spend(&without, none)
		spend(&judged, func(s *workspace.Summary) error { return judge(s, plan, nil) }, workspace.Plan(plan))
		spend(&asked, none, workspace.PolicyPack(empty, ""))
		spend(&packed, none, workspace.PolicyPack(pack, ""))
	}
	require.NoError(b, w.Close())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(without.Seconds()*1000/float64(b.N), "without-ms")
	for name, sum := range map[string]time.Duration{"homelab": judged, "an-empty-pack": asked, "the-pack": packed} {
		b.ReportMetric(100*(sum.Seconds()/without.Seconds()-1), "%-added-by-"+name)
	}
}

func BenchmarkUp(b *testing.B) {
	for b.Loop() {
		w := wholeStack(b)
		_, err := w.Up(b.Context())
		require.NoError(b, err)
		require.NoError(b, w.Close())
	}
}

func BenchmarkPreviewWithoutChanges(b *testing.B) {
	w := wholeStack(b)
	_, err := w.Up(b.Context())
	require.NoError(b, err)
	for b.Loop() {
		summary, err := w.Preview(b.Context())
		require.NoError(b, err)
		require.False(b, summary.HasChanges())
	}
	require.NoError(b, w.Close())
}
