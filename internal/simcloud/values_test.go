package simcloud

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
)

func TestRandomValues(t *testing.T) {
	e := clouds(t, New(Options{}))("random", m{})
	in := m{"length": 30.0, "overrideSpecial": "!%", "minSpecial": 3.0, "minUpper": 3.0, "minLower": 3.0, "minNumeric": 3.0, "keepers": m{"a": "1"}}
	pw := e.create(typePassword, "pw", in)
	value := pw.out["result"].(string)
	assert.Len(t, value, 30)
	for _, chars := range []string{"!%", upperCase, lowerCase, digits} {
		n := 0
		for _, c := range value {
			if strings.ContainsRune(chars, c) {
				n++
			}
		}
		assert.GreaterOrEqual(t, n, 3, chars)
	}
	assert.Empty(t, strings.Trim(value, "!%"+upperCase+lowerCase+digits))
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(pw.out["bcryptHash"].(string)), []byte(value)))
	assert.Equal(t, "none", pw.id)
	assert.Equal(t, []string{"keepers"}, e.diff(pw, with(in, m{"keepers": m{"a": "2"}})).GetReplaces())
	require.True(t, e.refresh(pw))
	assert.Equal(t, value, pw.out["result"])
	require.NoError(t, e.delete(pw))

	long := e.create(typePassword, "long", m{"length": 100.0, "special": false})
	assert.Len(t, long.out["result"], 100)
	s := e.create(typeString, "s", m{"length": 8.0, "special": false, "upper": false, "numeric": false})
	assert.Empty(t, strings.Trim(s.out["result"].(string), lowerCase))
	assert.Equal(t, s.id, s.out["result"])
	assert.False(t, e.read(s.props)["result"].IsSecret())
	assert.NotEmpty(t, e.refusals(typePassword, m{"length": 3.0, "minLower": 4.0}))
	assert.NotEmpty(t, e.refusals(typePassword, m{"length": 0.0}))
	assert.NotEmpty(t, e.refusals(typePassword, m{"length": 3.0, "upper": false, "lower": false, "numeric": false, "special": false}))

	id := e.create(typeRandomID, "id", m{"byteLength": 4.0, "prefix": "p-"})
	raw, err := hex.DecodeString(strings.TrimPrefix(id.out["hex"].(string), "p-"))
	require.NoError(t, err)
	assert.Equal(t, "p-"+base64.StdEncoding.EncodeToString(raw), id.out["b64Std"])
	assert.Equal(t, "p-"+id.id, id.out["b64Url"])
	b := e.create(typeBytes, "b", m{"length": 32.0})
	raw, err = base64.StdEncoding.DecodeString(b.out["base64"].(string))
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(raw), b.out["hex"])
	assert.True(t, e.read(b.props)["hex"].IsSecret())
	assert.Regexp(t, `^x-[a-z]+-[a-z]+-[a-z]+$`, e.create(typePet, "p", m{"length": 3.0, "prefix": "x"}).id)
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, e.create(typeUUID, "u", m{}).out["result"])
}

func TestPrivateKeys(t *testing.T) {
	e := clouds(t, New(Options{}))("tls", m{})
	for _, in := range []m{
		{"algorithm": "RSA", "rsaBits": 1024.0}, {"algorithm": "ED25519"}, {"algorithm": "ECDSA", "ecdsaCurve": "P256"},
		{"algorithm": "ECDSA", "ecdsaCurve": "P384"}, {"algorithm": "ECDSA", "ecdsaCurve": "P521"},
	} {
		k := e.create(typePrivateKey, "k", in)
		signer, err := ssh.ParsePrivateKey([]byte(k.out["privateKeyOpenssh"].(string)))
		require.NoError(t, err)
		assert.Equal(t, string(ssh.MarshalAuthorizedKey(signer.PublicKey())), k.out["publicKeyOpenssh"])
		assert.Equal(t, ssh.FingerprintSHA256(signer.PublicKey()), k.out["publicKeyFingerprintSha256"])
		assert.Equal(t, ssh.FingerprintLegacyMD5(signer.PublicKey()), k.out["publicKeyFingerprintMd5"])
		for _, name := range []string{"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"} {
			key, err := parseKey(k.out[name].(string))
			require.NoError(t, err, name)
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			require.NoError(t, err)
			block, _ := pem.Decode([]byte(k.out["publicKeyPem"].(string)))
			assert.True(t, bytes.Equal(der, block.Bytes), name)
			assert.True(t, e.read(k.props)[keyOf(name)].IsSecret(), name)
		}
		assert.Empty(t, e.diff(k, in).GetReplaces())
	}
	small := e.create(typePrivateKey, "p224", m{"algorithm": "ECDSA"})
	assert.Empty(t, small.out["publicKeyOpenssh"], "OpenSSH has no P-224")
	assert.NotEmpty(t, e.refusals(typePrivateKey, m{"algorithm": "DSA"}))
}

func TestCertificates(t *testing.T) {
	e := clouds(t, New(Options{}))("tls", m{})
	caKey := e.create(typePrivateKey, "ca", m{"algorithm": "ED25519"}).out["privateKeyPem"]
	key := e.create(typePrivateKey, "k", m{"algorithm": "ECDSA", "ecdsaCurve": "P256"}).out["privateKeyPem"]
	ca := e.create(typeSelfSigned, "ca", m{"privateKeyPem": caKey, "isCaCertificate": true, "allowedUses": []any{"cert_signing", "crl_signing"},
		"validityPeriodHours": 48.0, "subject": m{"commonName": "our CA", "organization": "Home"}})
	csr := e.create(typeCertRequest, "r", m{"privateKeyPem": key, "dnsNames": []any{"a.example.com"}, "ipAddresses": []any{"10.0.0.1"},
		"uris": []any{"spiffe://a/b"}, "subject": m{"commonName": "client"}})
	in := m{"caCertPem": ca.out["certPem"], "caPrivateKeyPem": caKey, "certRequestPem": csr.out["certRequestPem"],
		"allowedUses": []any{"digital_signature", "client_auth"}, "validityPeriodHours": 24.0}
	leaf := e.create(typeLocallySigned, "leaf", in)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(ca.out["certPem"].(string))))
	pair, err := tls.X509KeyPair([]byte(leaf.out["certPem"].(string)), []byte(key.(string)))
	require.NoError(t, err)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSName: "a.example.com"})
	require.NoError(t, err)
	assert.Equal(t, "client", pair.Leaf.Subject.CommonName)
	assert.Equal(t, "ED25519", leaf.out["caKeyAlgorithm"])
	assert.True(t, e.read(leaf.props)["caPrivateKeyPem"].IsSecret())
	assert.Equal(t, []string{"allowedUses"}, e.diff(leaf, with(in, m{"allowedUses": []any{"digital_signature"}})).GetReplaces())

	early := with(in, m{"earlyRenewalHours": 1.0})
	assert.Empty(t, e.diff(leaf, early).GetReplaces())
	require.NoError(t, e.update(leaf, early))
	assert.NotEmpty(t, leaf.out["certPem"])
	assert.Equal(t, []string{"readyForRenewal"}, e.diff(leaf, with(in, m{"earlyRenewalHours": 25.0})).GetReplaces())

	assert.NotEmpty(t, e.refusals(typeLocallySigned, with(in, m{"allowedUses": []any{"everything"}})))
	assert.Contains(t, e.refuse(typeLocallySigned, "x", with(in, m{"certRequestPem": "x"})), "failed to decode PEM")
	assert.Contains(t, e.refuse(typeLocallySigned, "x", with(in, m{"caPrivateKeyPem": key})), "failed to create certificate")
	assert.Contains(t, e.refuse(typeSelfSigned, "x", m{"privateKeyPem": "x", "allowedUses": []any{}, "validityPeriodHours": 1.0}), "no PEM data")
}

func TestSaveAndLoad(t *testing.T) {
	f, e, _ := dockerHost(t)
	e.create(typeDockerVol, "v", m{"name": "data"})
	d, err := f.device("homelab")
	require.NoError(t, err)
	c := f.connect("command", m{})
	c.create(typeCommand, "file", m{"connection": m{"host": d["addresses"].([]any)[0]}, "create": "cat", "stdin": "very secret content"})
	path, key := filepath.Join(t.TempDir(), "world"), bytes.Repeat([]byte{7}, KeySize)
	require.NoError(t, f.w.Save(path, key))
	require.NoError(t, f.w.Save(path, key), "it replaces the file")

	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	for _, s := range append(f.w.Secrets(), "very secret content", "homelab") {
		assert.NotContains(t, string(raw), s)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file stays")

	again, err := Load(path, key, Options{})
	require.NoError(t, err)
	assert.Equal(t, f.w.Inventory(), again.Inventory())
	assert.Equal(t, f.w.Residue(), again.Residue())
	assert.Equal(t, f.w.Secrets(), again.Secrets())
	assert.Equal(t, f.w.Commands(""), again.Commands("homelab"))
	assert.Equal(t, f.w.Machines(), again.Machines())
	assert.Equal(t, f.w.Policy(), again.Policy())
	next := clouds(t, again)("hcloud").create(typeSSHKey, "k", sshKeyIn)
	assert.NotContains(t, f.w.Inventory(), Entity{typeSSHKey, next.id, next.out["name"].(string)}, "IDs go on")

	_, err = Load(path, bytes.Repeat([]byte{8}, KeySize), Options{})
	require.ErrorIs(t, err, ErrSealed)
	raw[len(raw)-1] ^= 1
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	_, err = Load(path, key, Options{})
	require.ErrorIs(t, err, ErrSealed)
	_, err = Load(path+"x", key, Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, f.w.Save(path, key[:5]), "5 bytes")
	require.Error(t, f.w.Save(filepath.Join(path, "below"), key))
}
