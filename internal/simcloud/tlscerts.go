package simcloud

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

const (
	typeSelfSigned    = "tls:index/selfSignedCert:SelfSignedCert"
	typeCertRequest   = "tls:index/certRequest:CertRequest"
	typeLocallySigned = "tls:index/locallySignedCert:LocallySignedCert"
)

// certReplaces is every input of certificates but earlyRenewalHours.
var certReplaces = []string{
	"allowedUses", "caCertPem", "caPrivateKeyPem", "certRequestPem", "dnsNames", "ipAddresses", "isCaCertificate", "privateKeyPem",
	"setAuthorityKeyId", "setSubjectKeyId", "subject", "uris", "validityPeriodHours", "readyForRenewal",
}

// certDefaults are what the provider writes into the state for an input that is left out.
var certDefaults = map[string]any{"earlyRenewalHours": 0.0, "isCaCertificate": false, "setAuthorityKeyId": false, "setSubjectKeyId": false}

var (
	_ = register(typeCertRequest, &kind{
		replaces: []string{"*"}, framework: true, stateless: true, check: checkCert, ask: askCert, create: createCertRequest,
	})
	_ = register(typeSelfSigned, &kind{
		replaces: certReplaces, framework: true, defaults: certDefaults, stateless: true, check: checkCert, ask: askCert, extraDiff: renewalDiff, unfit: unknownRenewal, create: createSelfSigned,
	})
	_ = register(typeLocallySigned, &kind{
		replaces: certReplaces, framework: true, defaults: certDefaults, stateless: true, check: checkCert, ask: askCert, extraDiff: renewalDiff, unfit: unknownRenewal, create: createLocallySigned,
	})
)

// renewalDiff replaces a certificate that has entered its renewal window.
func renewalDiff(state, news resource.PropertyMap) []change {
	end := state["validityEndTime"]
	if !end.IsString() {
		return nil
	}
	expires, err := time.Parse(time.RFC3339, end.StringValue())
	if err != nil {
		return nil
	}
	early := time.Duration(0)
	if v := news["earlyRenewalHours"]; v.IsNumber() {
		early = time.Duration(v.NumberValue()) * time.Hour
	}
	if now().Before(expires.Add(-early)) {
		return nil
	}
	return []change{{"readyForRenewal", "readyForRenewal", pulumirpc.PropertyDiff_UPDATE, "readyForRenewal"}}
}

var keyUses = map[string]x509.KeyUsage{
	"digital_signature": x509.KeyUsageDigitalSignature, "content_commitment": x509.KeyUsageContentCommitment,
	"key_encipherment": x509.KeyUsageKeyEncipherment, "data_encipherment": x509.KeyUsageDataEncipherment, "key_agreement": x509.KeyUsageKeyAgreement,
	"cert_signing": x509.KeyUsageCertSign, "crl_signing": x509.KeyUsageCRLSign, "encipher_only": x509.KeyUsageEncipherOnly,
	"decipher_only": x509.KeyUsageDecipherOnly,
}

var extendedUses = map[string]x509.ExtKeyUsage{
	"any_extended": x509.ExtKeyUsageAny, "server_auth": x509.ExtKeyUsageServerAuth, "client_auth": x509.ExtKeyUsageClientAuth,
	"code_signing": x509.ExtKeyUsageCodeSigning, "email_protection": x509.ExtKeyUsageEmailProtection, "timestamping": x509.ExtKeyUsageTimeStamping,
	"ipsec_end_system": x509.ExtKeyUsageIPSECEndSystem, "ipsec_tunnel": x509.ExtKeyUsageIPSECTunnel, "ipsec_user": x509.ExtKeyUsageIPSECUser,
	"ocsp_signing": x509.ExtKeyUsageOCSPSigning,
}

// unknownRenewal is an error of the plugin: it cannot plan with an unknown number there.
func unknownRenewal(_, news resource.PropertyMap) error {
	if news["earlyRenewalHours"].IsComputed() {
		return fail("AttributeName(\"early_renewal_hours\"): Value Conversion Error")
	}
	return nil
}

func checkCert(c *checking) {
	if v := c.news["earlyRenewalHours"]; v.IsNumber() && v.NumberValue() < 0 {
		c.refuse("earlyRenewalHours", "attribute early_renewal_hours value must be at least 0, got: %.0f", v.NumberValue())
	}
	if v := c.news["allowedUses"]; v.IsArray() {
		for _, u := range v.ArrayValue() {
			if !u.IsString() {
				continue
			}
			_, plain := keyUses[u.StringValue()]
			_, extended := extendedUses[u.StringValue()]
			if !plain && !extended {
				c.refuse("allowedUses", "unknown use %q", u.StringValue())
			}
		}
	}
	if v := c.news["validityPeriodHours"]; v.IsNumber() && v.NumberValue() < 0 {
		c.refuse("validityPeriodHours", "attribute value must be at least 0")
	}
}

// askCert is what fails when the certificate is made.
func askCert(c *checking) {
	if v := c.news["ipAddresses"]; v.IsArray() {
		for _, ip := range v.ArrayValue() {
			if ip.IsString() && net.ParseIP(ip.StringValue()) == nil {
				c.refuse("ipAddresses", "%q is not an IP address", ip.StringValue())
			}
		}
	}
}

func subject(in map[string]any) pkix.Name {
	s := section(in, "subject")
	one := func(name string) []string {
		if v := text(s, name); v != "" {
			return []string{v}
		}
		return nil
	}
	n := pkix.Name{
		CommonName: text(s, "commonName"), SerialNumber: text(s, "serialNumber"), Organization: one("organization"),
		OrganizationalUnit: one("organizationalUnit"), StreetAddress: texts(s, "streetAddresses"), Locality: one("locality"),
		Province: one("province"), Country: one("country"), PostalCode: one("postalCode"),
	}
	if mail := text(s, "emailAddress"); mail != "" {
		n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: mail})
	}
	return n
}

// names reads the subject alternative names.
func names(in map[string]any) (ips []net.IP, uris []*url.URL, err error) {
	for _, s := range texts(in, "ipAddresses") {
		ip := net.ParseIP(s)
		if ip == nil {
			return nil, nil, fail("invalid IP address %q", s)
		}
		ips = append(ips, ip)
	}
	for _, s := range texts(in, "uris") {
		u, err := url.Parse(s)
		if err != nil {
			return nil, nil, fail("invalid URI %q: %v", s, err)
		}
		uris = append(uris, u)
	}
	return ips, uris, nil
}

func createCertRequest(t *task) (string, error) {
	key, err := parseKey(text(t.in, "privateKeyPem"))
	if err != nil {
		return "", err
	}
	ips, uris, err := names(t.in)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: subject(t.in), DNSNames: texts(t.in, "dnsNames"), IPAddresses: ips, URIs: uris,
	}, key)
	if err != nil {
		return "", fail("failed to create certificate request: %v", err)
	}
	t.out["certRequestPem"], t.out["keyAlgorithm"] = pemText("CERTIFICATE REQUEST", der), algorithm(key.Public())
	return hash(string(der))[:40], nil
}

// template fills in what both kinds of certificate take from their inputs.
func (t *task) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fail("failed to generate serial number: %v", err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, NotBefore: now(), NotAfter: now().Add(time.Duration(number(t.in, "validityPeriodHours")) * time.Hour),
		BasicConstraintsValid: true, IsCA: flag(t.in, "isCaCertificate"),
	}
	for _, u := range texts(t.in, "allowedUses") {
		c.KeyUsage |= keyUses[u]
		if e, ok := extendedUses[u]; ok {
			c.ExtKeyUsage = append(c.ExtKeyUsage, e)
		}
	}
	return c, nil
}

func createSelfSigned(t *task) (string, error) {
	key, err := parseKey(text(t.in, "privateKeyPem"))
	if err != nil {
		return "", err
	}
	c, err := t.template()
	if err != nil {
		return "", err
	}
	c.Subject, c.DNSNames = subject(t.in), texts(t.in, "dnsNames")
	if c.IPAddresses, c.URIs, err = names(t.in); err != nil {
		return "", err
	}
	t.out["keyAlgorithm"] = algorithm(key.Public())
	return t.sign(c, c, key.Public(), key)
}

func createLocallySigned(t *task) (string, error) {
	block, _ := pem.Decode([]byte(text(t.in, "certRequestPem")))
	if block == nil {
		return "", fail("failed to decode PEM of the certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return "", fail("failed to parse certificate request: %v", err)
	}
	caKey, err := parseKey(text(t.in, "caPrivateKeyPem"))
	if err != nil {
		return "", err
	}
	caBlock, _ := pem.Decode([]byte(text(t.in, "caCertPem")))
	if caBlock == nil {
		return "", fail("failed to decode PEM of the CA certificate")
	}
	ca, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		return "", fail("failed to parse CA certificate: %v", err)
	}
	c, err := t.template()
	if err != nil {
		return "", err
	}
	c.Subject, c.DNSNames, c.IPAddresses, c.URIs = csr.Subject, csr.DNSNames, csr.IPAddresses, csr.URIs
	t.out["caKeyAlgorithm"] = algorithm(caKey.Public())
	return t.sign(c, ca, csr.PublicKey, caKey)
}

// sign issues a certificate and fills in the outputs.
func (t *task) sign(c, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (string, error) {
	if c.IsCA || flag(t.in, "setSubjectKeyId") {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return "", fail("failed to marshal public key: %v", err)
		}
		sum := sha1.Sum(der)
		c.SubjectKeyId = sum[:]
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		return "", fail("failed to create certificate: %v", err)
	}
	t.out["certPem"], t.out["readyForRenewal"] = pemText("CERTIFICATE", der), false
	t.out["validityStartTime"], t.out["validityEndTime"] = c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339)
	return c.SerialNumber.String(), nil
}
