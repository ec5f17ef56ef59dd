package token

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// pemCertificate is the PEM label of a certificate (RFC 7468 section 5), the only one that a rootcertbundle is read for.
const pemCertificate = "CERTIFICATE"

// Template returns what a certificate of p says, by whomever it is signed: its id as the name, good for signatures only.
func (p PublicKey) Template(from, until time.Time) (*x509.Certificate, error) {
	der, err := x509.MarshalPKIXPublicKey(p.Material())
	if err != nil {
		return nil, fmt.Errorf("the public key could not be encoded: %w", err)
	}
	id := sha256.Sum256(der)
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"gatehouse"}, CommonName: p.keyID},
		SubjectKeyId:          id[:20], // RFC 7093 section 2 method 1
		NotBefore:             from,
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, nil
}

// SelfSigned returns a certificate (DER) for the key that the key itself has signed: the form in which a registry's
// rootcertbundle names a single key.
func (k *Key) SelfSigned(from, until time.Time) ([]byte, error) {
	template, err := k.public.Template(from, until)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return nil, fmt.Errorf("a certificate could not be made: %w", err)
	}
	return der, nil
}

// Matches reports whether the certificate is one for the key.
func (p PublicKey) Matches(certificate *x509.Certificate) bool {
	k, ok := p.Material().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(certificate.PublicKey)
}

// MarshalPEM returns certificates (DER) as one bundle, for rootcertbundle.
func MarshalPEM(certificates ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range certificates {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
	}
	return b.Bytes()
}

// ParseCertificate reads a PEM file with a single certificate. Its dates and who signed it are not looked at, as registries do not
// look at them where they find a key by its id.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return nil, fmt.Errorf("there is no PEM block %q", pemCertificate)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("there is more than one PEM block; give the certificate of the key alone")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	return c, nil
}
