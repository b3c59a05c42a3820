package authority_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"homelab/internal/machine/internal/authority"
)

func TestIssue(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "authority")
	first, err := authority.Open(folder)
	require.NoError(t, err)
	again, err := authority.Open(folder)
	require.NoError(t, err)
	assert.Equal(t, first.PEM(), again.PEM(), "a base disk trusts one authority for as long as it is kept")

	issued, err := again.Issue("pkgs.example.com", "192.0.2.1")
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(issued.Certificate[0])
	require.NoError(t, err)
	for name, ok := range map[string]bool{"pkgs.example.com": true, "192.0.2.1": true, "example.com": false, "192.0.2.2": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: name})
		assert.Equal(t, ok, err == nil, "%s: %v", name, err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: "pkgs.example.com"})
	assert.Error(t, err, "this computer must not trust it")
	_, err = again.Issue()
	assert.ErrorContains(t, err, "no names")

	info, err := os.Stat(filepath.Join(folder, "authority.pem"))
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "others may read the authority's key")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "authority.pem"), []byte("x"), 0o600))
	_, err = authority.Open(folder)
	assert.ErrorContains(t, err, "authority.pem")
}
