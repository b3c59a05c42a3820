package edge

import (
	"fmt"

	"github.com/pulumi/pulumi-cloudflare/sdk/v6/go/cloudflare"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const (
	hoursPerYear = 365 * 24
	// The CA must outlive every client certificate: a new one would have to reach Cloudflare and
	// Caddy at the same moment.
	caValidity = 30 * hoursPerYear
	// Only an `up` renews the client certificate, so the first `up` after two years does, and a
	// stack that nobody touches has at least three years left. Cloudflare sets no limit and keeps
	// presenting an expired certificate, which the origin then refuses
	// (developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/set-up/manage-certificates).
	clientValidity = 5 * hoursPerYear
	clientRenewal  = 3 * hoursPerYear
)

// originPulls makes our own CA, a client certificate under it, and gives the certificate to the
// zone. Cloudflare's shared origin-pull certificate would not do: every customer's zone presents
// it, so anybody could put their own zone in front of this origin.
func (s *Shield) originPulls(ctx *pulumi.Context, name, zoneName string) error {
	child := pulumi.Parent(s)
	caKey, err := tls.NewPrivateKey(ctx, name+"-origin-ca", ecdsaKey(), child)
	if err != nil {
		return fmt.Errorf("making the origin CA's key: %w", err)
	}
	ca, err := tls.NewSelfSignedCert(ctx, name+"-origin-ca", &tls.SelfSignedCertArgs{
		PrivateKeyPem:       caKey.PrivateKeyPem,
		Subject:             &tls.SelfSignedCertSubjectArgs{CommonName: pulumi.String(zoneName + " origin CA")},
		IsCaCertificate:     pulumi.Bool(true),
		SetSubjectKeyId:     pulumi.Bool(true),
		AllowedUses:         pulumi.ToStringArray([]string{"cert_signing", "crl_signing", "digital_signature"}),
		ValidityPeriodHours: pulumi.Int(caValidity),
	}, child)
	if err != nil {
		return fmt.Errorf("making the origin CA: %w", err)
	}
	key, err := tls.NewPrivateKey(ctx, name+"-origin-pull", ecdsaKey(), child)
	if err != nil {
		return fmt.Errorf("making the origin-pull key: %w", err)
	}
	request, err := tls.NewCertRequest(ctx, name+"-origin-pull", &tls.CertRequestArgs{
		PrivateKeyPem: key.PrivateKeyPem,
		Subject:       &tls.CertRequestSubjectArgs{CommonName: pulumi.String(zoneName + " origin pull")},
	}, child)
	if err != nil {
		return fmt.Errorf("making the origin-pull certificate request: %w", err)
	}
	cert, err := tls.NewLocallySignedCert(ctx, name+"-origin-pull", &tls.LocallySignedCertArgs{
		CertRequestPem:      request.CertRequestPem,
		CaPrivateKeyPem:     caKey.PrivateKeyPem,
		CaCertPem:           ca.CertPem,
		AllowedUses:         pulumi.ToStringArray([]string{"client_auth", "digital_signature"}),
		ValidityPeriodHours: pulumi.Int(clientValidity),
		EarlyRenewalHours:   pulumi.Int(clientRenewal),
	}, child)
	if err != nil {
		return fmt.Errorf("signing the origin-pull certificate: %w", err)
	}
	s.originPullCA = ca.CertPem
	s.originPullExpires = cert.ValidityEndTime
	uploaded, err := cloudflare.NewAuthenticatedOriginPullsCertificate(ctx, name+"-origin-pull", &cloudflare.AuthenticatedOriginPullsCertificateArgs{
		ZoneId:      s.zoneID,
		Certificate: cert.CertPem,
		PrivateKey:  key.PrivateKeyPem,
	}, child)
	if err != nil {
		return fmt.Errorf("giving the zone its origin-pull certificate: %w", err)
	}
	enabled, err := cloudflare.NewAuthenticatedOriginPullsSettings(ctx, name+"-origin-pull", &cloudflare.AuthenticatedOriginPullsSettingsArgs{
		ZoneId:  s.zoneID,
		Enabled: pulumi.Bool(true),
	}, child, pulumi.DependsOn([]pulumi.Resource{uploaded}))
	if err != nil {
		return fmt.Errorf("switching the zone's origin pulls on: %w", err)
	}
	s.guards = append(s.guards, uploaded, enabled)
	return nil
}

// ecdsaKey is P-256: Cloudflare's edge takes RSA and ECDSA client certificates, not Ed25519.
func ecdsaKey() *tls.PrivateKeyArgs {
	return &tls.PrivateKeyArgs{Algorithm: pulumi.String("ECDSA"), EcdsaCurve: pulumi.String("P256")}
}
