package simcloud

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"
)

const typePrivateKey = "tls:index/privateKey:PrivateKey"

var _ = register(typePrivateKey, &kind{
	replaces: []string{"*"}, framework: true, stateless: true, defaults: map[string]any{"ecdsaCurve": "P224", "rsaBits": 2048.0},
	check: func(c *checking) {
		c.oneOf("algorithm", "RSA", "ECDSA", "ED25519")
		c.oneOf("ecdsaCurve", "P224", "P256", "P384", "P521")
	},
	ask: func(c *checking) {
		if v := c.news["rsaBits"]; v.IsNumber() && v.NumberValue() < 1024 {
			c.refuse("rsaBits", "expected at least 1024 bits, got %.0f", v.NumberValue())
		}
	},
	create: createPrivateKey,
})

func newKey(in map[string]any) (crypto.Signer, error) {
	switch text(in, "algorithm") {
	case "RSA":
		bits := int(number(in, "rsaBits"))
		if bits == 0 {
			bits = 2048
		}
		return rsa.GenerateKey(rand.Reader, bits)
	case "ECDSA":
		curve, ok := map[string]elliptic.Curve{
			"": elliptic.P224(), "P224": elliptic.P224(), "P256": elliptic.P256(), "P384": elliptic.P384(), "P521": elliptic.P521(),
		}[text(in, "ecdsaCurve")]
		if !ok {
			return nil, fail("invalid ECDSA curve %q", text(in, "ecdsaCurve"))
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fail("invalid key algorithm %q", text(in, "algorithm"))
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func createPrivateKey(t *task) (string, error) {
	key, err := newKey(t.in)
	if err != nil {
		return "", fail("unable to generate key: %v", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fail("unable to marshal key: %v", err)
	}
	t.out["privateKeyPemPkcs8"] = pemText("PRIVATE KEY", pkcs8)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		t.out["privateKeyPem"] = pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return "", fail("unable to marshal key: %v", err)
		}
		t.out["privateKeyPem"] = pemText("EC PRIVATE KEY", der)
	default:
		t.out["privateKeyPem"] = t.out["privateKeyPemPkcs8"]
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fail("unable to marshal public key: %v", err)
	}
	t.out["publicKeyPem"] = pemText("PUBLIC KEY", der)
	for _, name := range []string{"privateKeyOpenssh", "publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256"} {
		t.out[name] = ""
	}
	// OpenSSH has no P-224: the provider leaves those outputs empty.
	if public, err := ssh.NewPublicKey(key.Public()); err == nil {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return "", fail("unable to marshal the OpenSSH key: %v", err)
		}
		t.out["privateKeyOpenssh"] = string(pem.EncodeToMemory(block))
		t.out["publicKeyOpenssh"] = string(ssh.MarshalAuthorizedKey(public))
		md, sha := md5.Sum(public.Marshal()), sha256.Sum256(public.Marshal())
		var pairs []string
		for _, b := range md {
			pairs = append(pairs, hex.EncodeToString([]byte{b}))
		}
		t.out["publicKeyFingerprintMd5"] = strings.Join(pairs, ":")
		t.out["publicKeyFingerprintSha256"] = "SHA256:" + base64.RawStdEncoding.EncodeToString(sha[:])
	}
	for name, v := range map[string]any{"ecdsaCurve": "P224", "rsaBits": float64(2048)} {
		if _, given := t.in[name]; !given {
			t.out[name] = v
		}
	}
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:]), nil
}

// parseKey reads any PEM private key.
func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fail("failed to decode PEM block: no PEM data found")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		key, err = ssh.ParseRawPrivateKey([]byte(text))
		if k, ok := key.(*ed25519.PrivateKey); ok {
			key = *k
		}
	default:
		return nil, fail("unsupported PEM block %q", block.Type)
	}
	if err != nil {
		return nil, fail("failed to parse private key: %v", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fail("unsupported private key type %T", key)
	}
	return signer, nil
}

// algorithm names a key's algorithm as the provider does.
func algorithm(key crypto.PublicKey) string {
	switch key.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		return "ECDSA"
	default:
		return "ED25519"
	}
}
