// Package authority is the certificate authority of the rehearsal: virtual machines trust it, and
// nobody else does.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// Authority signs certificates for the names of the rehearsal's internet.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	encoded     []byte
}

const (
	// lifetime is the authority's. It is on base disks, which are kept for long.
	lifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime is a certificate's: no rehearsal takes so long.
	leafLifetime = 30 * 24 * time.Hour
	// earlier allows for clocks that are behind.
	earlier = 24 * time.Hour
)

// OfCache opens the authority that all rehearsals with the same cache folder have.
func OfCache(cache string) (*Authority, error) { return Open(filepath.Join(cache, "authority")) }

// Open returns the authority that is kept in the folder, and makes it at the first call.
func Open(folder string) (_ *Authority, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the rehearsal's certificate authority: %w", err)
	}
	lock := flock.New(filepath.Join(folder, "authority.lock"))
	if err := lock.Lock(); err != nil {
		return nil, fmt.Errorf("locking the rehearsal's certificate authority: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	path := filepath.Join(folder, "authority.pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = create()
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the rehearsal's certificate authority: %w", err)
	}
	authority, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return authority, nil
}

// create makes a key and its certificate, as PEM.
func create() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "homelab rehearsal"},
		NotBefore: time.Now().Add(-earlier), NotAfter: time.Now().Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}

func parse(text []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("its key is a %T", pair.PrivateKey)
	}
	if time.Now().After(certificate.NotAfter.Add(-leafLifetime)) {
		return nil, fmt.Errorf("it ends at %s: delete it", certificate.NotAfter.Format(time.DateOnly))
	}
	return &Authority{certificate: certificate, key: key, encoded: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})}, nil
}

// PEM is the authority's own certificate: what trusts it is given this.
func (a *Authority) PEM() []byte { return a.encoded }

// Pool trusts the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Sign makes a certificate for the key of a request, and for the names that it is for. It is valid for
// 30 days, and is returned with the authority's own, as PEM.
func (a *Authority) Sign(request *x509.CertificateRequest) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("signing for %v: %w", request.DNSNames, err)
	}
	if len(request.DNSNames) == 0 {
		return nil, errors.New("making a certificate: no names")
	}
	leaf, err := a.certify(request.PublicKey, request.DNSNames)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), a.encoded...), nil
}

// Issue makes a certificate for these names or addresses. It is valid for 30 days.
func (a *Authority) Issue(names ...string) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("making a certificate: no names")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate for %v: %w", names, err)
	}
	leaf, err := a.certify(key.Public(), names)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf, a.certificate.Raw}, PrivateKey: key}, nil
}

// certify makes a server's certificate for a key.
func (a *Authority) certify(public any, names []string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %v: %w", names, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-earlier), NotAfter: time.Now().Add(leafLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %v: %w", names, err)
	}
	return leaf, nil
}
