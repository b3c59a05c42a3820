//go:build unix

package main

import (
	"testing"

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
